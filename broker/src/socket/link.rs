//! TCP, with or without TLS on it: bytes go in, and leave when they are flushed.

use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use tokio::net::TcpStream;

/// Records that are looked at in one read, so that a client cannot keep a thread busy with
/// records that hold nothing.
const RECORDS: usize = 16;

/// The lower layer of a layered socket.
pub(super) struct Link {
    stream: TcpStream,
    tls: Option<ServerConnection>,
    /// What was put and not sent, without TLS. Holds no memory while it is empty.
    unsent: Vec<u8>,
    /// True when the last read may have left decrypted bytes behind.
    more: bool,
}

/// The socket as `rustls` wants it.
struct Nonblocking<'a>(&'a TcpStream);

impl Read for Nonblocking<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Nonblocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Link {
    pub(super) fn new(stream: TcpStream, tls: Option<ServerConnection>) -> Self {
        Self {
            stream,
            tls,
            unsent: vec![],
            more: false,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.as_ref()?.peer_certificates()?.first()
    }

    /// True when there may be bytes to read though the TCP connection has none.
    pub(super) fn may_have_more(&self) -> bool {
        self.more
    }

    /// True while something that was put has not left.
    pub(super) fn has_unsent(&self) -> bool {
        match &self.tls {
            Some(tls) => tls.wants_write(),
            None => !self.unsent.is_empty(),
        }
    }

    /// Reads what is there; 0 at the end of the stream, `WouldBlock` when nothing is there now.
    /// `may_send`: whether what TLS itself has to say, as in its handshake, may leave.
    pub(super) fn try_read(&mut self, into: &mut [u8], may_send: bool) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.stream.try_read(into);
        }
        for _ in 0..RECORDS {
            self.more = false;
            let Some(tls) = &mut self.tls else { break };
            match tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => {
                    self.more = matches!(read, Ok(count) if count == into.len());
                    return read;
                }
            }
            if tls.read_tls(&mut Nonblocking(&self.stream))? == 0 {
                return Ok(0);
            }
            let processed = tls.process_new_packets();
            if may_send {
                // Also the alert that says what was wrong.
                self.flush()?;
            }
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
        self.more = true;
        Err(ErrorKind::WouldBlock.into())
    }

    /// Takes bytes that are to leave next, one after the other, at most one record of them.
    pub(super) fn put(&mut self, header: &[u8], payload: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            self.unsent.reserve_exact(header.len() + payload.len());
            self.unsent.extend_from_slice(header);
            self.unsent.extend_from_slice(payload);
            return Ok(());
        };
        let pieces = [IoSlice::new(header), IoSlice::new(payload)];
        let taken = tls.writer().write_vectored(&pieces)?;
        if taken == header.len() + payload.len() {
            Ok(())
        } else {
            Err(io::Error::other("TLS does not take a whole record"))
        }
    }

    /// Sends what was put; true once all has left.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.has_unsent() {
            let mut stream = Nonblocking(&self.stream);
            let sent = match &mut self.tls {
                Some(tls) => tls.write_tls(&mut stream),
                None => stream.write(&self.unsent),
            };
            match (sent, &self.tls) {
                (Ok(0), _) => return Err(ErrorKind::WriteZero.into()),
                (Ok(sent), None) if sent == self.unsent.len() => self.unsent = vec![],
                (Ok(sent), None) => drop(self.unsent.drain(..sent)),
                (Ok(_), Some(_)) => {}
                (Err(error), _) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                (Err(error), _) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Puts the end of the stream.
    pub(super) fn put_end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
    }
}
