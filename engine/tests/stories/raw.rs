//! A client that says what it is told to, byte for byte, also what no library would.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::client::Login;
use crate::process::PATIENCE;

pub(crate) const V311: u8 = 4;
pub(crate) const V5: u8 = 5;

pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const DISCONNECT: u8 = 0xE0;

/// A packet as it came: the first byte, and what follows the length.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    /// Whether these words stand somewhere in it.
    pub(crate) fn says(&self, words: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(words)
    }
}

pub(crate) struct Raw {
    stream: TcpStream,
    version: u8,
}

impl Raw {
    /// A connection on which nothing was said yet.
    pub(crate) fn dial(port: u16, version: u8) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, version }
    }

    /// Says CONNECT with a clean start and no keep-alive; the answer comes with it.
    pub(crate) fn connect(port: u16, version: u8, login: Login<'_>) -> (Self, Packet) {
        let mut client = Self::dial(port, version);
        let flags = if login.is_some() { 0xC2 } else { 0x02 };
        let mut body = field("MQTT");
        body.extend([version, flags, 0, 0]);
        client.properties(&mut body);
        body.extend(field(""));
        if let Some((username, password)) = login {
            body.extend([field(username), field(password)].concat());
        }
        client.send(0x10, &body);
        let answer = client.packet().expect("a CONNACK");
        assert_eq!(answer.first, CONNACK);
        (client, answer)
    }

    /// Connects and is let in.
    pub(crate) fn enter(port: u16, version: u8, login: Login<'_>) -> Self {
        let (client, answer) = Self::connect(port, version, login);
        assert_eq!(answer.body[1], 0, "{answer:?}");
        client
    }

    pub(crate) fn send(&mut self, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        let mut length = body.len();
        loop {
            let more = if length > 127 { 0x80 } else { 0 };
            packet.push(u8::try_from(length % 128).unwrap() | more);
            length /= 128;
            if length == 0 {
                break;
            }
        }
        packet.extend_from_slice(body);
        self.say(&packet);
    }

    /// Sends bytes as they are. The gate may have gone already.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Subscribes with QoS 0; the SUBACK comes back.
    pub(crate) fn subscribe(&mut self, filter: &str) -> Packet {
        let mut body = vec![0, 7];
        self.properties(&mut body);
        body.extend(field(filter));
        body.push(0);
        self.send(0x82, &body);
        self.expect(SUBACK)
    }

    /// Publishes with QoS 1; the PUBACK comes back.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) -> Packet {
        let mut body = field(topic);
        body.extend([0, 9]);
        self.properties(&mut body);
        body.extend_from_slice(payload.as_bytes());
        self.send(0x32, &body);
        self.expect(PUBACK)
    }

    /// The next packet of that kind.
    pub(crate) fn expect(&mut self, first: u8) -> Packet {
        loop {
            match self.packet() {
                Some(packet) if packet.first & 0xF0 == first => return packet,
                Some(_) => {}
                None => panic!("closed before a packet {first:#x} came"),
            }
        }
    }

    /// The next packet; `None` when the gate has closed the connection.
    pub(crate) fn packet(&mut self) -> Option<Packet> {
        let first = self.byte()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some(Packet { first, body })
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(1) => Some(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came within {PATIENCE:?}")
            }
            _ => None,
        }
    }

    fn properties(&self, body: &mut Vec<u8>) {
        if self.version == V5 {
            body.push(0);
        }
    }
}

/// A string with its length before it (MQTT 5.0 §1.5.4).
pub(crate) fn field(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}
