//! WebSocket frames (RFC 6455 §5) as MQTT uses them: binary ones, whose contents in a row are the
//! stream of bytes, wherever a frame or a message ends (MQTT 5.0 §6, [MQTT-6.0.0-1],
//! [MQTT-6.0.0-2]).
//!
//! Contents are passed on as they come, in place; no frame is ever held, however long it says it
//! is.

use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest contents of a ping, a pong or a close (RFC 6455 §5.5).
const CONTROL: u64 = 125;
/// Bytes of the longest header.
const HEADER: usize = 14;

/// What a client may not do; the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("a broken WebSocket frame: {0}")]
    Broken(&'static str),
    #[error("a WebSocket text frame; MQTT travels in binary frames [MQTT-6.0.0-1]")]
    Text,
}

impl Violation {
    /// The code of the close frame (RFC 6455 §7.4.1).
    fn code(self) -> u16 {
        match self {
            Self::Broken(_) => 1002,
            Self::Text => 1003,
        }
    }
}

/// What the next bytes are.
#[derive(Debug)]
enum Part {
    /// A header.
    Header,
    /// Contents of a binary frame.
    Contents(Masked),
    /// Contents of a control frame, of which these came already.
    Control(Control, Masked, Vec<u8>),
    /// Nothing that counts: the WebSocket is closed.
    Closed,
}

/// Bytes of one frame that are still to come.
#[derive(Debug, Clone, Copy)]
struct Masked {
    left: u64,
    mask: [u8; 4],
}

/// The client's half of the WebSocket, and what to answer it.
#[derive(Debug)]
pub(super) struct Frames {
    part: Part,
    /// The beginning of a header whose rest did not come yet, and its length.
    begun: ([u8; HEADER], usize),
    /// True between the frames of one message.
    in_message: bool,
    /// The pong to the last ping, or the close: a whole frame. An answer to a ping that is not
    /// sent when the next one comes is not needed any more (RFC 6455 §5.5.3).
    answer: Option<Vec<u8>>,
    /// True once a close was answered with, or is about to be.
    closing: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            part: Part::Header,
            begun: ([0; HEADER], 0),
            in_message: false,
            answer: None,
            closing: false,
        }
    }
}

impl Masked {
    /// Takes what is there of the contents, unmasked.
    fn take<'a>(&mut self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        let here = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let contents = &mut bytes[..here];
        let word = u32::from_ne_bytes(self.mask);
        let mut words = contents.chunks_exact_mut(4);
        for four in &mut words {
            if let Ok(four) = <&mut [u8; 4]>::try_from(four) {
                *four = (u32::from_ne_bytes(*four) ^ word).to_ne_bytes();
            }
        }
        for (byte, mask) in words.into_remainder().iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        self.mask.rotate_left(here % 4);
        self.left -= here as u64;
        contents
    }
}

impl Frames {
    /// Takes bytes as they came; returns how many of the first are contents now. After a
    /// violation there is a close to answer with, and nothing more counts.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> Result<usize, Violation> {
        self.try_take(bytes).inspect_err(|violation| {
            self.part = Part::Closed;
            self.answer_close(&violation.code().to_be_bytes());
        })
    }

    fn try_take(&mut self, bytes: &mut [u8]) -> Result<usize, Violation> {
        let (mut from, mut contents) = (0, 0);
        while from < bytes.len() {
            match &mut self.part {
                Part::Header => {
                    let (begun, held) = &mut self.begun;
                    let more = (bytes.len() - from).min(HEADER - *held);
                    begun[*held..][..more].copy_from_slice(&bytes[from..][..more]);
                    let Some((header, length, used)) = read_header(&begun[..*held + more])? else {
                        *held += more;
                        return Ok(contents);
                    };
                    from += used - std::mem::take(held);
                    self.begin(&header, length)?;
                }
                Part::Contents(masked) => {
                    let count = masked.take(&mut bytes[from..]).len();
                    bytes.copy_within(from..from + count, contents);
                    from += count;
                    contents += count;
                    if masked.left == 0 {
                        self.part = Part::Header;
                    }
                }
                Part::Control(kind, masked, held) => {
                    let taken = masked.take(&mut bytes[from..]);
                    held.extend_from_slice(taken);
                    from += taken.len();
                    if masked.left == 0 {
                        let (kind, held) = (*kind, std::mem::take(held));
                        self.control(kind, &held);
                    }
                }
                Part::Closed => break,
            }
        }
        Ok(contents)
    }

    /// A header came.
    fn begin(&mut self, header: &FrameHeader, length: u64) -> Result<(), Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::Broken("no extension was agreed on"));
        }
        let Some(mask) = header.mask else {
            return Err(Violation::Broken("a client has to mask its frames"));
        };
        let masked = Masked { left: length, mask };
        match header.opcode {
            OpCode::Data(Data::Text) => return Err(Violation::Text),
            OpCode::Data(Data::Binary) if !self.in_message => {
                self.in_message = !header.is_final;
                self.part = Part::Contents(masked);
            }
            OpCode::Data(Data::Continue) if self.in_message => {
                self.in_message = !header.is_final;
                self.part = Part::Contents(masked);
            }
            OpCode::Data(_) => {
                let why = "it neither begins a message nor continues one";
                return Err(Violation::Broken(why));
            }
            OpCode::Control(kind) if header.is_final && length <= CONTROL => {
                self.part = Part::Control(kind, masked, vec![]);
            }
            OpCode::Control(_) => {
                let why = "a control frame is whole and has at most 125 bytes";
                return Err(Violation::Broken(why));
            }
        }
        if length == 0 {
            match self.part {
                Part::Control(kind, ..) => self.control(kind, &[]),
                _ => self.part = Part::Header,
            }
        }
        Ok(())
    }

    /// A control frame came.
    fn control(&mut self, kind: Control, contents: &[u8]) {
        self.part = Part::Header;
        match kind {
            Control::Ping if !self.closing => self.answer = Some(frame(Control::Pong, contents)),
            Control::Close => {
                self.part = Part::Closed;
                let code = contents.get(..2).unwrap_or_default();
                self.answer_close(code);
            }
            _ => {}
        }
    }

    /// Closes the WebSocket from our side, unless it is closed already.
    pub(super) fn close(&mut self) {
        self.answer_close(&1000_u16.to_be_bytes());
    }

    fn answer_close(&mut self, code: &[u8]) {
        if !self.closing {
            self.answer = Some(frame(Control::Close, code));
            self.closing = true;
        }
    }

    /// True when the client has closed the WebSocket.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.part, Part::Closed)
    }

    pub(super) fn has_answer(&self) -> bool {
        self.answer.is_some()
    }

    /// The frame to send back, whole.
    pub(super) fn take_answer(&mut self) -> Option<Vec<u8>> {
        self.answer.take()
    }
}

