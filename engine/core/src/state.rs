//! What `decide` has to remember, folded from the events.

mod remembered;

pub use remembered::Remembered;

use crate::staged::StagedMap;
use crate::{
    Access, Address, Audience, ChainId, Event, Nanos, Offer, OfferId, PaymentId, PaymentRow,
    Position, Rule, RuleId, Stream, SubscriberId, Timestamp, TopicFilter, Username, VerifierKey,
};

use std::collections::BTreeMap;

/// An event with its place and time in the log.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Its place.
    pub position: Position,
    /// When, by the log's clock, which never runs backwards.
    pub recorded_at: Timestamp,
    /// What happened.
    pub event: &'a Event,
}

/// A login and its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Its name; `None` when it is erased, or the key to it is not at hand.
    pub username: Option<Username>,
    /// Whether it is closed.
    pub suspended: bool,
    /// Whether it is closed for ever, its personal data destroyed.
    pub erased: bool,
    /// Money that has not bought time yet.
    pub credit: Nanos,
    /// The address that bought it; `None` where the operator registered it.
    pub owner: Option<Address>,
}

/// What a lease is the right to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseKey {
    /// Whose.
    pub subscriber: SubscriberId,
    /// Where.
    pub filter: TopicFilter,
    /// What it allows.
    pub access: Access,
}

/// The time of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// From when on.
    pub from: Timestamp,
    /// Exclusive end.
    pub until: Timestamp,
}

/// The deciding side in memory. Changes are staged until [`State::settle`], so that a batch
/// whose commit failed can be forgotten.
#[derive(Debug, Clone, Default)]
pub struct State {
    head: Head,
    settled_head: Head,
    offers: StagedMap<OfferId, (Offer, bool)>,
    rules: StagedMap<RuleId, Rule>,
    subscribers: StagedMap<SubscriberId, Subscriber>,
    usernames: StagedMap<Username, SubscriberId>,
    leases: StagedMap<LeaseKey, Lease>,
    /// Payments that wait: confirmed and not yet applied. An applied one is forgotten here; its
    /// idempotency key in the log keeps it from being recorded again.
    waiting: StagedMap<PaymentId, PaymentRow>,
    versions: StagedMap<Stream, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Head {
    position: Position,
    recorded_at: Timestamp,
    chain: Option<ChainId>,
    checkpoints: BTreeMap<Address, u64>,
    head_key: Option<VerifierKey>,
}

impl State {
    /// Nothing, to be folded from what stands in the log: until the first [`State::settle`] every
    /// change is true at once, which is quicker.
    #[must_use]
    pub fn at_once() -> Self {
        Self {
            head: Head::default(),
            settled_head: Head::default(),
            offers: StagedMap::at_once(),
            rules: StagedMap::at_once(),
            subscribers: StagedMap::at_once(),
            usernames: StagedMap::at_once(),
            leases: StagedMap::at_once(),
            waiting: StagedMap::at_once(),
            versions: StagedMap::at_once(),
        }
    }

    /// The place of the last event folded.
    #[must_use]
    pub fn position(&self) -> Position {
        self.head.position
    }

    /// The time of the last event folded. The next one must not be earlier.
    #[must_use]
    pub fn recorded_at(&self) -> Timestamp {
        self.head.recorded_at
    }

    /// The ledger that the log follows, once it is bound.
    #[must_use]
    pub fn chain(&self) -> Option<&ChainId> {
        self.head.chain.as_ref()
    }

    /// The newest checkpoint that the log knows a payment to this seller of, or a complete scan
    /// up to; 0 for a seller whose payments were never looked for.
    #[must_use]
    pub fn checkpoint(&self, seller: Address) -> u64 {
        self.head.checkpoints.get(&seller).copied().unwrap_or(0)
    }

    /// [`State::checkpoint`] of every seller that the log knows.
    #[must_use]
    pub fn checkpoints(&self) -> &BTreeMap<Address, u64> {
        &self.head.checkpoints
    }

    /// The key that signs the log's tree heads, once there is one.
    #[must_use]
    pub fn head_key(&self) -> Option<&VerifierKey> {
        self.head.head_key.as_ref()
    }

