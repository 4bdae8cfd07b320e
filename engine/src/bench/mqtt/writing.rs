//! One publisher of a load.

use super::load::BURST;
use super::packet::{answer, cut};
use anyhow::bail;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Messages with a QoS above 0 that a publisher has in flight at most.
const IN_FLIGHT: u64 = 1_000;

/// A publisher that never waits for its socket.
pub(super) struct Writer {
    socket: TcpStream,
    qos: u8,
    /// Bytes of one message.
    one: u64,
    /// Bytes of messages so far.
    sent: u64,
    /// Messages acknowledged to the last step.
    done: u64,
    /// PUBRELs that wait for their turn.
    answers: Vec<u8>,
    /// The beginning of an answer whose rest was not read yet.
    partial: Vec<u8>,
}

impl Writer {
    pub(super) fn new(socket: TcpStream, qos: u8, one: usize) -> Self {
        Self {
            socket,
            qos,
            one: one as u64,
            sent: 0,
            done: 0,
            answers: vec![],
            partial: vec![],
        }
    }

    /// Messages acknowledged to the last step.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Writes what the socket takes, up to `allowed` messages in all; returns how many bytes that
    /// was. `packets` are sent again and again.
    pub(super) fn write(&mut self, packets: &[u8], allowed: u64) -> anyhow::Result<usize> {
        let within = self.sent % self.one;
        if !self.answers.is_empty() && within == 0 {
            let written = take(self.socket.write(&self.answers))?;
            self.answers.drain(..written);
            if !self.answers.is_empty() {
                return Ok(written);
            }
        }
        let allowed = match self.qos {
            0 => allowed,
            _ => allowed.min(self.done + IN_FLIGHT),
        };
        let mut room = usize::try_from((allowed * self.one).saturating_sub(self.sent))?;
        if !self.answers.is_empty() {
            // To the end of this message, and then they.
            room = usize::try_from(self.one - within)?;
        }
        let at = usize::try_from(self.sent % packets.len() as u64)?;
        let end = (at + room.min(BURST)).min(packets.len());
        if at == end {
            return Ok(0);
        }
        let written = take(self.socket.write(&packets[at..end]))?;
        self.sent += written as u64;
        Ok(written)
    }

    /// Reads what the server answers, if anything.
    pub(super) fn read_answers(&mut self, scratch: &mut [u8]) -> anyhow::Result<()> {
        let read = match self.socket.read(scratch) {
            Ok(0) => bail!("the server closed a publisher's connection"),
            other => take(other)?,
        };
        if read == 0 {
            return Ok(());
        }
        self.partial.extend_from_slice(&scratch[..read]);
        let mut at = 0;
        while let Some((packet, length)) = cut(&self.partial[at..]) {
            at += length;
            let refused = packet.body.get(2).is_some_and(|it| *it >= 0x80);
            match (packet.kind(), packet.id()) {
                // PUBACK and PUBCOMP
                (4 | 7, Some(_)) if !refused => self.done += 1,
                // PUBREC
                (5, Some(id)) if !refused => self.answers.extend(answer(0x62, id)),
                _ => bail!("the server answers a publisher {packet:?}"),
            }
        }
        self.partial.drain(..at);
        Ok(())
    }
}

/// What a socket took or gave; 0 when it is not ready.
fn take(done: std::io::Result<usize>) -> std::io::Result<usize> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        done => done,
    }
}
