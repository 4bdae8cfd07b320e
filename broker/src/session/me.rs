//! What the client is told about itself, on topics that nobody else can read.

use super::connected::Connection;
use crate::correspondence::{KeyTopic, key_topic};
use crate::outbox::Bounds;
use crate::permit::ReadRight;
use crate::sys::{self, DENIED, LEASE, ME, PUBLIC};
use crate::wire::Delivery;
use tanglegate_core::{Timestamp, TopicFilter};

/// Refusals that wait to be told. More of them are not worth a client's while.
const REFUSALS: usize = 16;
/// Bytes of one of them; whoever sends longer filters has to read the code of the SUBACK.
const REFUSAL: usize = 4_096;

/// What the client has yet to be told. It waits until the socket takes more, so that a client
/// that does not read gets the last state and not every one.
#[derive(Debug, Default)]
pub(super) struct Me {
    lease: Option<LeaseNews>,
    denied: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseNews {
    /// The client has subscribed.
    State,
    /// Its rights have changed.
    Change,
}

impl Me {
    /// True when the filter matches the topic of leases.
    pub(super) fn concerns_lease(filter: &TopicFilter) -> bool {
        filter.matches(LEASE)
    }

    /// Bytes that what waits to be told takes.
    pub(super) fn cost(&self) -> usize {
        self.denied.iter().map(String::len).sum()
    }

    pub(super) fn rights_changed(&mut self) {
        self.lease.get_or_insert(LeaseNews::Change);
    }

    pub(super) fn tell_lease_retained(&mut self) {
        self.lease = Some(LeaseNews::State);
    }
}

/// True when the filter matches some topic that every client may read, whatever its rights: of its
/// own, the answers to a key that it can name, or what the engine announces to everybody.
#[must_use]
pub fn needs_no_right(filter: &TopicFilter) -> bool {
    let own = TopicFilter::parse(&format!("{ME}#")).expect("a valid filter");
    own.overlaps(filter)
        || matches!(key_topic(filter.as_str()), KeyTopic::Of(_))
        || PUBLIC.iter().any(|it| filter.matches(it))
}

impl Connection {
    /// Has the client told why a filter was refused, if it listens.
    pub(super) fn note_denied(&mut self, filter: &str, why: &str) {
        let listens = self.listens(DENIED).is_some();
        if listens && self.me.denied.len() < REFUSALS && filter.len() + why.len() < REFUSAL {
            self.me.denied.push(sys::denied(filter, why));
        }
    }

    /// Identifiers of the client's subscriptions that match `topic`; `None` without any.
    pub(super) fn listens(&self, topic: &str) -> Option<Vec<u32>> {
        let handle = self.handle();
        handle.shard.subscribed(handle.slot, topic)
    }

    /// Tells the client what it has yet to be told, if it has subscribed to it.
    pub(super) fn tell(&mut self) {
        if let Some(news) = self.me.lease.take()
            && let Some(ids) = self.listens(LEASE)
        {
            let json = sys::lease(&self.rights, self.now());
            let retain = news == LeaseNews::State;
            self.push_news(LEASE, json.as_bytes(), retain, &ids);
        }
        self.tell_letters();
        if self.me.denied.is_empty() {
            return;
        }
        let denied = std::mem::take(&mut self.me.denied);
        if let Some(ids) = self.listens(DENIED) {
            for json in denied {
                self.push_news(DENIED, json.as_bytes(), false, &ids);
            }
        }
    }

    /// Tells the client alone something, on a topic that takes no right.
    pub(super) fn push_news(&mut self, topic: &str, payload: &[u8], retain: bool, ids: &[u32]) {
        self.push_own(topic, payload, retain, (ids, &[]));
    }

    /// Tells it what it has asked for, with the properties that it wants back.
    pub(super) fn push_letter(
        &mut self,
        topic: &str,
        payload: &[u8],
        properties: &[u8],
        ids: &[u32],
    ) {
        self.push_own(topic, payload, false, (ids, properties));
    }

    fn push_own(
        &mut self,
        topic: &str,
        payload: &[u8],
        retain: bool,
        (ids, forwarded): (&[u32], &[u8]),
    ) {
        let news = Delivery {
            version: self.version,
            qos: 0,
            packet_id: 0,
            duplicate: false,
            retain,
            topic,
            expiry: None,
            ids,
            forwarded,
            payload,
        };
        let own = ReadRight::own(topic).expect("news are told on a client's own topics");
        if let Ok(permit) = own.at(self.now())
            && news.size() <= self.packet_bytes
        {
            let expires = Timestamp::FOREVER;
            self.writing.push_message(&news, Bounds { permit, expires });
        } else {
            self.attached.context.counters.dropped_too_large.one();
        }
    }
}
