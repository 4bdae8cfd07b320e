//! What one client may do: a few rights of his own and those of everyone.

use crate::{Access, Action, OfferId, RuleId, Timestamp, TopicFilter};
use std::sync::Arc;

/// Where a right comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// It was bought.
    Lease(OfferId),
    /// The operator gave it.
    Rule(RuleId),
}

/// One right. Two words: there may be millions of them, far apart in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    grant: Arc<Grant>,
    until: Timestamp,
}

/// What a right is, but for its end. All leases of an offer share it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) filter: TopicFilter,
    pub(crate) access: Access,
    pub(crate) source: Source,
}

impl Right {
    pub(crate) fn new(grant: Arc<Grant>, until: Timestamp) -> Self {
        Self { grant, until }
    }

    /// Where.
    #[must_use]
    pub fn filter(&self) -> &TopicFilter {
        &self.grant.filter
    }

    /// What it allows.
    #[must_use]
    pub fn access(&self) -> Access {
        self.grant.access
    }

    /// Exclusive end; [`Timestamp::FOREVER`] without one.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.grant.source
    }

    fn allows(&self, action: Action, topic: &str, now: Timestamp) -> bool {
        let Grant { access, filter, .. } = &*self.grant;
        access.allows(action) && now < self.until && filter.matches(topic)
    }

    /// The same right with another end.
    pub(crate) fn ending(&self, until: Timestamp) -> Self {
        Self {
            until,
            ..self.clone()
        }
    }
}

/// The rights of one client as of one log position; cheap to clone and to keep. Ends are part of
/// it, so it stays right as time goes by; only new events make it stale.
#[derive(Debug, Clone)]
pub struct Rights {
    pub(crate) own: Arc<[Right]>,
    pub(crate) everyone: Arc<[Right]>,
}

impl Rights {
    /// No rights at all.
    #[must_use]
    pub fn none() -> Self {
        Self {
            own: Arc::new([]),
            everyone: Arc::new([]),
        }
    }

    /// Every right, running or ended.
    pub fn iter(&self) -> impl Iterator<Item = &Right> {
        self.own.iter().chain(self.everyone.iter())
    }

    /// The right that lasts longest of those that allow `action` on `topic` at `now`.
    #[must_use]
    pub fn find(&self, action: Action, topic: &str, now: Timestamp) -> Option<&Right> {
        self.iter()
            .filter(|it| it.allows(action, topic, now))
            .max_by_key(|it| it.until)
    }

    /// The exclusive end of the longest right to read `topic`, which may be past;
    /// `None` when there is no such right, not even an ended one.
    #[must_use]
    pub fn read_until(&self, topic: &str) -> Option<Timestamp> {
        let reads = |it: &&Right| it.access().allows(Action::Read) && it.filter().matches(topic);
        self.iter().filter(reads).map(|it| it.until).max()
    }

    /// The next instant after `now` at which one of these rights ends.
    #[must_use]
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.iter()
            .map(|it| it.until)
            .filter(|it| now < *it && *it < Timestamp::FOREVER)
            .min()
    }
}
