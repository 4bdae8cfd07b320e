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

use crate::message::StoredMessage;
use crate::record::Run;
use crate::store::{Change, Mark, Store};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
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
    /// The session that published it; 0 when that was before the server was started.
    pub(crate) origin: u64,
}

impl RetainedMessage {
    fn size(&self) -> usize {
        OVERHEAD + self.topic.len() + self.message.len()
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
    /// In the order of their topics, so that a replay can go on where it paused.
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
            let retained = RetainedMessage {
                topic: message.topic().into(),
                qos,
                message,
                origin: 0,
            };
            if self.fits(&kept, &retained) {
                kept.insert(retained);
            } else {
                self.record_none(&retained.topic);
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
        let had_one = kept.remove(run.topic);
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
        let retained = RetainedMessage {
            topic: run.topic.into(),
            qos: run.qos,
            message: StoredMessage::new(run.topic, run.properties, payload, run.expires()),
            origin,
        };
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
        for _ in 0..ONE_LOOK {
            let Some((_, topic)) = kept.expiring.first().filter(|(it, _)| *it <= now) else {
                return;
            };
            let topic = Arc::clone(topic);
            kept.remove(&topic);
            self.record_none(&topic);
        }
    }

    fn fits(&self, kept: &Kept, message: &RetainedMessage) -> bool {
        kept.topics.len() < self.messages && kept.bytes + message.size() <= self.bytes
    }

    fn record(&self, retained: &RetainedMessage) -> Mark {
        if !self.store.is_durable() || is_ours(&retained.topic) {
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

    /// The next messages for a replay: up to `count` that match `filter` and come after `after`,
    /// with the topic to go on from, or `None` when that was all.
    pub(crate) fn matching(
        &self,
        filter: &TopicFilter,
        after: Option<&Arc<str>>,
        count: usize,
        now: Timestamp,
    ) -> (Vec<Arc<RetainedMessage>>, Option<Arc<str>>) {
        let kept = self.kept.lock();
        let alive = |it: &&Arc<RetainedMessage>| now < it.message.expires();
        if filter.is_exact() {
            let found = kept.topics.get(filter.as_str()).filter(alive);
            return (found.cloned().into_iter().collect(), None);
        }
        let prefix = literal_prefix(filter.as_str());
        let from = match after {
            Some(after) => Bound::Excluded(&**after),
            None => Bound::Included(prefix),
        };
        let mut found = vec![];
        let range = kept.topics.range::<str, _>((from, Bound::Unbounded));
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

/// True of what the gate publishes anew after each start.
fn is_ours(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

impl Kept {
    fn insert(&mut self, message: RetainedMessage) {
        self.bytes += message.size();
        let topic = Arc::clone(&message.topic);
        if message.message.expires() != Timestamp::FOREVER {
            let due = (message.message.expires(), Arc::clone(&topic));
            self.expiring.insert(due);
        }
        self.topics.insert(topic, Arc::new(message));
    }

    /// True when there was one.
    fn remove(&mut self, topic: &str) -> bool {
        let Some((topic, old)) = self.topics.remove_entry(topic) else {
            return false;
        };
        self.bytes -= old.size();
        self.expiring.remove(&(old.message.expires(), topic));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::WritePermit;
    use crate::record::{Message, RecordWriter, runs};

    const NOW: Timestamp = Timestamp(0);

    fn in_memory(messages: usize, bytes: usize) -> Retained {
        Retained::new(messages, bytes, Store::memory())
    }

    fn offer(retained: &Retained, topic: &str, payload: &[u8], place: Place) -> bool {
        let mut writer = RecordWriter::default();
        let message = Message {
            qos: 1,
            retain: true,
            expiry: (payload == b"brief").then_some(1),
            properties: &[],
            payload,
        };
        writer.push(&WritePermit::unchecked(topic), &message, NOW);
        let record = writer.finish(1);
        let run = runs(&record).next().unwrap();
        retained.offer(&run, 1, Some(place)).fits
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
        let retained = in_memory(10, 10_000);
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
        let retained = in_memory(100, 100_000);
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
        let retained = in_memory(10, 10_000);
        offer(&retained, "a", b"brief", (1, 0));
        assert_eq!(found(&retained, "+", Timestamp(999)).len(), 1);
        assert_eq!(found(&retained, "+", Timestamp(1_000)).len(), 0);
    }

    #[test]
    fn a_message_without_room_leaves_no_stale_one_behind() {
        let retained = in_memory(2, 1_000);
        assert!(offer(&retained, "a", b"1", (1, 0)));
        assert!(offer(&retained, "b", b"1", (2, 0)));
        assert!(!offer(&retained, "c", b"1", (3, 0)), "two messages");
        assert!(!offer(&retained, "a", &[0; 900], (4, 0)), "1,000 bytes");
        assert_eq!(
            found(&retained, "#", NOW),
            [("b".to_owned(), b"1".to_vec())]
        );
    }

    #[test]
    fn expired_messages_make_room() {
        let retained = in_memory(2, 10_000);
        assert!(offer(&retained, "a", b"brief", (1, 0)));
        assert!(offer(&retained, "b", b"brief", (2, 0)));
        assert_eq!(retained.expire(Timestamp(999)), Some(Timestamp(1_000)));
        assert!(offer(&retained, "b", b"lasting", (3, 0)));
        assert_eq!(retained.expire(Timestamp(1_000)), None);
        assert_eq!(found(&retained, "#", NOW).len(), 1);
        assert!(offer(&retained, "c", b"x", (4, 0)));
    }

    #[tokio::test]
    async fn what_is_retained_survives_a_restart_and_sys_topics_do_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let settings = crate::store::StoreSettings {
            folder: folder.path().join("sessions"),
            safety: crate::store::Safety::System,
        };
        let (store, _) = Store::open(&settings).unwrap();
        let retained = Retained::new(10, 10_000, store.clone());
        let topics = ["a", "b", "c", "$SYS/x", "brief"];
        for (number, topic) in (1..).zip(topics) {
            let payload: &[u8] = if topic == "brief" { b"brief" } else { b"1" };
            offer(&retained, topic, payload, (number, 0));
        }
        offer(&retained, "a", b"2", (6, 0));
        offer(&retained, "b", b"", (7, 0));
        retained.expire(Timestamp(1_000));
        store.close().await.unwrap();

        let (store, restored) = Store::open(&settings).unwrap();
        let retained = Retained::new(1, 10_000, store.clone());
        assert_eq!(retained.restore(restored.retained), 1, "room for one only");
        let all = [("a".to_owned(), b"2".to_vec())];
        assert_eq!(found(&retained, "#", NOW), all);
        assert_eq!(found(&retained, "$SYS/#", NOW), []);
        store.close().await.unwrap();
        let (_, restored) = Store::open(&settings).unwrap();
        assert_eq!(restored.retained.len(), 1, "what has no room is forgotten");
    }
}
