//! One connection to the gate, spoken by hand and without a runtime.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;
use tanglegate_stage::packets::cut;
pub(crate) use tanglegate_stage::packets::{Packet, packet, text};

/// Long enough for any answer, on a busy machine too.
const SOON: Duration = Duration::from_secs(10);

/// A promise that was broken, in words.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

macro_rules! broken {
    ($($words:tt)*) => { $crate::line::Broken(format!($($words)*)) };
}
pub(crate) use broken;

pub(crate) struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub(crate) version: u8,
    /// Counts the connections of a world.
    pub(crate) number: u64,
}

/// A PUBLISH as it came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) duplicate: bool,
    pub(crate) retain: bool,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) payload: Vec<u8>,
}

/// How a client introduces itself.
#[derive(Debug, Clone)]
pub(crate) struct Hello<'a> {
    pub(crate) version: u8,
    pub(crate) id: &'a str,
    /// The password is the name.
    pub(crate) login: Option<&'a str>,
    pub(crate) clean: bool,
    /// Seconds that the session is to outlive the connection, in 5.0.
    pub(crate) expiry: u32,
    pub(crate) receive_maximum: u16,
}

impl Hello<'_> {
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut body = text("MQTT");
        let login = if self.login.is_some() { 0xC0 } else { 0 };
        body.extend([self.version, login | u8::from(self.clean) << 1, 0, 0]);
        if self.version == 5 {
            body.extend([8, 0x11]);
            body.extend(self.expiry.to_be_bytes());
            body.push(0x21);
            body.extend(self.receive_maximum.to_be_bytes());
        }
        body.extend(text(self.id));
        for name in self.login.iter().chain(&self.login) {
            body.extend(text(name));
        }
        packet(0x10, &body)
    }
}

impl Line {
    /// Connects and says hello; returns the body of the CONNACK.
    pub(crate) fn open(
        address: SocketAddr,
        number: u64,
        hello: &Hello<'_>,
    ) -> Result<(Self, Vec<u8>), Broken> {
        let mut line = Self::raw(address, number, hello.version)?;
        line.send(&hello.packet())?;
        let answer = line.next()?;
        if answer.first != 0x20 || answer.body.get(1) != Some(&0) {
            return Err(broken!(
                "[MQTT-3.2.0-1] {hello:?} was answered by {answer:?}"
            ));
        }
        Ok((line, answer.body))
    }

    /// Connects and says nothing.
    pub(crate) fn raw(address: SocketAddr, number: u64, version: u8) -> Result<Self, Broken> {
        let opening = TcpStream::connect(address).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SOON))?;
            stream.set_write_timeout(Some(SOON))?;
            Ok(stream)
        });
        let stream = opening.map_err(|error| broken!("the gate cannot be reached: {error}"))?;
        Ok(Self {
            stream,
            buffer: vec![],
            version,
            number,
        })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let sent = self.stream.write_all(bytes);
        sent.map_err(|error| broken!("the gate does not read: {error}"))
    }

    /// The next packet.
    pub(crate) fn next(&mut self) -> Result<Packet, Broken> {
        loop {
            if let Some(packet) = cut(&mut self.buffer) {
                return Ok(packet);
            }
            let mut chunk = [0; 8_192];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(broken!("the gate closed the connection of a good client")),
                Ok(read) => self.buffer.extend(&chunk[..read]),
                // By a fuzzer's alarm, for one.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken!("nothing comes from the gate: {error}")),
            }
        }
    }

    /// Says no more, and waits until the gate has closed the connection too. Everything it says
    /// meanwhile is thrown away.
    pub(crate) fn end(mut self) -> Result<(), Broken> {
        // The gate may have closed it already.
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut chunk = [0; 8_192];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(broken!(
                        "the gate does not close a connection that was ended"
                    ));
                }
                Err(_) => return Ok(()),
            }
        }
    }
}

impl Message {
    /// Reads a PUBLISH.
    pub(crate) fn read(packet: &Packet, version: u8) -> Option<Self> {
        let qos = packet.first >> 1 & 3;
        let length = usize::from(u16::from_be_bytes(*packet.body.first_chunk()?));
        let (topic, mut rest) = packet.body[2..].split_at_checked(length)?;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes(*rest.first_chunk()?);
            rest = &rest[2..];
        }
        if version == 5 {
            let (mut properties, mut shift) = (0, 0);
            loop {
                let (byte, after) = rest.split_first()?;
                properties |= usize::from(byte & 0x7F) << shift;
                (rest, shift) = (after, shift + 7);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            rest = rest.get(properties..)?;
        }
        Some(Self {
            topic: String::from_utf8(topic.to_vec()).ok()?,
            qos,
            duplicate: packet.first & 8 != 0,
            retain: packet.first & 1 != 0,
            id,
            payload: rest.to_vec(),
        })
    }
}
