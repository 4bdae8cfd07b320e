//! Messages that one of a group gets, and how they get to another one when the first cannot have
//! them any more (MQTT 5.0 §4.8.2).

use super::Queued;
use crate::shard::Share;
use crate::store::{Change, GroupRecord, Mark, Store};
use std::sync::Arc;

/// What the next member of the group has to know of a message.
#[derive(Debug, Clone)]
pub(crate) struct Portion {
    /// The group.
    pub(crate) share: Arc<Share>,
    /// QoS as it was published: the next one may have asked for more than this one.
    pub(crate) qos: u8,
    /// Retain flag as it was published.
    pub(crate) retain: bool,
}

impl Portion {
    /// What is kept of it over the end of the server.
    pub(super) fn record(&self) -> GroupRecord {
        GroupRecord {
            filter: self.share.to_string().into(),
            qos: self.qos,
            retain: self.retain,
        }
    }

    /// Brings it back; `None` when the group's filter is none.
    pub(super) fn restore(record: &GroupRecord) -> Option<Self> {
        Some(Self {
            share: Share::parse(&record.filter)?,
            qos: record.qos,
            retain: record.retain,
        })
    }
}

/// A message that a client leaves to the others of its group.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) queued: Queued,
    /// Its place in a line that is kept.
    pub(crate) place: Option<Leaving>,
}

/// The place of a message in a line that is kept. **The message is recorded as gone from it
/// together with its next place**: whenever the server ends, it is in one of them. Dropped where
/// nobody takes the message, or only in memory.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(super) store: Store,
    pub(super) session: u64,
    pub(super) sequence: u64,
}

impl Leaving {
    /// Records that the message has its next place.
    pub(super) fn to(mut self, next: Change) -> Mark {
        let gone = self.gone();
        let store = std::mem::replace(&mut self.store, Store::memory());
        store.record_together([next, gone])
    }

    fn gone(&self) -> Change {
        Change::Done {
            session: self.session,
            sequence: self.sequence,
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.store.record(self.gone());
    }
}
