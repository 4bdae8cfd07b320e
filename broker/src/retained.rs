//! Retained messages: the last one of each topic, for those who subscribe later (MQTT 5.0
//! §3.3.1.3).
//!
//! All shards read the same records in the same order, and each offers the retained messages it
//! reads to the store; the first to come stores it. So a client that subscribes on some shard
//! is sure to find everything that its shard has read before. It may also find a message that
//! its own shard reads a moment later, and gets that one twice.
//!
//! What changes is recorded in the [`Store`] under the same lock, so that a restart finds the
//! same messages; only `$SYS/…` is published anew after each start.

mod scan;
#[cfg(test)]
mod tests;

use crate::message::StoredMessage;
use crate::record::Run;
use crate::store::{Change, Mark, Store};
use parking_lot::Mutex;
use scan::Look;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use tanglegate_core::{Timestamp, TopicFilter};

/// What a stored message costs besides its own bytes: nodes and counters.
const OVERHEAD: usize = 128;
/// Messages removed under one lock because they have expired.
const ONE_CLEANING: usize = 1_000;
/// Topics looked at under one lock for a replay: some 50 µs, whatever the filter.
const ONE_LOOK: usize = 128;

/// A message that is kept.
#[derive(Debug)]
pub(crate) struct RetainedMessage {
    /// That of its topic: see [`scan`].
    key: Arc<str>,
    pub(crate) qos: u8,
    pub(crate) message: StoredMessage,
    /// The session that published it; 0 when that was before the server was started.
    pub(crate) origin: u64,
}

impl RetainedMessage {
    fn new(qos: u8, message: StoredMessage, origin: u64) -> Self {
        Self {
            key: scan::key(message.topic()).into(),
            qos,
            message,
            origin,
        }
    }

    pub(crate) fn topic(&self) -> &str {
        self.message.topic()
    }

    fn size(&self) -> usize {
        OVERHEAD + self.key.len() + self.message.len()
    }
}

/// Where a replay goes on.
#[derive(Debug, Clone)]
pub(crate) struct Cursor(Bound<Arc<str>>);

impl Cursor {
    /// Before all messages.
    pub(crate) fn start() -> Self {
        Self(Bound::Unbounded)
    }

    /// Behind this message.
    pub(crate) fn after(message: &RetainedMessage) -> Self {
        Self(Bound::Excluded(Arc::clone(&message.key)))
    }
}

/// Where a message stands in the log: number of the record, number of the run in it.
pub(crate) type Place = (u64, usize);

/// All of them.
#[derive(Debug)]
pub(crate) struct Retained {
    kept: Mutex<Kept>,
    store: Store,
    messages: usize,
    bytes: usize,
}

/// What became of a message that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offered {
    /// False when there was no room for it.
    pub(crate) fits: bool,
    /// Safe once a restart finds what was offered.
    pub(crate) mark: Mark,
}

impl Offered {
    /// Somebody else has offered it before, or there is nothing to keep.
    const NOTHING: Self = Self {
        fits: true,
        mark: Mark::NONE,
    };
}

#[derive(Debug, Default)]
struct Kept {
    /// By their keys, in an order in which a replay can go on where it paused.
    topics: BTreeMap<Arc<str>, Arc<RetainedMessage>>,
    /// Those that expire, the first to expire first.
    expiring: BTreeSet<(Timestamp, Arc<str>)>,
    bytes: usize,
    /// The last message that was offered: all before it were offered too.
    seen: Option<Place>,
}

impl Retained {
    /// Room for so many messages and bytes. What changes is recorded in `store`.
    pub(crate) fn new(messages: usize, bytes: usize, store: Store) -> Self {
        Self {
            kept: Mutex::default(),
            store,
            messages,
            bytes,
        }
    }

    /// Takes back what the store has kept, before anybody is let in. Messages that have no room
    /// any more, because the bounds are narrower now, are removed from the store; their number.
    pub(crate) fn restore(&self, messages: Vec<(u8, StoredMessage)>) -> usize {
        let mut kept = self.kept.lock();
        let mut left_out = 0;
        for (qos, message) in messages {
            let retained = RetainedMessage::new(qos, message, 0);
            if self.fits(&kept, &retained) {
                kept.insert(retained);
            } else {
                self.record_none(retained.topic());
                left_out += 1;
            }
        }
        left_out
    }

