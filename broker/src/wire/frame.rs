//! Where packets begin and end in a stream of bytes (MQTT 5.0 §2.1, the same in 3.1.1).

use super::Fault;

/// What a packet is, from the first four bits. Only those that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketKind {
    Connect,
    Publish,
    PublishAcknowledge,
    PublishReceived,
    PublishRelease,
    PublishComplete,
    Subscribe,
    Unsubscribe,
    Ping,
    Disconnect,
    Authenticate,
}

/// One whole packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// Its first byte: kind and flags.
    pub(crate) first: u8,
    /// Everything after the fixed header.
    pub(crate) body: &'a [u8],
    /// Everything.
    pub(crate) whole: &'a [u8],
}

impl Frame<'_> {
    /// The kind; a fault when a client must not send it, or its flags are not the ones that
    /// the standard reserves ([MQTT-2.1.3-1]).
    pub(crate) fn kind(&self) -> Result<PacketKind, Fault> {
        let flags = self.first & 0x0F;
        let (kind, reserved) = match self.first >> 4 {
            1 => (PacketKind::Connect, 0),
            3 => return Ok(PacketKind::Publish),
            4 => (PacketKind::PublishAcknowledge, 0),
            5 => (PacketKind::PublishReceived, 0),
            6 => (PacketKind::PublishRelease, 2),
            7 => (PacketKind::PublishComplete, 0),
            8 => (PacketKind::Subscribe, 2),
            10 => (PacketKind::Unsubscribe, 2),
            12 => (PacketKind::Ping, 0),
            14 => (PacketKind::Disconnect, 0),
            15 => (PacketKind::Authenticate, 0),
            _ => return Err(Fault::Protocol("a client does not send this packet")),
        };
        if flags == reserved {
            Ok(kind)
        } else {
            Err(Fault::Malformed("wrong flags in the fixed header"))
        }
    }
}

/// Cuts the first packet off; `None` when it is not complete yet. A packet longer than `limit`
/// bytes is refused from its header on, before its contents take any memory.
pub(crate) fn cut(bytes: &[u8], limit: u32) -> Result<Option<Frame<'_>>, Fault> {
    let Some((header, length)) = header(bytes)? else {
        return Ok(None);
    };
    let total = header + length;
    if total > limit as usize {
        return Err(Fault::TooLarge { limit });
    }
    let frame = bytes.get(..total).map(|whole| Frame {
        first: whole[0],
        body: &whole[header..],
        whole,
    });
    Ok(frame)
}

/// Length of the packet that `bytes` start with. Of packets that we wrote ourselves only.
pub(crate) fn frame_length(bytes: &[u8]) -> usize {
    match packet_length(bytes) {
        Some(length) => length,
        None => unreachable!("the gate queues whole packets"),
    }
}

/// The same; `None` when it is not said in as few bytes.
pub(crate) fn packet_length(bytes: &[u8]) -> Option<usize> {
    let (header, length) = header(bytes).ok()??;
    Some(header + length)
}

/// Length of the fixed header, and of what follows it. Where that is said in more bytes than it
/// takes it is no length, in 3.1.1 neither ([MQTT-1.5.5-1]).
pub(super) fn header(bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            is_short(index, *byte)?;
            return Ok(Some((index + 2, length)));
        }
    }
    if bytes.len() > 4 {
        return Err(Fault::Malformed("the length takes more than four bytes"));
    }
    Ok(None)
}

