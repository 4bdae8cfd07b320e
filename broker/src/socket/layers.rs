//! TLS and WebSocket over a TCP connection.
//!
//! What is given to be written is sealed into one piece, a WebSocket frame, a TLS record or a
//! frame in a record, and **there is never more than one piece that is sealed and has not wholly
//! left**. Nothing but [`Layers::try_send_sealed`] sends the rest of it, so that whoever wrote it
//! can look at the clock again first; until it has left, answers of the layers themselves wait.

use super::Handed;
use super::frames::{Frames, contents_header};
use super::link::Link;
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// Bytes in one piece: with the header of a frame it fills one TLS record (RFC 8446 §5.1).
const PIECE: usize = (16 << 10) - 4;
/// Reads in one turn, when they bring nothing but frames without contents.
const READS: usize = 16;

/// The layers.
pub(super) struct Layers {
    link: Link,
    /// Set once the WebSocket is open.
    frames: Option<Frames>,
    /// Bytes that were given, are sealed, and have not wholly left.
    sealed: usize,
}

impl Layers {
    pub(super) fn new(stream: TcpStream, tls: Option<ServerConnection>) -> Self {
        Self {
            link: Link::new(stream, tls),
            frames: None,
            sealed: 0,
        }
    }

    pub(super) fn speak_frames(&mut self) {
        self.frames = Some(Frames::default());
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.link.stream()
    }

    pub(super) fn stream_mut(&mut self) -> &mut TcpStream {
        self.link.stream_mut()
    }

    pub(super) fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.link.client_certificate()
    }

    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.link.may_have_more() || self.is_closed() {
            return Poll::Ready(Ok(()));
        }
        // A read sends what the layers have to say.
        if self.has_to_say()
            && let Poll::Ready(writable) = self.stream().poll_write_ready(cx)
        {
            return Poll::Ready(writable);
        }
        self.stream().poll_read_ready(cx)
    }

    pub(super) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.say()?;
        for _ in 0..READS {
            if self.is_closed() {
                return Ok(0);
            }
            let read = self.link.try_read(into, self.sealed == 0)?;
            let Some(frames) = &mut self.frames else {
                return Ok(read);
            };
            let contents = frames.take(&mut into[..read]);
            self.say()?;
            match contents {
                Ok(contents) if read == 0 || contents > 0 => return Ok(contents),
                Ok(_) => {}
                Err(violation) => return Err(io::Error::new(ErrorKind::InvalidData, violation)),
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<Handed> {
        debug_assert_eq!(self.sealed, 0, "one piece at a time");
        self.say()?;
        if self.link.has_unsent() {
            return Ok(Handed {
                blocked: true,
                ..Handed::default()
            });
        }
        let piece = &bytes[..bytes.len().min(PIECE)];
        let header = match self.frames {
            Some(_) => contents_header(piece.len()),
            None => vec![],
        };
        self.link.put(&header, piece)?;
        self.sealed = piece.len();
        let sent = self.try_send_sealed()?;
        Ok(Handed {
            left: if sent { piece.len() } else { 0 },
            sealed: self.sealed,
            blocked: !sent,
        })
    }

    pub(super) fn try_send_sealed(&mut self) -> io::Result<bool> {
        let sent = self.link.flush()?;
        if sent {
            self.sealed = 0;
        }
        Ok(sent)
    }

    /// Prepares the last words of the layers.
    pub(super) fn say_goodbye(&mut self) -> io::Result<()> {
        if self.sealed != 0 {
            return Ok(());
        }
        if let Some(frames) = &mut self.frames {
            frames.close();
        }
        self.say()?;
        if !self.has_frames_to_say() {
            self.link.put_end();
        }
        Ok(())
    }

    /// Sends the last words; true when there is nothing more to say.
    pub(super) fn send_goodbye(&mut self) -> io::Result<bool> {
        if self.sealed != 0 {
            return Ok(true);
        }
        if self.has_frames_to_say() {
            self.say()?;
            if self.has_frames_to_say() {
                return Ok(false);
            }
            self.link.put_end();
        }
        self.link.flush()
    }

    fn is_closed(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::is_closed)
    }

    fn has_frames_to_say(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::has_answer)
    }

    /// True when the layers have something to say that may leave.
    fn has_to_say(&self) -> bool {
        self.sealed == 0 && (self.link.has_unsent() || self.has_frames_to_say())
    }

    /// Sends what the layers themselves have to say, as much as is taken.
    fn say(&mut self) -> io::Result<()> {
        if !self.has_to_say() || !self.link.flush()? {
            return Ok(());
        }
        if let Some(answer) = self.frames.as_mut().and_then(Frames::take_answer) {
            self.link.put(&answer, &[])?;
            self.link.flush()?;
        }
        Ok(())
    }
}
