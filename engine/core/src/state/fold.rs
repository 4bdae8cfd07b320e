//! Folding events into the state.

use super::{Contradiction, Lease, LeaseKey, Recorded, State, Subscriber};
use crate::{
    Access, AccessRow, Address, Audience, Change, CursorRow, Event, Nanos, Offer, OfferRow,
    PaymentId, PaymentRow, PaymentState, Rule, SubscriberId, SubscriberRow, Timestamp, TopicFilter,
};

const NOBODY: &str = "no such subscriber was registered";
const NO_LEASE: &str = "no such lease was granted";

impl State {
    /// Folds one event, and adds the rows that it changed to `changes`.
    ///
    /// # Errors
    /// When the event does not follow the last one, or contradicts what was recorded before (for
    /// example, a lease of a subscriber who was never registered). The state is of no use then.
    pub fn evolve(
        &mut self,
        recorded: Recorded<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Contradiction> {
        let Recorded {
            position,
            recorded_at,
            event,
        } = recorded;
        let contradiction = |what| Contradiction { position, what };
        if position != self.head.position.next() {
            return Err(contradiction("its position is not the next one"));
        }
        if recorded_at < self.head.recorded_at {
            return Err(contradiction("the log's clock runs backwards"));
        }
        self.head.position = position;
        self.head.recorded_at = recorded_at;
        let stream = event.stream();
        let version = self.next_version(&stream);
        self.versions.insert(stream, version);
        self.fold(event, changes).map_err(contradiction)
    }

    fn fold(&mut self, event: &Event, changes: &mut Vec<Change>) -> Result<(), &'static str> {
        let recorded_at = self.head.recorded_at;
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
                    .ok_or("no such offer was published")?;
                self.set_offer(offer.clone(), true, changes);
            }
            Event::RuleGiven { rule } => self.give_rule(rule, recorded_at, changes)?,
            Event::RuleRemoved { rule } => {
                self.rules.get(rule).ok_or("no such rule was given")?;
                self.rules.remove(*rule);
                changes.push(Change::RuleGone(*rule));
            }
            Event::SubscriberRegistered {
                subscriber,
                username,
                owner,
                ..
            } => {
                if self.subscribers.get(subscriber).is_some() {
                    return Err("the subscriber was registered already");
                }
                if let Some(username) = username {
                    self.usernames.insert(username.clone(), *subscriber);
                }
                let fresh = Subscriber {
                    username: username.clone(),
                    suspended: false,
                    erased: false,
                    credit: Nanos::ZERO,
                    owner: *owner,
                };
                self.subscribers.insert(*subscriber, fresh);
                changes.push(self.subscriber_row(*subscriber)?);
            }
            Event::PasswordChanged { subscriber, .. } => {
                self.is_known(*subscriber)?;
                changes.push(self.subscriber_row(*subscriber)?);
            }
            Event::UsernameChanged {
                subscriber,
                username,
            } => {
                let known = self.known(*subscriber)?;
                let before = std::mem::replace(&mut known.username, username.clone());
                if let Some(before) = before {
                    self.usernames.remove(before);
                }
                if let Some(username) = username {
                    self.usernames.insert(username.clone(), *subscriber);
                }
                changes.push(self.subscriber_row(*subscriber)?);
            }
            Event::SubscriberSuspended { subscriber } => {
                let known = self.known(*subscriber)?;
                if std::mem::replace(&mut known.suspended, true) {
                    return Err("the login was suspended already");
                }
                changes.push(self.subscriber_row(*subscriber)?);
            }
            Event::SubscriberReinstated { subscriber } => {
                let known = self.known(*subscriber)?;
                if !std::mem::replace(&mut known.suspended, false) {
                    return Err("the login was not suspended");
                }
                changes.push(self.subscriber_row(*subscriber)?);
            }
            Event::SubscriberErased { subscriber } => {
                let known = self.known(*subscriber)?;
                known.erased = true;
                if let Some(username) = known.username.take() {
                    self.usernames.remove(username);
                }
                changes.push(self.subscriber_row(*subscriber)?);
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
                self.known(subscriber)?.credit = credit;
                changes.push(self.subscriber_row(subscriber)?);
                let offer = offer.clone();
                let state = PaymentState::Applied {
                    subscriber,
                    offer,
                    spent,
                    credit,
                };
                self.resolve(payment, state, changes)?;
                self.waiting.remove(*payment);
                self.versions.remove(event.stream());
            }
            Event::PaymentUnmatched { payment, reason } => {
                self.resolve(payment, PaymentState::Unmatched(*reason), changes)?;
            }
            Event::LeaseGranted {
                subscriber,
                filter,
                access,
                from,
                until,
                ..
            } => {
                self.is_known(*subscriber)?;
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
                self.is_known(*subscriber)?;
                let key = lease_key(*subscriber, filter, *access);
                let from = self.leases.get(&key).ok_or(NO_LEASE)?.from;
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
            Event::HeadAnchored { .. } | Event::AnswerAnnounced { .. } => {}
        }
        Ok(())
    }

    fn is_known(&self, subscriber: SubscriberId) -> Result<(), &'static str> {
        let known = self.subscribers.get(&subscriber);
        known.filter(|it| !it.erased).map(|_| ()).ok_or(NOBODY)
    }

    /// A subscriber who was not erased, to be changed.
    fn known(&mut self, subscriber: SubscriberId) -> Result<&mut Subscriber, &'static str> {
        let known = self.subscribers.change(&subscriber);
        known.filter(|it| !it.erased).ok_or(NOBODY)
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

    fn resolve(
        &mut self,
        payment: &PaymentId,
        state: PaymentState,
        changes: &mut Vec<Change>,
    ) -> Result<(), &'static str> {
        let position = self.head.position;
        let row = self.waiting.change(payment);
        let row = row.ok_or("no such payment was confirmed and waits")?;
        row.state = state;
        row.position = position;
        changes.push(Change::Payment(row.clone()));
        Ok(())
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

    fn give_rule(
        &mut self,
        rule: &Rule,
        from: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Result<(), &'static str> {
        let holder = match rule.audience {
            Audience::Everyone => None,
            Audience::Subscriber(subscriber) => {
                self.is_known(subscriber)?;
                Some(subscriber)
            }
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
        Ok(())
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

    fn subscriber_row(&self, id: SubscriberId) -> Result<Change, &'static str> {
        let known = self.subscribers.get(&id).ok_or(NOBODY)?;
        Ok(Change::Subscriber(SubscriberRow {
            subscriber: id,
            username: known.username.clone(),
            suspended: known.suspended,
            erased: known.erased,
            credit: known.credit,
            owner: known.owner,
            position: self.head.position,
        }))
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