    /// Keeps the message of `run`, or empties its topic when the payload is empty
    /// ([MQTT-3.3.1-6]). When there is no room, what was kept before is gone too, so that nobody
    /// takes an old value for the last.
    ///
    /// `place` is `None` when the message did not come through the log and is offered once.
    pub(crate) fn offer(&self, run: &Run<'_>, origin: u64, place: Option<Place>) -> Offered {
        let Some(payload) = run.payloads().next() else {
            return Offered::NOTHING;
        };
        let mut kept = self.kept.lock();
        if place.is_some() {
            if kept.seen >= place {
                return Offered::NOTHING;
            }
            kept.seen = place;
        }
        let had_one = kept.remove(&scan::key(run.topic)).is_some();
        let none = |fits: bool| Offered {
            fits,
            mark: if had_one {
                self.record_none(run.topic)
            } else {
                Mark::NONE
            },
        };
        if payload.is_empty() {
            return none(true);
        }
        let message = StoredMessage::new(run.topic, run.properties, payload, run.expires());
        let retained = RetainedMessage::new(run.qos, message, origin);
        if !self.fits(&kept, &retained) {
            self.expire_some(&mut kept, run.arrived);
        }
        if !self.fits(&kept, &retained) {
            return none(false);
        }
        let mark = self.record(&retained);
        kept.insert(retained);
        Offered { fits: true, mark }
    }

    /// Removes messages that have expired at `now`, the first thousand of them; when the next
    /// one will.
    pub(crate) fn expire(&self, now: Timestamp) -> Option<Timestamp> {
        let mut kept = self.kept.lock();
        self.expire_some(&mut kept, now);
        kept.expiring.first().map(|(expires, _)| *expires)
    }

    fn expire_some(&self, kept: &mut Kept, now: Timestamp) {
        for _ in 0..ONE_CLEANING {
            let Some((_, key)) = kept.expiring.first().filter(|(it, _)| *it <= now) else {
                return;
            };
            let key = Arc::clone(key);
            if let Some(gone) = kept.remove(&key) {
                self.record_none(gone.topic());
            }
        }
    }

    fn fits(&self, kept: &Kept, message: &RetainedMessage) -> bool {
        kept.topics.len() < self.messages && kept.bytes + message.size() <= self.bytes
    }

    fn record(&self, retained: &RetainedMessage) -> Mark {
        if !self.store.is_durable() || is_ours(retained.topic()) {
            return Mark::NONE;
        }
        self.store.record(Change::Retain {
            qos: retained.qos,
            message: retained.message.clone(),
        })
    }

    fn record_none(&self, topic: &str) -> Mark {
        if !self.store.is_durable() || is_ours(topic) {
            return Mark::NONE;
        }
        let topic = topic.into();
        self.store.record(Change::Unretain { topic })
    }

    /// Messages that are kept, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let kept = self.kept.lock();
        (kept.topics.len(), kept.bytes)
    }

    /// The next messages for a replay: up to `count` that match `filter`, from the cursor on, with
    /// the cursor to go on from, or `None` when that was all. However many messages there are, the
    /// lock is held for a bounded number of looks, and publishers get their turn in between.
    pub(crate) fn matching(
        &self,
        filter: &TopicFilter,
        from: &Cursor,
        count: usize,
        now: Timestamp,
    ) -> (Vec<Arc<RetainedMessage>>, Option<Cursor>) {
        let (mut found, mut from) = (vec![], from.clone());
        let kept = self.kept.lock();
        let alive = |it: &Arc<RetainedMessage>| now < it.message.expires();
        if filter.is_exact() {
            let only = kept.topics.get(&*scan::key(filter.as_str()));
            found.extend(only.filter(|it| alive(it)).cloned());
            return (found, None);
        }
        let mut range = kept
            .topics
            .range::<str, _>((from.0.as_ref().map(|it| &**it), Bound::Unbounded));
        for _ in 0..ONE_LOOK {
            let Some((key, message)) = range.next() else {
                return (found, None);
            };
            match scan::look(filter.as_str(), key) {
                Look::Match => {
                    from = Cursor::after(message);
                    if alive(message) {
                        found.push(Arc::clone(message));
                    }
                    if found.len() == count {
                        break;
                    }
                }
                Look::Skip(to) => {
                    range = kept
                        .topics
                        .range::<str, _>((Bound::Included(&*to), Bound::Unbounded));
                    from = Cursor(Bound::Included(to.into()));
                }
                Look::End => return (found, None),
            }
        }
        (found, Some(from))
    }
}

/// True of what the gate publishes anew after each start.
fn is_ours(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

impl Kept {
    fn insert(&mut self, message: RetainedMessage) {
        self.bytes += message.size();
        let key = Arc::clone(&message.key);
        if message.message.expires() != Timestamp::FOREVER {
            let due = (message.message.expires(), Arc::clone(&key));
            self.expiring.insert(due);
        }
        self.topics.insert(key, Arc::new(message));
    }

    /// Removes the message under a key, if there is one.
    fn remove(&mut self, key: &str) -> Option<Arc<RetainedMessage>> {
        let (key, old) = self.topics.remove_entry(key)?;
        self.bytes -= old.size();
        self.expiring.remove(&(old.message.expires(), key));
        Some(old)
    }
}
