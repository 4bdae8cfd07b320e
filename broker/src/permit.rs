//! What the later stages demand of whoever brings a message: permits, as small values that only
//! a check makes.
//!
//! ```text
//! may he write?  Permit ──▶ WritePermit ──▶ record
//! may he listen? Permit ──▶ SubscribePermit ──▶ shard
//! may he read?   Rights ──▶ ReadRight ──at each message──▶ ReadPermit ──▶ outbox ──▶ socket
//! ```
//!
//! No shard takes a subscription without a [`SubscribePermit`], no record a message without a [`WritePermit`] for its
//! topic, and no outbox one without a [`ReadPermit`], whatever brings it there: a client, a will, the retained store, a group, or a
//! session that came back.

use crate::correspondence::{KeyTopic, key_topic};
use crate::session::needs_no_right;
use crate::shard::Interest;
use crate::sys::{ME, PUBLIC};
use std::num::NonZero;
use std::sync::Arc;
use tanglegate_core::{Action, Permit, Rights, Timestamp, TopicName};

/// What every topic of the gate's own begins with; no client is permitted to publish there.
const OURS: &str = "$SYS/";

/// A permit to publish on one topic. Cheap to clone.
#[derive(Debug, Clone)]
#[must_use]
pub(crate) struct WritePermit {
    topic: Arc<str>,
    until: Timestamp,
}

impl WritePermit {
    /// What a check of `topic` has permitted.
    ///
    /// # Panics
    /// When it permits something else.
    pub(crate) fn new(permit: &Permit, topic: &TopicName) -> Self {
        assert!(
            permit.access().allows(Action::Write) && permit.filter().matches(topic.as_str()),
            "a permit is for the topic that was asked for"
        );
        Self {
            topic: topic.as_str().into(),
            until: permit.until(),
        }
    }

    /// For what the gate itself says.
    ///
    /// # Panics
    /// When a client could say it too.
    pub(crate) fn of_the_gate(topic: &str) -> Self {
        assert!(topic.starts_with(OURS), "the gate speaks on its own topics");
        Self {
            topic: topic.into(),
            until: Timestamp::FOREVER,
        }
    }

    /// Where.
    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// True while it runs. A permit without an end asks no clock.
    pub(crate) fn runs(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.until == Timestamp::FOREVER || now() < self.until
    }
}

/// A permit to subscribe. What is read under it is permitted message by message.
#[derive(Debug, Clone)]
#[must_use]
pub(crate) struct SubscribePermit(Interest);

impl SubscribePermit {
    /// What a check of its filter has permitted; what concerns nobody but the client needs none.
    ///
    /// # Panics
    /// When it permits something else.
    pub(crate) fn new(permit: Option<&Permit>, interest: Interest) -> Self {
        let filter = interest.filter();
        let is_permitted = match permit {
            Some(it) => it.access().allows(Action::Read) && it.filter().overlaps(filter),
            None => needs_no_right(filter),
        };
        assert!(
            is_permitted,
            "a permit is for the filter that was asked for"
        );
        Self(interest)
    }

    /// What was permitted before the server was started.
    pub(crate) fn restored(interest: Interest) -> Self {
        Self(interest)
    }

    /// What is subscribed to.
    pub(crate) fn interest(&self) -> &Interest {
        &self.0
    }
}

/// What the rights of a client say about reading one topic: until when he may. Looked up once for
/// many messages; each of them takes a permit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadRight {
    /// Exclusive end, which may be past; 0 when there never was a right.
    until: Timestamp,
}

/// A permit to hand a client the messages of one topic, until its end. Eight bytes, and so is
/// `Option<ReadPermit>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct ReadPermit(NonZero<u64>);

/// Why a message is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// There never was a right to read it.
    NoRight,
    /// There was, and it is over.
    Ended,
}

impl ReadRight {
    /// No right at all.
    pub(crate) const NONE: Self = Self {
        until: Timestamp(0),
    };

    /// What `rights` say; of what is announced to everybody, that it may be read.
    pub(crate) fn of(rights: &Rights, topic: &str) -> Self {
        if topic.starts_with('$') && PUBLIC.contains(&topic) {
            return Self {
                until: Timestamp::FOREVER,
            };
        }
        rights
            .read_until(topic)
            .map_or(Self::NONE, |until| Self { until })
    }

    /// What a client may read because it concerns nobody else, or because it can name the key that
    /// it answers, whatever its rights say; `None` for every other topic. Only its own connection
    /// brings it such messages.
    pub(crate) fn own(topic: &str) -> Option<Self> {
        let own = topic.starts_with(ME) || matches!(key_topic(topic), KeyTopic::Of(_));
        own.then_some(Self {
            until: Timestamp::FOREVER,
        })
    }

    /// The right for as long as both run.
    pub(crate) fn both(self, other: Self) -> Self {
        Self {
            until: self.until.min(other.until),
        }
    }

    /// The permit that it gives at `now`.
    ///
    /// # Errors
    /// When it gives none.
    pub(crate) fn at(self, now: Timestamp) -> Result<ReadPermit, Withheld> {
        match NonZero::new(self.until.0) {
            Some(until) if now < self.until => Ok(ReadPermit(until)),
            Some(_) => Err(Withheld::Ended),
            None => Err(Withheld::NoRight),
        }
    }

    /// Its exclusive end.
    pub(crate) fn until(self) -> Timestamp {
        self.until
    }
}

impl ReadPermit {
    /// Its exclusive end: at and after it nothing is handed over.
    pub(crate) fn until(self) -> Timestamp {
        Timestamp(self.0.get())
    }
}

#[cfg(test)]
impl WritePermit {
    /// For tests of what comes after the check.
    pub(crate) fn unchecked(topic: &str) -> Self {
        Self {
            topic: topic.into(),
            until: Timestamp::FOREVER,
        }
    }
}

#[cfg(test)]
impl ReadRight {
    /// For tests of what comes after the check.
    pub(crate) fn unchecked(until: u64) -> Self {
        Self {
            until: Timestamp(until),
        }
    }
}

#[cfg(test)]
impl ReadPermit {
    /// For tests of what comes after the check.
    pub(crate) fn unchecked(until: u64) -> Self {
        Self(NonZero::new(until).expect("0 is before any instant"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_gives_permits_until_its_end_and_says_why_not_after() {
        let right = ReadRight::unchecked(10);
        let permit = right.at(Timestamp(9)).unwrap();
        assert_eq!(permit.until(), Timestamp(10));
        assert_eq!(right.at(Timestamp(10)), Err(Withheld::Ended));
        assert_eq!(ReadRight::NONE.at(Timestamp(0)), Err(Withheld::NoRight));
        assert_eq!(right.both(ReadRight::NONE), ReadRight::NONE);
        let own = ReadRight::own("$SYS/access/me/lease").unwrap();
        assert_eq!(own.both(right), right);
        assert_eq!(ReadRight::own("$SYS/broker/uptime"), None);
        assert_eq!(ReadRight::of(&Rights::none(), "t"), ReadRight::NONE);
        let public = ReadRight::of(&Rights::none(), "$SYS/access/offers");
        assert_eq!(public.until(), Timestamp::FOREVER);
    }

    #[test]
    fn permits_cost_no_memory_beyond_their_end() {
        assert_eq!(size_of::<ReadPermit>(), size_of::<Timestamp>());
        assert_eq!(size_of::<Option<ReadPermit>>(), size_of::<Timestamp>());
    }

    #[test]
    #[should_panic(expected = "its own topics")]
    fn the_gate_has_no_permit_for_the_topics_of_clients() {
        let _permit = WritePermit::of_the_gate("sensor/live");
    }
}
