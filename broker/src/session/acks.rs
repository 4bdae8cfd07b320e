//! Answers to the client's QoS 1 and 2 messages, in their order ([MQTT-4.6.0-2]), held until
//! what they answer is where nothing can lose it.

use crate::outbox::Outbox;
use crate::wire::{Answer, acknowledge};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Told when everything that a group of answers rests on is safe.
#[derive(Debug)]
pub(crate) struct Receipt {
    safe: Arc<AtomicBool>,
    outbox: Arc<Outbox>,
}

impl Receipt {
    /// Everything is safe: the answers may go.
    pub(crate) fn confirm(self) {
        self.safe.store(true, Ordering::Release);
        self.outbox.wake();
    }
}

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// To what was read since the last turn, and how many messages that ends.
    fresh: Vec<u8>,
    fresh_ends: usize,
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

    /// True when there is an answer to what was read since the last turn.
    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Holds the answers to what was read since the last turn until the receipt is confirmed.
    pub(super) fn hold(&mut self, outbox: &Arc<Outbox>) -> Receipt {
        let safe = Arc::new(AtomicBool::new(false));
        self.bytes += self.fresh.len();
        self.held.push_back(Held {
            safe: Arc::clone(&safe),
            bytes: std::mem::take(&mut self.fresh),
            ends: std::mem::take(&mut self.fresh_ends),
        });
        let outbox = Arc::clone(outbox);
        Receipt { safe, outbox }
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
        let outbox = Arc::new(Outbox::new(100, 1, false));
        let mut acks = Acks::default();
        acks.push(Answer::Acknowledged, 1, true);
        acks.push(Answer::Received, 2, false);
        let first = acks.hold(&outbox);
        acks.push(Answer::Acknowledged, 3, true);
        let second = acks.hold(&outbox);
        assert_eq!((acks.bytes(), acks.has_fresh()), (12, false));
        second.confirm();
        assert!(acks.next().is_none(), "the first is not safe");
        first.confirm();
        let answers = vec![0x40, 2, 0, 1, 0x50, 2, 0, 2];
        assert_eq!(acks.next(), Some((answers, 1)));
        assert_eq!(acks.next(), Some((vec![0x40, 2, 0, 3], 1)));
        assert_eq!((acks.next(), acks.bytes()), (None, 0));
    }
}