/// Appends a variable byte integer (MQTT 5.0 §1.5.5), at most 268,435,455.
pub(crate) fn put_length(out: &mut Vec<u8>, mut length: usize) {
    debug_assert!(
        length < 1 << 28,
        "no packet is longer than its header can say"
    );
    loop {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
        let byte = (length & 0x7F) as u8;
        length >>= 7;
        if length == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

/// Bytes that [`put_length`] appends.
pub(super) fn length_size(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Appends a text with its length, cut to 65,535 bytes at the end of a character.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(0xFFFF);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let length = u16::try_from(end).expect("cut to what fits");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

/// Takes two bytes that say how long, and as many bytes, off the front.
pub(super) fn take_binary<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let (length, rest) = bytes
        .split_first_chunk::<2>()
        .ok_or(Fault::Malformed("a text ends in its length"))?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (text, rest) = rest
        .split_at_checked(length)
        .ok_or(Fault::Malformed("a text is longer than the packet"))?;
    *bytes = rest;
    Ok(text)
}

/// Like [`take_binary`], but UTF-8 without the null character ([MQTT-1.5.4-1], [MQTT-1.5.4-2]).
pub(super) fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Fault> {
    text(take_binary(bytes)?)
}

/// Bytes as a text of the standard.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Malformed("a text is not UTF-8"))?;
    if bytes.contains(&0) {
        return Err(Fault::Malformed("a text has a null character"));
    }
    Ok(text)
}

/// The last byte of a length, at `index`, says something ([MQTT-1.5.5-1]).
fn is_short(index: usize, last: u8) -> Result<(), Fault> {
    if index > 0 && last == 0 {
        return Err(Fault::Malformed("a length takes more bytes than it has to"));
    }
    Ok(())
}

/// Takes a variable byte integer off the front.
pub(super) fn take_length(bytes: &mut &[u8]) -> Result<usize, Fault> {
    let mut length = 0;
    for index in 0..4 {
        let (byte, rest) = bytes
            .split_first()
            .ok_or(Fault::Malformed("a length ends too early"))?;
        *bytes = rest;
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            is_short(index, *byte)?;
            return Ok(length);
        }
    }
    Err(Fault::Malformed("a length takes more than four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_back_at_every_edge() {
        for length in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            2_097_152,
            268_435_455,
        ] {
            let mut bytes = vec![];
            put_length(&mut bytes, length);
            assert_eq!(bytes.len(), length_size(length));
            assert_eq!(take_length(&mut &bytes[..]), Ok(length));
        }
        assert!(take_length(&mut &[0x80, 0x80, 0x80, 0x80, 1][..]).is_err());
    }

    #[test]
    fn lengths_that_take_more_bytes_than_they_have_to_are_refused() {
        // [MQTT-1.5.5-1]
        for bytes in [
            &[0x80, 0][..],
            &[0x85, 0],
            &[0x80, 0x80, 0],
            &[0xFF, 0xFF, 0x80, 0],
        ] {
            assert!(take_length(&mut &*bytes).is_err(), "{bytes:?}");
            let packet = [&[0x30][..], bytes, &[0; 20]].concat();
            assert!(cut(&packet, 1 << 20).is_err(), "{bytes:?}");
        }
        assert_eq!(take_length(&mut &[0x80, 1][..]), Ok(128));
    }

    #[test]
    fn a_packet_is_cut_off_only_when_it_is_whole() {
        let bytes = [0x30, 3, 0, 1, b'a', 0xC0, 0];
        for end in 0..5 {
            assert!(cut(&bytes[..end], 100).unwrap().is_none(), "{end}");
        }
        let frame = cut(&bytes, 100).unwrap().unwrap();
        assert_eq!((frame.first, frame.body), (0x30, &bytes[2..5]));
        assert_eq!(cut(&bytes, 4).unwrap_err(), Fault::TooLarge { limit: 4 });
        assert_eq!(
            cut(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 100).unwrap_err(),
            Fault::TooLarge { limit: 100 },
            "from the header on"
        );
        assert!(cut(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], 100).is_err());
    }

    #[test]
    fn packets_with_wrong_flags_or_from_the_wrong_side_are_refused() {
        // [MQTT-2.1.3-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1]
        for first in [
            0x11, 0x41, 0x80, 0xA1, 0xC2, 0xE8, 0x00, 0x20, 0x90, 0xB0, 0xD0, 0x60, 0x52, 0x72,
        ] {
            let frame = Frame {
                first,
                body: &[],
                whole: &[],
            };
            assert!(frame.kind().is_err(), "{first:#x}");
        }
        for first in [
            0x10, 0x3D, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0, 0xF0,
        ] {
            let frame = Frame {
                first,
                body: &[],
                whole: &[],
            };
            assert!(frame.kind().is_ok(), "{first:#x}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut out = vec![];
        put_text(&mut out, &"é".repeat(40_000));
        assert_eq!(out.len(), 2 + 65_534);
        assert!(take_text(&mut &out[..]).is_ok());
    }
}
