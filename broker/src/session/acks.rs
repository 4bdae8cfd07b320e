//! Answers to the client's QoS 1 and 2 messages, in their order ([MQTT-4.6.0-2]), held until
//! what they answer is where nothing can lose it.

use super::Handle;
use crate::outbox::Outbox;
use crate::store::{Change, Mark, Store};
use crate::wire::{Answer, acknowledge};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What it costs to hold the answers of one turn, besides their bytes: the receipt as well.
const HELD: usize = 256;

/// Told when everything that a group of answers rests on was recorded. It travels in a box, so
/// that connections at rest keep no room for it.
#[derive(Debug)]
pub(crate) struct Receipt {
    safe: Arc<AtomicBool>,
    outbox: Arc<Outbox>,
    store: Store,
    /// What else has to be safe.
    mark: Mark,
    /// A message that came again is answered: that is what the first answer rests on, too.
    repeats: bool,
    /// Identifiers of QoS 2 messages, and the session that knows them.
    received: Vec<u16>,
    known: Arc<Mutex<HashSet<u16>>>,
    session: u64,
    /// True when the session is to know them after the end of the server as well.
    kept: bool,
}

impl Receipt {
    /// Everything was recorded, at the latest under `mark`: the answers may go once that is
    /// safe. Only behind the messages themselves are their identifiers recorded: a server that
    /// dies in between takes a message again, and does not lose it.
    pub(crate) fn recorded(mut self, mark: Mark) {
        let (session, mut mark) = (self.session, mark.max(self.mark));
        for packet_id in std::mem::take(&mut self.received) {
            if self.kept {
                let received = Change::Received { session, packet_id };
                mark = mark.max(self.store.record(received));
            }
        }
        if self.repeats {
            mark = mark.max(self.store.latest());
        }
        let (safe, outbox) = (Arc::clone(&self.safe), Arc::clone(&self.outbox));
        self.store.when_safe(mark, move || {
            safe.store(true, Ordering::Release);
            outbox.wake();
        });
    }
}

impl Drop for Receipt {
    /// The messages were not passed on: when they come again, they are new.
    fn drop(&mut self) {
        if !self.received.is_empty() {
            let mut known = self.known.lock();
            for packet_id in &self.received {
                known.remove(packet_id);
            }
        }
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
    /// One of them repeats an answer.
    repeats: bool,
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

    /// Adds the PUBREC of a QoS 2 message, whose identifier is known from now on.
    pub(super) fn push_received(&mut self, packet_id: u16) {
        self.received.push(packet_id);
        self.push(Answer::Received, packet_id, false);
    }

    /// Adds the PUBREC of one that came again: it may go when the first one may.
    pub(super) fn push_again(&mut self, packet_id: u16) {
        self.repeats = true;
        self.push(Answer::Received, packet_id, false);
    }

    /// True when one of the answers to what was read since the last turn repeats another.
    pub(super) fn repeats(&self) -> bool {
        self.repeats
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
            repeats: std::mem::take(&mut self.repeats),
            received: std::mem::take(&mut self.received),
            known: Arc::clone(&handle.received),
            session: handle.session,
            kept: handle.store.is_some(),
        })
    }

    /// Bytes of answers that are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that the answers take, with what holding them costs.
    pub(super) fn cost(&self) -> usize {
        self.fresh.capacity() + self.bytes + self.held.len() * HELD
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

    #[test]
    fn a_message_that_was_not_passed_on_is_new_when_it_comes_again() {
        let (handle, store) = (Handle::alone(), Store::memory());
        let mut acks = Acks::default();
        for (id, passed_on) in [(1, true), (2, false)] {
            handle.received.lock().insert(id);
            acks.push_received(id);
            let receipt = acks.hold(&handle, &store);
            if passed_on {
                receipt.recorded(Mark::default());
            }
        }
        assert!(handle.received.lock().contains(&1) && !handle.received.lock().contains(&2));
        assert_eq!(acks.next(), Some((vec![0x50, 2, 0, 1], 0)));
        assert_eq!(acks.next(), None, "it is not answered");
    }
}
