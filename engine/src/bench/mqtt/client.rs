//! A client that waits for what it asked: it connects and subscribes before a load begins.

use super::packet::{Hello, Packet, Version, cut, subscribe};
use anyhow::{Context, bail, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may be silent before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Filters in one SUBSCRIBE.
const FILTERS: usize = 500;

/// A connected client.
pub(super) struct Client {
    pub(super) socket: TcpStream,
    version: Version,
    /// What was read, from `at` on not yet looked at.
    read: Vec<u8>,
    at: usize,
    /// The server knew the session.
    pub(super) resumed: bool,
}

impl Client {
    /// Connects and waits until it is let in.
    pub(super) fn connect(server: SocketAddr, hello: &Hello<'_>) -> anyhow::Result<Self> {
        let mut client = Self::knock(server, hello)?;
        client.enter(hello.name)?;
        Ok(client)
    }

    /// Connects and says who it is; [`Client::enter`] waits for the answer.
    pub(super) fn knock(server: SocketAddr, hello: &Hello<'_>) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(server).context("cannot connect")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut client = Self {
            socket,
            version: hello.version,
            read: vec![],
            at: 0,
            resumed: false,
        };
        client.socket.write_all(&hello.packet())?;
        Ok(client)
    }

    /// Waits until `name` is let in.
    pub(super) fn enter(&mut self, name: &str) -> anyhow::Result<()> {
        self.resumed = self.next(|it| {
            let accepted = it.kind() == 2 && it.body.get(1) == Some(&0);
            ensure!(accepted, "{name} is refused: {:?}", it.body);
            Ok(it.body[0] == 1)
        })?;
        Ok(())
    }

    /// How long it waits for an answer.
    pub(super) fn wait_for(&self, patience: Duration) -> std::io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }

    /// Subscribes and waits until every filter is granted with this QoS.
    pub(super) fn subscribe<T: AsRef<str>>(
        &mut self,
        filters: &[T],
        qos: u8,
    ) -> anyhow::Result<()> {
        for filters in filters.chunks(FILTERS) {
            self.socket
                .write_all(&subscribe(self.version, filters, qos))?;
            let granted = self.granted()?;
            let first = filters.first().map_or("", AsRef::as_ref);
            ensure!(
                granted.len() == filters.len() && granted.iter().all(|it| *it == qos),
                "the subscription to {first} with QoS {qos} is answered {:?}",
                &granted[..granted.len().min(8)]
            );
        }
        Ok(())
    }

    /// The answers of the next SUBACK; messages before it are not looked at.
    fn granted(&mut self) -> anyhow::Result<Vec<u8>> {
        let version = self.version;
        loop {
            let granted = self.next(|it| {
                Ok((it.kind() == 9).then(|| {
                    // The identifier, and the properties with their length, which is short.
                    let before = match version {
                        Version::V311 => 2,
                        Version::V5 => 3 + it.body.get(2).map_or(0, |it| usize::from(*it)),
                    };
                    it.body.get(before..).unwrap_or_default().to_vec()
                }))
            })?;
            if let Some(granted) = granted {
                return Ok(granted);
            }
        }
    }

    /// Waits for the next packet.
    pub(super) fn next<T>(
        &mut self,
        look: impl FnOnce(Packet<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        loop {
            if let Some((packet, length)) = cut(&self.read[self.at..]) {
                self.at += length;
                return look(packet);
            }
            self.read.drain(..self.at);
            self.at = 0;
            let mut chunk = [0; 4_096];
            match self.socket.read(&mut chunk).context("no answer")? {
                0 => bail!("the server closed the connection"),
                read => self.read.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// True when no whole packet is left of what was read.
    pub(super) fn is_drained(&self) -> bool {
        cut(&self.read[self.at..]).is_none()
    }

    /// Asks whether the other side is still there.
    pub(super) fn ping(&mut self) -> anyhow::Result<()> {
        self.socket.write_all(&[0xC0, 0])?;
        while self.next(|it| Ok(it.kind()))? != 13 {}
        Ok(())
    }

    /// The socket, for a load that reads it without waiting, and what was already read from it.
    pub(super) fn into_parts(mut self) -> std::io::Result<(TcpStream, Vec<u8>)> {
        self.socket.set_nonblocking(true)?;
        self.read.drain(..self.at);
        Ok((self.socket, self.read))
    }
}