/// Header of a frame with so many bytes of the stream.
pub(super) fn contents_header(length: usize) -> Vec<u8> {
    header(OpCode::Data(Data::Binary), length)
}

fn header(opcode: OpCode, length: usize) -> Vec<u8> {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let mut out = Vec::with_capacity(HEADER);
    header
        .format(length as u64, &mut out)
        .expect("a vector takes everything");
    out
}

fn frame(kind: Control, contents: &[u8]) -> Vec<u8> {
    let mut out = header(OpCode::Control(kind), contents.len());
    out.extend_from_slice(contents);
    out
}

/// The header that `bytes` begin with, the length of the contents and its own, if it is whole.
fn read_header(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, Violation> {
    let mut cursor = Cursor::new(bytes);
    let read = FrameHeader::parse(&mut cursor);
    let read = read.map_err(|_| Violation::Broken("it is of no known kind"))?;
    let Some((header, length)) = read else {
        return Ok(None);
    };
    if length >> 63 != 0 {
        return Err(Violation::Broken("its length begins with a one"));
    }
    let used = usize::try_from(cursor.position()).unwrap_or(bytes.len());
    Ok(Some((header, length, used)))
}

/// Whatever pieces bytes come in, the same is made of them.
#[cfg(any(test, fuzzing))]
pub(crate) fn pieces_do_not_matter(bytes: &[u8], length: usize) {
    let (mut whole, mut at_once) = (Frames::default(), bytes.to_vec());
    let contents = whole.take(&mut at_once).map(|count| &at_once[..count]);
    let (mut frames, mut sofar) = (Frames::default(), vec![]);
    let mut taken = Ok(());
    for piece in bytes.chunks(length.max(1)) {
        let mut piece = piece.to_vec();
        taken = frames
            .take(&mut piece)
            .map(|count| sofar.extend_from_slice(&piece[..count]));
        if taken.is_err() {
            break;
        }
    }
    assert_eq!(taken.err(), contents.err());
    if let Ok(contents) = contents {
        assert_eq!(sofar, contents);
    }
    assert_eq!(frames.is_closed(), whole.is_closed());
    assert_eq!(frames.take_answer(), whole.take_answer());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A masked frame as a client sends it; `first` holds the final bit and the kind.
    fn sent(first: u8, contents: &[u8]) -> Vec<u8> {
        let mask = [7, 77, 177, 250];
        let mut out = vec![first];
        match u16::try_from(contents.len()) {
            Ok(length @ 0..126) => out.push(0x80 | u8::try_from(length).unwrap()),
            Ok(length) => {
                out.push(0x80 | 126);
                out.extend(length.to_be_bytes());
            }
            Err(_) => {
                out.push(0x80 | 127);
                out.extend((contents.len() as u64).to_be_bytes());
            }
        }
        out.extend(mask);
        let masked = contents.iter().zip(mask.iter().cycle());
        out.extend(masked.map(|(byte, mask)| byte ^ mask));
        out
    }

    /// Gives the frames `bytes` in pieces; returns the contents and the answers.
    fn given(bytes: &[u8], pieces: &[usize]) -> Result<(Vec<u8>, Vec<Vec<u8>>), Violation> {
        let (mut frames, mut out, mut answers) = (Frames::default(), vec![], vec![]);
        let mut pieces = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
        let mut left = bytes.to_vec();
        while !left.is_empty() {
            let length = pieces
                .next()
                .map_or(left.len(), |it| it.clamp(1, left.len()));
            let mut piece: Vec<u8> = left.drain(..length).collect();
            let contents = frames.take(&mut piece)?;
            out.extend_from_slice(&piece[..contents]);
            answers.extend(frames.take_answer());
        }
        Ok((out, answers))
    }

    #[test]
    fn the_example_of_the_standard_is_understood() {
        // RFC 6455 §5.7: a fragmented message and a ping, here binary and masked.
        let bytes = [
            &sent(0x02, b"Hel")[..],
            &sent(0x89, b"Hello"),
            &sent(0x80, b"lo"),
        ]
        .concat();
        let (contents, answers) = given(&bytes, &[]).unwrap();
        assert_eq!(contents, b"Hello");
        assert_eq!(answers, [[&[0x8A, 5][..], b"Hello"].concat()]);
    }

    #[test]
    fn text_frames_end_the_connection() {
        // [MQTT-6.0.0-1]
        assert_eq!(given(&sent(0x81, b"text"), &[]), Err(Violation::Text));
        let mut frames = Frames::default();
        assert!(frames.take(&mut sent(0x81, b"text")).is_err());
        assert_eq!(frames.take_answer().unwrap(), [0x88, 2, 0x03, 0xEB]);
        assert!(frames.is_closed());
        assert_eq!(frames.take(&mut sent(0x82, b"more")), Ok(0));
    }

    #[test]
    fn broken_frames_end_the_connection() {
        let mut unmasked = sent(0x82, b"");
        unmasked[1] &= 0x7F;
        let long = [&[0x82, 0xFF, 0x80][..], &[0; 11]].concat();
        for (why, bytes) in [
            ("not masked [RFC 6455 §5.1]", unmasked),
            ("reserved bits", sent(0xC2, b"x")),
            ("reserved kind", sent(0x83, b"x")),
            ("reserved control", sent(0x8B, b"x")),
            ("a continuation of nothing", sent(0x80, b"x")),
            (
                "a message within a message",
                [sent(0x02, b"x"), sent(0x82, b"x")].concat(),
            ),
            ("a ping in pieces", sent(0x09, b"x")),
            ("a long ping", sent(0x89, &[0; 126])),
            ("a length of 64 bits", long),
        ] {
            assert!(
                matches!(given(&bytes, &[]), Err(Violation::Broken(_))),
                "{why}"
            );
        }
    }

    #[test]
    fn a_close_is_answered_once_and_nothing_follows_it() {
        let bytes = [
            sent(0x82, b"a"),
            sent(0x88, &[0x03, 0xE8]),
            sent(0x82, b"b"),
        ]
        .concat();
        let mut frames = Frames::default();
        let mut piece = bytes;
        assert_eq!(frames.take(&mut piece), Ok(1));
        assert!(frames.is_closed());
        assert_eq!(frames.take_answer().unwrap(), [0x88, 2, 0x03, 0xE8]);
        frames.close();
        assert!(!frames.has_answer());
    }

    #[test]
    fn a_flood_of_pings_leaves_one_answer() {
        let mut frames = Frames::default();
        for number in 0..1_000_u16 {
            frames.take(&mut sent(0x89, &number.to_be_bytes())).unwrap();
        }
        assert_eq!(frames.take_answer().unwrap(), [0x8A, 2, 0x03, 0xE7]);
        assert!(!frames.has_answer());
    }

    proptest! {
        #[test]
        fn contents_are_the_same_wherever_frames_and_reads_end(
            frames in vec((vec(any::<u8>(), 0..300), any::<bool>(), 0..3_usize), 1..8),
            pieces in vec(1..40_usize, 0..200),
        ) {
            let (mut bytes, mut expected, mut pings) = (vec![], Vec::<u8>::new(), 0);
            let mut within = false;
            for (contents, last, kind) in &frames {
                let first = if within { 0 } else { 2 } | if *last { 0x80 } else { 0 };
                within = !last;
                bytes.extend(sent(first, contents));
                expected.extend(contents);
                if *kind == 0 {
                    bytes.extend(sent(0x89, &contents[..contents.len().min(125)]));
                    pings += 1;
                }
            }
            let (contents, answers) = given(&bytes, &pieces).unwrap();
            prop_assert_eq!(contents, expected);
            prop_assert!(answers.len() <= pings);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in vec(any::<u8>(), 0..200)) {
            let contents = Frames::default().take(&mut bytes);
            prop_assert!(contents.map_or(0, |it| it) <= bytes.len());
        }
    }
}
