//! Retained messages: the last one of each topic, for those who subscribe later (MQTT 5.0
//! §3.3.1.3).
//!
//! All shards read the same records in the same order, and each offers the retained messages it
//! reads to the store; the first to come stores it. So a client that subscribes on some shard
//! is sure to find everything that its shard has read before. It may also find a message that
//! its own shard reads a moment later, and gets that one twice.

use crate::message::StoredMessage;
use crate::record::Run;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use tanglegate_core::{Timestamp, TopicFilter};

/// What a stored message costs besides its own bytes: nodes and counters.
const OVERHEAD: usize = 128;
/// Topics looked at under one lock.
const ONE_LOOK: usize = 1_000;

/// A message that is kept.
#[derive(Debug)]
pub(crate) struct RetainedMessage {
    pub(crate) topic: Arc<str>,
    pub(crate) qos: u8,
    pub(crate) message: StoredMessage,
    /// The session that published it.
    pub(crate) origin: u64,
}

impl RetainedMessage {
    fn size(&self) -> usize {
        OVERHEAD + self.topic.len() + self.message.len()
    }
}

/// Where a message stands in the log: number of the record, number of the run in it.
pub(crate) type Place = (u64, usize);

/// The store.
#[derive(Debug)]
pub(crate) struct Retained {
    store: Mutex<Store>,
    messages: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Store {
    /// In the order of their topics, so that a replay can go on where it paused.
    topics: BTreeMap<Arc<str>, Arc<RetainedMessage>>,
    bytes: usize,
    /// The last message that was offered: all before it were offered too.
    seen: Option<Place>,
}

impl Retained {
    /// A store for so many messages and bytes.
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        Self {
            store: Mutex::default(),
            messages,
            bytes,
        }
    }

    /// Stores the message of `run`, or empties its topic when the payload is empty
    /// ([MQTT-3.3.1-6]). False when there is no room: what was stored before is gone then too,
    /// so that nobody takes an old value for the last.
    ///
    /// `place` is `None` when the message did not come through the log and is offered once.
    pub(crate) fn offer(&self, run: &Run<'_>, origin: u64, place: Option<Place>) -> bool {
        let Some(payload) = run.payloads().next() else {
            return true;
        };
        let mut store = self.store.lock();
        if place.is_some() {
            if store.seen >= place {
                return true;
            }
            store.seen = place;
        }
        store.remove(run.topic);
        if payload.is_empty() {
            return true;
        }
        let retained = RetainedMessage {
            topic: run.topic.into(),
            qos: run.qos,
            message: StoredMessage::new(run.topic, run.properties, payload, run.expires()),
            origin,
        };
        let fits =
            store.topics.len() < self.messages && store.bytes + retained.size() <= self.bytes;
        if fits {
            store.insert(retained);
        }
        fits
    }

    /// Messages in the store, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let store = self.store.lock();
        (store.topics.len(), store.bytes)
    }

    /// The next messages for a replay: up to `count` that match `filter` and come after `after`,
    /// with the topic to go on from, or `None` when that was all.
    pub(crate) fn matching(
        &self,
        filter: &TopicFilter,
        after: Option<&Arc<str>>,
        count: usize,
        now: Timestamp,
    ) -> (Vec<Arc<RetainedMessage>>, Option<Arc<str>>) {
        let store = self.store.lock();
        let alive = |it: &&Arc<RetainedMessage>| now < it.message.expires();
        if filter.is_exact() {
            let found = store.topics.get(filter.as_str()).filter(alive);
            return (found.cloned().into_iter().collect(), None);
        }
        let prefix = literal_prefix(filter.as_str());
        let from = match after {
            Some(after) => Bound::Excluded(&**after),
            None => Bound::Included(prefix),
        };
        let mut found = vec![];
        let range = store.topics.range::<str, _>((from, Bound::Unbounded));
        for (looked, (topic, message)) in range.enumerate() {
            if !topic.starts_with(prefix) {
                return (found, None);
            }
            if filter.matches(topic) && alive(&message) {
                found.push(Arc::clone(message));
            }
            if found.len() == count || looked == ONE_LOOK {
                return (found, Some(Arc::clone(topic)));
            }
        }
        (found, None)
    }
}

