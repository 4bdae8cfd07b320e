//! Topic aliases that the gate sets for a 5.0 client who allows them (MQTT 5.0 §3.3.2.3.4,
//! [MQTT-3.1.2-26], [MQTT-3.1.2-27]).
//!
//! Packets are queued with their whole topics, as for everybody, and may be dropped as long as
//! nothing of them has left. Only on their way into the socket do aliases take the place of
//! topics: **an alias stands from the first byte of the packet that sets it, and packets that the
//! socket has not begun to take are made anew the next time**. So both sides have the same table,
//! whatever is dropped, has expired or is sent again; with the connection it is forgotten.
//!
//! Whether a message is too large for the client is decided for its whole topic, so that it does
//! not hang on what was sent before; a packet that only the alias makes too large goes without.
//!
//! ```text
//! queued   head with topic │ properties, payload        head with topic │ …
//! socket   head with alias │ the same bytes             head with alias │ …
//! ```

mod table;
#[cfg(test)]
mod tests;

use crate::socket::Handed;
use crate::wire::{PublishHead, packet_length};
use std::cell::RefCell;
use table::{Table, Undo};

/// Bytes that are made ready for the socket at a time.
const PIECE: usize = 64 << 10;

/// What a client's connection knows of aliases that were set for it.
#[derive(Debug)]
pub(crate) struct OwnAliases {
    table: Table,
    /// Largest packet that the client takes, in bytes.
    packet_bytes: usize,
    /// The rest of a head that has left in part, and how many bytes of the queued packet it
    /// stands for.
    rest: Vec<u8>,
    stands_for: usize,
    /// Bytes in the piece that the socket has sealed.
    sealed: usize,
}

/// How far the socket got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// So many of the queued bytes have left.
    pub(crate) left: usize,
    /// So many behind them are sealed; `None` when no piece is.
    pub(crate) sealed: Option<usize>,
    /// Bytes that have left in truth.
    pub(crate) sent: usize,
    /// True when nothing more is taken just now.
    pub(crate) blocked: bool,
}

impl From<Handed> for Progress {
    /// Where bytes leave as they were queued.
    fn from(handed: Handed) -> Self {
        Self {
            left: handed.left,
            sealed: (handed.sealed != 0).then_some(handed.sealed),
            sent: handed.left,
            blocked: handed.blocked,
        }
    }
}

/// A head that was written in another form.
#[derive(Debug)]
struct Edit {
    /// Where it begins among the queued bytes, and its length there.
    at: usize,
    length: usize,
    /// The same of what is written instead.
    written_at: usize,
    written: usize,
    /// Takes the alias back that it sets.
    undo: Option<Undo>,
}

/// A piece on its way to the socket.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    edits: Vec<Edit>,
}

thread_local! {
    /// Free again as soon as the socket has taken what it takes.
    static SCRATCH: RefCell<Piece> = RefCell::default();
}

impl OwnAliases {
    /// For a client who takes `most` aliases, at least 1, and packets of so many bytes.
    pub(crate) fn new(most: u16, packet_bytes: usize) -> Self {
        Self {
            table: Table::new(most),
            packet_bytes,
            rest: vec![],
            stands_for: 0,
            sealed: 0,
        }
    }

    /// Lends what is queued to the socket's `write`, with aliases where there are any. The first
    /// `begun` bytes are the rest of a packet that has left in part.
    ///
    /// # Errors
    /// Those of `write`; the connection is over then.
    pub(crate) fn hand_over<E>(
        &mut self,
        queued: &[u8],
        begun: usize,
        write: impl FnOnce(&[u8]) -> Result<Handed, E>,
    ) -> Result<Progress, E> {
        SCRATCH.with_borrow_mut(|piece| {
            self.dress(queued, begun, piece);
            let handed = write(&piece.bytes);
            let taken = handed.as_ref().map_or(0, |it| it.left + it.sealed);
            self.settle(piece, taken);
            self.sealed = handed.as_ref().map_or(0, |it| it.sealed);
            let progress = handed.map(|it| piece.progress(it));
            piece.bytes.clear();
            piece.edits.clear();
            progress
        })
    }

    /// Bytes of memory that they take.
    pub(crate) fn cost(&self) -> usize {
        size_of::<Self>() + self.table.cost() + self.rest.capacity()
    }

