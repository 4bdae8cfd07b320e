//! Answers to the client's QoS 1 and 2 messages, in their order ([MQTT-4.6.0-2]), held until
//! what they answer is where nothing can lose it.

use super::Handle;
use crate::outbox::Outbox;
use crate::store::{Change, Mark, Store};
use crate::wire::{Answer, acknowledge};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Told when everything that a group of answers rests on was recorded. It travels in a box, so
/// that connections at rest keep no room for it.
#[derive(Debug)]
pub(crate) struct Receipt {
    safe: Arc<AtomicBool>,
    outbox: Arc<Outbox>,
    store: Store,
    /// What else has to be safe.
    mark: Mark,
    /// Identifiers of QoS 2 messages that the session is to know again after the end of the
    /// server, and the session.
    received: Vec<u16>,
    session: u64,
}

impl Receipt {
    /// Everything was recorded, at the latest under `mark`: the answers may go once that is
    /// safe. Only behind the messages themselves are their identifiers recorded: a server that
    /// dies in between takes a message again, and does not lose it.
    pub(crate) fn recorded(self, mark: Mark) {
        let (session, mut mark) = (self.session, mark.max(self.mark));
        for packet_id in self.received {
            let received = Change::Received { session, packet_id };
            mark = mark.max(self.store.record(received));
        }
        let (safe, outbox) = (self.safe, self.outbox);
        self.store.when_safe(mark, move || {
            safe.store(true, Ordering::Release);
            outbox.wake();
        });
    }
}

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// To what was read since the last turn, and how many messages that ends.
    fresh: Vec<u8>,
    fresh_ends: usize,
    /// What they rest on besides those messages.
    mark: Mark,
    received: Vec<u16>,
    held: VecDeque<Held>,
    /// Bytes in `held`.
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    safe: Arc<AtomicBool>,
    bytes: Vec<u8>,
    ends: usize,
}

impl Acks {
    /// Adds an answer. `ends` when it is the last one to its message.
    pub(super) fn push(&mut self, answer: Answer, packet_id: u16, ends: bool) {
        self.push_with(ends, |out| acknowledge(out, answer, packet_id));
    }

    /// Adds an answer that `write` appends.
    pub(super) fn push_with(&mut self, ends: bool, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.fresh);
        self.fresh_ends += usize::from(ends);
    }

    /// The answers to what was read since the last turn may go once `mark` is safe.
    pub(super) fn rest_on(&mut self, mark: Mark) {
        self.mark = self.mark.max(mark);
    }

    /// Adds an answer that may go once `mark` is safe.
    pub(super) fn push_after(&mut self, mark: Mark, answer: Answer, packet_id: u16, ends: bool) {
        self.rest_on(mark);
        self.push(answer, packet_id, ends);
    }

    /// The PUBREC of a QoS 2 message whose identifier has to be known after the server's end.
    pub(super) fn push_received(&mut self, packet_id: u16) {
        self.received.push(packet_id);
        self.push(Answer::Received, packet_id, false);
    }

    /// True when there is an answer to what was read since the last turn.
    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Holds the answers to what `handle`'s client sent since the last turn, until the receipt
    /// says that they may go.
    pub(super) fn hold(&mut self, handle: &Handle, store: &Store) -> Box<Receipt> {
        let safe = Arc::new(AtomicBool::new(false));
        self.bytes += self.fresh.len();
        self.held.push_back(Held {
            safe: Arc::clone(&safe),
            bytes: std::mem::take(&mut self.fresh),
            ends: std::mem::take(&mut self.fresh_ends),
        });
        Box::new(Receipt {
            safe,
            outbox: Arc::clone(&handle.outbox),
            store: store.clone(),
            mark: std::mem::take(&mut self.mark),
            received: std::mem::take(&mut self.received),
            session: handle.session,
        })
    }

    /// Bytes of answers that are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when [`Acks::next`] has something.
    pub(super) fn is_ready(&self) -> bool {
        let first = self.held.front();
        first.is_some_and(|it| it.safe.load(Ordering::Acquire))
    }

    /// The next answers that may go, and how many messages they end.
    pub(super) fn next(&mut self) -> Option<(Vec<u8>, usize)> {
        if !self.is_ready() {
            return None;
        }
        let Held { bytes, ends, .. } = self.held.pop_front()?;
        self.bytes -= bytes.len();
        Some((bytes, ends))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_for_those_before_them() {
        let (handle, store) = (Handle::alone(), Store::memory());
        let mut acks = Acks::default();
        acks.push(Answer::Acknowledged, 1, true);
        acks.push(Answer::Received, 2, false);
        let first = acks.hold(&handle, &store);
        acks.push(Answer::Acknowledged, 3, true);
        let second = acks.hold(&handle, &store);
        assert_eq!((acks.bytes(), acks.has_fresh()), (12, false));
        second.recorded(Mark::default());
        assert!(acks.next().is_none(), "the first is not safe");
        first.recorded(Mark::default());
        let answers = vec![0x40, 2, 0, 1, 0x50, 2, 0, 2];
        assert_eq!(acks.next(), Some((answers, 1)));
        assert_eq!(acks.next(), Some((vec![0x40, 2, 0, 3], 1)));
        assert_eq!((acks.next(), acks.bytes()), (None, 0));
    }
}