/// What every topic that the filter matches begins with.
fn literal_prefix(filter: &str) -> &str {
    let wild = filter.find(['+', '#']).unwrap_or(filter.len());
    // "a/#" matches "a" too.
    filter[..wild].strip_suffix('/').unwrap_or(&filter[..wild])
}

impl Store {
    fn insert(&mut self, message: RetainedMessage) {
        self.bytes += message.size();
        self.topics
            .insert(Arc::clone(&message.topic), Arc::new(message));
    }

    fn remove(&mut self, topic: &str) {
        if let Some(old) = self.topics.remove(topic) {
            self.bytes -= old.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Message, RecordWriter, runs};

    const NOW: Timestamp = Timestamp(0);

    fn offer(retained: &Retained, topic: &str, payload: &[u8], place: Place) -> bool {
        let mut writer = RecordWriter::default();
        let message = Message {
            topic,
            qos: 1,
            retain: true,
            expiry: (payload == b"brief").then_some(1),
            properties: &[],
            payload,
        };
        writer.push(&message, NOW);
        let record = writer.finish(1);
        let run = runs(&record).next().unwrap();
        retained.offer(&run, 1, Some(place))
    }

    fn found(retained: &Retained, filter: &str, now: Timestamp) -> Vec<(String, Vec<u8>)> {
        let filter = TopicFilter::parse(filter).unwrap();
        let (mut all, mut after) = (vec![], None);
        loop {
            let (found, next) = retained.matching(&filter, after.as_ref(), 2, now);
            let plain = found
                .iter()
                .map(|it| (it.topic.to_string(), it.message.payload().to_vec()));
            all.extend(plain);
            after = next;
            if after.is_none() {
                return all;
            }
        }
    }

    #[test]
    fn a_lagging_shard_does_not_bring_an_old_message_back() {
        let retained = Retained::new(10, 10_000);
        offer(&retained, "a", b"1", (1, 0));
        offer(&retained, "a", b"2", (1, 1));
        offer(&retained, "a", b"", (2, 0));
        for (payload, place) in [(&b"1"[..], (1, 0)), (b"2", (1, 1)), (b"", (2, 0))] {
            offer(&retained, "a", payload, place);
            assert_eq!(found(&retained, "a", NOW), []);
        }
    }

    #[test]
    fn replays_page_through_exactly_what_matches() {
        let retained = Retained::new(100, 100_000);
        let topics = ["a", "a/b", "a/b/c", "a0", "b", "é/x", "$SYS/x"];
        for (number, topic) in topics.iter().enumerate() {
            offer(&retained, topic, b"x", (number as u64, 0));
        }
        for filter in [
            "#", "a/#", "a/+", "+", "+/b/#", "é/+", "$SYS/#", "a/b", "z/#",
        ] {
            let parsed = TopicFilter::parse(filter).unwrap();
            let mut expected: Vec<_> = topics.iter().filter(|it| parsed.matches(it)).collect();
            expected.sort();
            let found = found(&retained, filter, NOW);
            assert!(found.iter().map(|it| &it.0).eq(expected), "{filter}");
        }
    }

    #[test]
    fn expired_messages_are_not_replayed() {
        let retained = Retained::new(10, 10_000);
        offer(&retained, "a", b"brief", (1, 0));
        assert_eq!(found(&retained, "+", Timestamp(999)).len(), 1);
        assert_eq!(found(&retained, "+", Timestamp(1_000)).len(), 0);
    }

    #[test]
    fn a_message_without_room_leaves_no_stale_one_behind() {
        let retained = Retained::new(2, 1_000);
        assert!(offer(&retained, "a", b"1", (1, 0)));
        assert!(offer(&retained, "b", b"1", (2, 0)));
        assert!(!offer(&retained, "c", b"1", (3, 0)), "two messages");
        assert!(!offer(&retained, "a", &[0; 900], (4, 0)), "1,000 bytes");
        assert_eq!(
            found(&retained, "#", NOW),
            [("b".to_owned(), b"1".to_vec())]
        );
    }
}
