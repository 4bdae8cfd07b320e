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

impl Socket {
    /// The bytes as they are.
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Reads what is there; 0 at the end of the stream, `WouldBlock` when nothing is there now.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }

    /// Writes what is taken now; `WouldBlock` when nothing is.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
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

    /// Writes everything.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            match self.try_write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the other side that nothing more comes.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}