    /// The sealed piece has left: its bytes.
    pub(crate) fn unseal(&mut self) -> usize {
        std::mem::take(&mut self.sealed)
    }

    /// Makes the next bytes ready.
    fn dress(&mut self, queued: &[u8], begun: usize, piece: &mut Piece) {
        let mut at = 0;
        if begun != 0 {
            if self.stands_for != 0 {
                let rest = |out: &mut Vec<u8>| out.extend_from_slice(&self.rest);
                piece.edit(0, self.stands_for, None, rest);
            }
            at = piece.copy(queued, self.stands_for, begun);
        }
        while at < queued.len() && piece.bytes.len() < PIECE {
            let packet = &queued[at..];
            // One whose length is not all here goes as it is.
            let end = packet_length(packet).map_or(queued.len(), |it| at + it);
            let head = PublishHead::read(packet);
            let chosen = head.and_then(|head| Some((head, self.choose(&head)?)));
            if let Some((head, (alias, undo))) = chosen {
                let named = undo.is_some();
                piece.edit(at, head.length(), undo, |out| {
                    head.put_with_alias(out, alias, named);
                });
                at += head.length();
            }
            at = piece.copy(queued, at, end);
        }
    }

    /// The alias for the topic of a packet, if it is to have one; with how to take it back if
    /// the packet sets it.
    fn choose(&mut self, head: &PublishHead<'_>) -> Option<(u16, Option<Undo>)> {
        if let Some(alias) = self.table.find(head.topic()) {
            return Some((alias, None));
        }
        if head.size_with_alias() > self.packet_bytes {
            return None; // [MQTT-3.1.2-24]
        }
        let (alias, undo) = self.table.set(head.topic())?;
        Some((alias, Some(undo)))
    }

    /// The socket has taken the first `taken` bytes: aliases that are set behind them are not,
    /// and what it has begun of a head has to follow.
    fn settle(&mut self, piece: &mut Piece, taken: usize) {
        while let Some(edit) = piece.edits.pop_if(|it| it.written_at >= taken) {
            if let Some(undo) = edit.undo {
                self.table.take_back(undo);
            }
        }
        if taken == 0 {
            return; // Whatever was begun is where it was.
        }
        match piece.edits.last() {
            Some(last) if last.written_at + last.written > taken => {
                let end = last.written_at + last.written;
                self.stands_for = last.at + last.length - piece.queued_at(taken);
                self.rest = piece.bytes[taken..end].to_vec();
            }
            _ => (self.rest, self.stands_for) = (vec![], 0),
        }
    }
}

impl Piece {
    /// Writes another head in place of the `length` queued bytes from `at` on.
    fn edit(
        &mut self,
        at: usize,
        length: usize,
        undo: Option<Undo>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let written_at = self.bytes.len();
        write(&mut self.bytes);
        self.edits.push(Edit {
            at,
            length,
            written_at,
            written: self.bytes.len() - written_at,
            undo,
        });
    }

    /// Adds the queued bytes between `from` and `to`, as many as there are and fit; returns where
    /// they end.
    fn copy(&mut self, queued: &[u8], from: usize, to: usize) -> usize {
        let room = PIECE.saturating_sub(self.bytes.len());
        let end = to.min(queued.len()).min(from + room);
        self.bytes.extend_from_slice(&queued[from..end]);
        end
    }

    /// Where among the queued bytes it is that so many were written. In a head that was written
    /// anew it is its beginning only when nothing of it was written, and never its end before
    /// all of it was.
    fn queued_at(&self, written: usize) -> usize {
        let before = self.edits.partition_point(|it| it.written_at <= written);
        let Some(edit) = before.checked_sub(1).and_then(|it| self.edits.get(it)) else {
            return written;
        };
        let inside = written - edit.written_at;
        match inside.checked_sub(edit.written) {
            Some(behind) => edit.at + edit.length + behind,
            None => edit.at + inside.min(edit.length - 1),
        }
    }

    fn progress(&self, handed: Handed) -> Progress {
        let left = self.queued_at(handed.left);
        let sealed = self.queued_at(handed.left + handed.sealed) - left;
        Progress {
            left,
            sealed: (handed.sealed != 0).then_some(sealed),
            sent: handed.left,
            blocked: handed.blocked,
        }
    }
}
