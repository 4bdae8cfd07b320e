//! A client's connection as a stream of bytes, whatever carries it.
//!
//! It is served by readiness: nothing is buffered for a plain connection at rest, and whoever
//! holds one asks for bytes only when some are there.

mod frames;
mod layers;
mod link;
mod upgrade;

#[cfg(any(test, fuzzing))]
pub(crate) use frames::pieces_do_not_matter;
use layers::Layers;
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
#[cfg(any(test, fuzzing))]
pub(crate) use upgrade::any_request_is_answered;

/// A connection.
pub(crate) struct Socket(Carrier);

/// What carries the bytes.
enum Carrier {
    Plain(TcpStream),
    Layered(Box<Layers>),
}

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
        Self(Carrier::Plain(stream))
    }

    /// The bytes in WebSocket frames, in TLS records, or in one in the other. A WebSocket is to be
    /// opened with [`Self::upgrade`] first.
    pub(crate) fn layered(stream: TcpStream, tls: Option<ServerConnection>) -> Self {
        Self(Carrier::Layered(Box::new(Layers::new(stream, tls))))
    }

    /// Answers the request for a WebSocket; from then on bytes travel in its frames.
    ///
    /// # Errors
    /// When the client asks for something else, which it is told, or is gone.
    pub(crate) async fn upgrade(&mut self) -> io::Result<()> {
        let answer = upgrade::answer(self).await?;
        self.write_all(&answer.bytes).await?;
        match &mut self.0 {
            Carrier::Layered(layers) if answer.accepts => {
                layers.speak_frames();
                Ok(())
            }
            _ => {
                self.shutdown().await?;
                Err(ErrorKind::InvalidData.into())
            }
        }
    }

    /// The certificate by which the client is known. Checked; `None` before the first byte was
    /// read, too.
    pub(crate) fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.0 {
            Carrier::Plain(_) => None,
            Carrier::Layered(layers) => layers.client_certificate(),
        }
    }

    /// Reads what is there; 0 at the end of the stream, `WouldBlock` when nothing is there now.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Carrier::Plain(stream) => stream.try_read(into),
            Carrier::Layered(layers) => layers.try_read(into),
        }
    }

    /// Writes what is taken now.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<Handed> {
        let stream = match &mut self.0 {
            Carrier::Plain(stream) => stream,
            Carrier::Layered(layers) => return layers.try_write(bytes),
        };
        let left = match stream.try_write(bytes) {
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
        match &mut self.0 {
            Carrier::Plain(_) => Ok(true),
            Carrier::Layered(layers) => layers.try_send_sealed(),
        }
    }

    /// Ready when a read is worth trying.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Carrier::Plain(stream) => stream.poll_read_ready(cx),
            Carrier::Layered(layers) => layers.poll_readable(cx),
        }
    }

    /// Ready when a write is worth trying.
    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_write_ready(cx)
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

    /// Tells the other side that nothing more comes. A piece that is sealed and has not left
    /// never will.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        if let Carrier::Layered(layers) = &mut self.0 {
            layers.say_goodbye()?;
        }
        while let Carrier::Layered(layers) = &mut self.0
            && !layers.send_goodbye()?
        {
            self.writable().await?;
        }
        match &mut self.0 {
            Carrier::Plain(stream) => stream.shutdown().await,
            Carrier::Layered(layers) => layers.stream_mut().shutdown().await,
        }
    }

    fn stream(&self) -> &TcpStream {
        match &self.0 {
            Carrier::Plain(stream) => stream,
            Carrier::Layered(layers) => layers.stream(),
        }
    }
}