    /// Subscribers whose names could not be read though they are not erased, in no order: their
    /// keys are not at hand, and nothing that has to do with names may be decided.
    pub fn nameless(&self) -> impl Iterator<Item = SubscriberId> {
        let nameless = |it: &Subscriber| it.username.is_none() && !it.erased;
        let all = self.subscribers.iter();
        all.filter(move |it| nameless(it.1)).map(|it| *it.0)
    }

    /// The running leases of a subscriber, in the order of their keys.
    #[must_use]
    pub fn running_leases(&self, of: SubscriberId, now: Timestamp) -> Vec<LeaseKey> {
        let running = self.leases.iter();
        let mut running: Vec<LeaseKey> = running
            .filter(|(key, lease)| key.subscriber == of && now < lease.until)
            .map(|(key, _)| key.clone())
            .collect();
        running.sort_unstable();
        running
    }

    /// The rules for a subscriber, in the order of their identities.
    #[must_use]
    pub fn rules_for(&self, subscriber: SubscriberId) -> Vec<RuleId> {
        let audience = Audience::Subscriber(subscriber);
        let all = self.rules.iter().filter(|(_, it)| it.audience == audience);
        let mut rules: Vec<RuleId> = all.map(|(id, _)| *id).collect();
        rules.sort_unstable();
        rules
    }

    /// An offer that is not withdrawn.
    #[must_use]
    pub fn offer(&self, id: &OfferId) -> Option<&Offer> {
        self.offers
            .get(id)
            .filter(|(_, withdrawn)| !withdrawn)
            .map(|(offer, _)| offer)
    }

    /// True when there was ever an offer of that name.
    #[must_use]
    pub fn was_offered(&self, id: &OfferId) -> bool {
        self.offers.get(id).is_some()
    }

    /// A subscriber.
    #[must_use]
    pub fn subscriber(&self, id: SubscriberId) -> Option<&Subscriber> {
        self.subscribers.get(&id)
    }

    /// Whose name it is.
    #[must_use]
    pub fn named(&self, username: &Username) -> Option<SubscriberId> {
        self.usernames.get(username).copied()
    }

    /// A rule.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(&id)
    }

    /// The rule that gives the same right to the same audience, if there is one: of several,
    /// the one with the least identity.
    #[must_use]
    pub fn same_rule(&self, rule: &Rule) -> Option<RuleId> {
        let same = |it: &&Rule| {
            (it.audience, &it.filter, it.access) == (rule.audience, &rule.filter, rule.access)
        };
        self.rules
            .iter()
            .map(|(_, it)| it)
            .filter(same)
            .map(|it| it.id)
            .min()
    }

    /// The last lease of that right, running or ended.
    #[must_use]
    pub fn lease(&self, key: &LeaseKey) -> Option<Lease> {
        self.leases.get(key).copied()
    }

    /// A payment that is confirmed and not applied.
    #[must_use]
    pub fn waiting(&self, id: &PaymentId) -> Option<&PaymentRow> {
        self.waiting.get(id)
    }

    /// The version that the next event of a stream has: from 1, without gaps.
    #[must_use]
    pub fn next_version(&self, stream: &Stream) -> u64 {
        self.versions.get(stream).copied().unwrap_or(0) + 1
    }

    /// Makes everything folded since the last call true.
    pub fn settle(&mut self) {
        self.settled_head = self.head.clone();
        self.offers.settle();
        self.rules.settle();
        self.subscribers.settle();
        self.usernames.settle();
        self.leases.settle();
        self.waiting.settle();
        self.versions.settle();
    }

    /// Forgets everything folded since the last [`State::settle`].
    pub fn forget(&mut self) {
        self.head = self.settled_head.clone();
        self.offers.forget();
        self.rules.forget();
        self.subscribers.forget();
        self.usernames.forget();
        self.leases.forget();
        self.waiting.forget();
        self.versions.forget();
    }
}

/// An event that nobody of ours wrote: it cannot follow those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event {position} contradicts those before it: {what}")]
pub struct Contradiction {
    /// Which.
    pub position: Position,
    /// What does not fit.
    pub what: &'static str,
}

mod fold;
