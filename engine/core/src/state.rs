//! What `decide` has to remember, folded from the events.

use crate::staged::StagedMap;
use crate::{
    Access, AccessRow, Address, Audience, ChainId, Change, CursorRow, Event, Nanos, Offer, OfferId,
    OfferRow, PaymentId, PaymentRow, PaymentState, Position, Rule, RuleId, Stream, SubscriberId,
    SubscriberRow, Timestamp, TopicFilter, Username, VerifierKey,
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

    /// Folds one event, and adds the rows that it changed to `changes`. Total: what stands in
    /// the log is true.
    ///
    /// # Panics
    /// When the event does not follow the last one, or the log contradicts itself (for example,
    /// a lease of a subscriber who was never registered).
    pub fn evolve(&mut self, recorded: Recorded<'_>, changes: &mut Vec<Change>) {
        let Recorded {
            position,
            recorded_at,
            event,
        } = recorded;
        assert_eq!(
            position,
            self.head.position.next(),
            "positions have no gaps"
        );
        assert!(
            recorded_at >= self.head.recorded_at,
            "the log's clock never runs backwards"
        );
        self.head.position = position;
        self.head.recorded_at = recorded_at;
        let stream = event.stream();
        let version = self.next_version(&stream);
        self.versions.insert(stream, version);
        match event {
            Event::ChainBound { chain } => {
                self.head.chain = Some(chain.clone());
                let known = self.head.checkpoints.iter();
                changes.extend(known.filter_map(|(seller, at)| self.cursor_row(*seller, *at)));
            }
            Event::LedgerScanned { seller, checkpoint } => {
                self.advance(*seller, *checkpoint, changes);
            }
            Event::OfferPublished { offer } => self.set_offer(offer.clone(), false, changes),
            Event::OfferWithdrawn { offer } => {
                let (offer, _) = self
                    .offers
                    .get(offer)
                    .expect("a withdrawn offer was published");
                self.set_offer(offer.clone(), true, changes);
            }
            Event::RuleGiven { rule } => self.give_rule(rule, recorded_at, changes),
            Event::RuleRemoved { rule } => {
                self.rules.remove(*rule);
                changes.push(Change::RuleGone(*rule));
            }
            Event::SubscriberRegistered {
                subscriber,
                username,
                ..
            } => {
                if let Some(username) = username {
                    self.usernames.insert(username.clone(), *subscriber);
                }
                let fresh = Subscriber {
                    username: username.clone(),
                    suspended: false,
                    erased: false,
                    credit: Nanos::ZERO,
                };
                self.subscribers.insert(*subscriber, fresh);
                changes.push(self.subscriber_row(*subscriber));
            }
            Event::PasswordChanged { subscriber, .. } => {
                changes.push(self.subscriber_row(*subscriber));
            }
            Event::SubscriberSuspended { subscriber } => {
                self.known(*subscriber).suspended = true;
                changes.push(self.subscriber_row(*subscriber));
            }
            Event::SubscriberReinstated { subscriber } => {
                self.known(*subscriber).suspended = false;
                changes.push(self.subscriber_row(*subscriber));
            }
            Event::SubscriberErased { subscriber } => {
                let known = self.known(*subscriber);
                known.erased = true;
                if let Some(username) = known.username.take() {
                    self.usernames.remove(username);
                }
                changes.push(self.subscriber_row(*subscriber));
            }
            Event::PaymentConfirmed { confirmation } => {
                self.confirm(confirmation, recorded_at, changes);
            }
            Event::PaymentApplied {
                payment,
                subscriber,
                offer,
                spent,
                credit,
            } => {
                let (subscriber, spent, credit) = (*subscriber, *spent, *credit);
                self.known(subscriber).credit = credit;
                changes.push(self.subscriber_row(subscriber));
                let offer = offer.clone();
                let state = PaymentState::Applied {
                    subscriber,
                    offer,
                    spent,
                    credit,
                };
                self.resolve(payment, state, changes);
                self.waiting.remove(*payment);
                self.versions.remove(event.stream());
            }
            Event::PaymentUnmatched { payment, reason } => {
                self.resolve(payment, PaymentState::Unmatched(*reason), changes);
            }
            Event::LeaseGranted {
                subscriber,
                filter,
                access,
                from,
                until,
                ..
            } => {
                let key = lease_key(*subscriber, filter, *access);
                self.set_lease(
                    key,
                    Lease {
                        from: *from,
                        until: *until,
                    },
                    changes,
                );
            }
            Event::LeaseExtended {
                subscriber,
                filter,
                access,
                until,
                ..
            }
            | Event::LeaseRevoked {
                subscriber,
                filter,
                access,
                until,
            } => {
                let key = lease_key(*subscriber, filter, *access);
                let from = self.leases.get(&key).expect("the lease was granted").from;
                self.set_lease(
                    key,
                    Lease {
                        from,
                        until: *until,
                    },
                    changes,
                );
            }
            Event::HeadKeyAdopted { key } => self.head.head_key = Some(key.clone()),
            Event::HeadAnchored { .. } => {}
        }
    }

    fn known(&mut self, subscriber: SubscriberId) -> &mut Subscriber {
        self.subscribers
            .change(&subscriber)
            .expect("the subscriber was registered")
    }

    fn advance(&mut self, seller: Address, checkpoint: u64, changes: &mut Vec<Change>) {
        if checkpoint > self.checkpoint(seller) {
            self.head.checkpoints.insert(seller, checkpoint);
            changes.extend(self.cursor_row(seller, checkpoint));
        }
    }

    fn confirm(
        &mut self,
        paid: &crate::Confirmation,
        recorded_at: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let row = PaymentRow {
            payment: paid.payment,
            seller: paid.seller,
            payer: paid.payer,
            amount: paid.amount,
            checkpoint: paid.checkpoint,
            confirmed_at: paid.confirmed_at,
            recorded_at,
            state: PaymentState::Confirmed,
            position: self.head.position,
        };
        self.waiting.insert(paid.payment, row.clone());
        changes.push(Change::Payment(row));
        self.advance(paid.seller, paid.checkpoint, changes);
    }

    fn resolve(&mut self, payment: &PaymentId, state: PaymentState, changes: &mut Vec<Change>) {
        let position = self.head.position;
        let row = self
            .waiting
            .change(payment)
            .expect("the payment was confirmed before");
        row.state = state;
        row.position = position;
        changes.push(Change::Payment(row.clone()));
    }

    fn set_offer(&mut self, offer: Offer, withdrawn: bool, changes: &mut Vec<Change>) {
        changes.push(Change::Offer(OfferRow {
            offer: offer.id.clone(),
            seller: offer.seller,
            filter: offer.filter.clone(),
            access: offer.access,
            tariff: offer.tariff,
            valid_until: offer.valid_until,
            withdrawn,
            position: self.head.position,
        }));
        self.offers.insert(offer.id.clone(), (offer, withdrawn));
    }

    fn give_rule(&mut self, rule: &Rule, from: Timestamp, changes: &mut Vec<Change>) {
        let holder = match rule.audience {
            Audience::Everyone => None,
            Audience::Subscriber(subscriber) => Some(subscriber),
        };
        let row = AccessRow {
            holder,
            filter: rule.filter.clone(),
            access: rule.access,
            from,
            until: Timestamp::FOREVER,
            position: self.head.position,
        };
        changes.push(Change::Rule(rule.id, row));
        self.rules.insert(rule.id, rule.clone());
    }

    fn set_lease(&mut self, key: LeaseKey, lease: Lease, changes: &mut Vec<Change>) {
        changes.push(Change::Lease(AccessRow {
            holder: Some(key.subscriber),
            filter: key.filter.clone(),
            access: key.access,
            from: lease.from,
            until: lease.until,
            position: self.head.position,
        }));
        self.leases.insert(key, lease);
    }

    fn subscriber_row(&self, id: SubscriberId) -> Change {
        let known = self
            .subscribers
            .get(&id)
            .expect("the subscriber was registered");
        Change::Subscriber(SubscriberRow {
            subscriber: id,
            username: known.username.clone(),
            suspended: known.suspended,
            erased: known.erased,
            credit: known.credit,
            position: self.head.position,
        })
    }

    /// A row per seller; none before the log belongs to a ledger.
    fn cursor_row(&self, seller: Address, checkpoint: u64) -> Option<Change> {
        let (chain, position) = (self.head.chain.clone()?, self.head.position);
        Some(Change::Cursor(CursorRow {
            chain,
            seller,
            checkpoint,
            position,
        }))
    }
}

fn lease_key(subscriber: SubscriberId, filter: &TopicFilter, access: Access) -> LeaseKey {
    LeaseKey {
        subscriber,
        filter: filter.clone(),
        access,
    }
}
