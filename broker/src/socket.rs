//! A client's connection as a stream of bytes, whatever carries it.
//!
//! It is served by readiness: nothing is buffered for a connection at rest, and whoever holds one
//! asks for bytes only when some are there.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A connection.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

/// What became of bytes that a socket was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Handed {
    /// So many of the first have left.
    pub(crate) left: usize,
    /// So many behind them are sealed into a piece that has not wholly left: it must leave, by
    /// [`Socket::try_send_sealed`], before more is given.
    pub(crate) sealed: usize,
    /// True when nothing more is taken just now.
    pub(crate) blocked: bool,
}

impl Socket {
    /// The bytes as they are.
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Reads what is there; 0 at the end of the stream, `WouldBlock` when nothing is there now.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }

    /// Writes what is taken now.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<Handed> {
        let left = match self.0.try_write(bytes) {
            Ok(0) if !bytes.is_empty() => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            left => left?,
        };
        Ok(Handed {
            left,
            sealed: 0,
            blocked: left < bytes.len(),
        })
    }

    /// Sends the rest of a sealed piece; true once it has left.
    pub(crate) fn try_send_sealed(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Ready when a read is worth trying.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Ready when a write is worth trying.
    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    /// Waits until a write is worth trying.
    pub(crate) async fn writable(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// Waits for bytes and reads them; 0 at the end of the stream.
    pub(crate) async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            loop {
                ready!(self.poll_readable(cx))?;
                match self.try_read(into) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    read => return Poll::Ready(read),
                }
            }
        })
        .await
    }

    /// Writes everything. Of packets that need a right, nothing must be sealed.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let handed = self.try_write(bytes)?;
            bytes = &bytes[handed.left + handed.sealed..];
            if handed.blocked {
                self.writable().await?;
            }
            while handed.sealed != 0 && !self.try_send_sealed()? {
                self.writable().await?;
            }
        }
        Ok(())
    }

    /// Tells the other side that nothing more comes.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}
