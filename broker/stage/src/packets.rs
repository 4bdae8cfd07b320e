//! Packets by hand: what every client of the tests and fuzzers writes and reads, whatever it
//! speaks over.

/// A packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Kind and flags.
    pub first: u8,
    /// All behind the length.
    pub body: Vec<u8>,
}

impl Packet {
    /// The packet identifier that the body begins with.
    #[must_use]
    pub fn id(&self) -> Option<u16> {
        self.body.first_chunk().map(|it| u16::from_be_bytes(*it))
    }
}

/// A text with its length before it.
///
/// # Panics
/// When it is longer than 65,535 bytes.
#[must_use]
pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet of a first byte and a body.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        packet.push(u8::try_from(length & 0x7F).expect("seven bits") | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// Takes the first packet out of what was read, once it is whole.
pub fn cut(read: &mut Vec<u8>) -> Option<Packet> {
    let (mut length, mut header) = (0, 1);
    loop {
        let byte = *read.get(header)?;
        length |= usize::from(byte & 0x7F) << (7 * (header - 1));
        header += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = read.get(header..header + length)?.to_vec();
    let first = read[0];
    read.drain(..header + length);
    Some(Packet { first, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_cut_apart_again() {
        for length in [0, 127, 128, 70_000] {
            let body = vec![7; length];
            let bytes = packet(0x30, &body);
            let mut read = bytes[..bytes.len() - 1].to_vec();
            assert_eq!(cut(&mut read), None);
            read.extend([bytes[bytes.len() - 1], 0xC0, 0]);
            assert_eq!(cut(&mut read), Some(Packet { first: 0x30, body }));
            assert_eq!(read, [0xC0, 0]);
        }
    }
}
