//! Reads the log event by event, knows the rules in his own words, and believes nothing else.

mod purchase;

use crate::broken::{ensure, ensure_same};
use crate::{Book, Broken, Entry};
use std::collections::BTreeMap;
use tanglegate_core::{
    Access, Audience, Command, Confirmation, Event, Lease, LeaseKey, Nanos, Offer,
    PasswordVerifier, PaymentId, Position, Rule, Stream, Subscriber, SubscriberId, Timestamp,
    TopicFilter, Username,
};

/// The auditor with his own book.
#[derive(Debug, Clone, Default)]
pub struct Auditor {
    /// What stands on the ledger.
    ledger: BTreeMap<PaymentId, Confirmation>,
    book: Book,
    /// The last password of each subscriber and the event that set it.
    passwords: BTreeMap<SubscriberId, (PasswordVerifier, Position)>,
    /// What became of each payment in the log: the subscriber it was booked for, or nobody.
    payments: BTreeMap<PaymentId, Option<SubscriberId>>,
    /// Paid and spent, in NANOS.
    accounts: BTreeMap<SubscriberId, (u128, u128)>,
}

impl Auditor {
    /// An auditor who knows the ledger, and that the log is empty.
    #[must_use]
    pub fn new(ledger: impl IntoIterator<Item = Confirmation>) -> Self {
        Self {
            ledger: ledger.into_iter().map(|it| (it.payment, it)).collect(),
            ..Self::default()
        }
    }

    /// What the log says so far.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The subscriber's password and the event that set it.
    #[must_use]
    pub fn password(&self, subscriber: SubscriberId) -> Option<&(PasswordVerifier, Position)> {
        self.passwords.get(&subscriber)
    }

    /// Looks at what one command has led to, and enters it.
    ///
    /// # Errors
    /// When the events are not the command's, or break a promise.
    pub fn admit(&mut self, command: &Command, entries: &[Entry]) -> Result<(), Broken> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let now = first.recorded_at;
        for entry in entries {
            self.enter(entry, now)?;
        }
        let events: Vec<&Event> = entries.iter().map(|it| &it.event).collect();
        match command {
            Command::ConfirmPayment(paid) => self.payment(paid, &events, now),
            Command::Erase(username) => self.erase(username, &events, now),
            other => match events[..] {
                [event] => self.single(other, event, first.position, now),
                _ => Err(Broken(format!(
                    "{other:?} led to more than one event: {events:?}"
                ))),
            },
        }
    }

    /// Invariant: every payment of the ledger is in the log, applied or waiting.
    ///
    /// # Errors
    /// When one is missing.
    pub fn misses_no_payment(&self) -> Result<(), Broken> {
        for payment in self.ledger.keys() {
            ensure!(
                self.payments.contains_key(payment),
                "payment {payment} was dropped"
            );
        }
        Ok(())
    }

    /// Place, time and number of an event, whatever it says.
    fn enter(&mut self, entry: &Entry, now: Timestamp) -> Result<(), Broken> {
        ensure_same!(
            entry.recorded_at,
            now,
            "a command's events have one time, {}",
            entry.stream
        );
        ensure_same!(entry.stream, entry.event.stream(), "the event's stream");
        let next = self.book.versions.entry(entry.stream.clone()).or_insert(1);
        ensure_same!(entry.version, *next, "the version of {}", entry.stream);
        *next += 1;
        self.book.position = entry.position;
        self.book.recorded_at = now;
        Ok(())
    }

    /// A command other than a payment: what it may lead to is known beforehand.
    fn single(
        &mut self,
        command: &Command,
        event: &Event,
        position: Position,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let expected = match command {
            Command::ConfirmPayment(_)
            | Command::ClaimPayment { .. }
            | Command::ChangeOwned { .. }
            | Command::Erase(_) => {
                unreachable!("what may lead to several events is looked at on its own")
            }
            Command::AdoptHeadKey(key) => {
                let before = self.book.head_key.replace(key.clone());
                let named = before.is_none_or(|it| it.origin() == key.origin() && it != *key);
                ensure!(named, "{key} is adopted again, or is of another log");
                Event::HeadKeyAdopted { key: key.clone() }
            }
            Command::RecordAnchor {
                size,
                root,
                transaction,
            } => Event::HeadAnchored {
                size: *size,
                root: *root,
                transaction: *transaction,
            },
            Command::BindChain(chain) => {
                ensure!(self.book.chain.is_none(), "the log is bound twice");
                self.book.chain = Some(chain.clone());
                let chain = chain.clone();
                Event::ChainBound { chain }
            }
            Command::RecordScan { seller, checkpoint } => {
                let (seller, checkpoint) = (*seller, *checkpoint);
                let known = self.book.checkpoint(seller);
                ensure!(
                    checkpoint > known,
                    "scanned back from {known} to {checkpoint}"
                );
                self.book.checkpoints.insert(seller, checkpoint);
                Event::LedgerScanned { seller, checkpoint }
            }
            Command::PublishOffer(offer) => self.publish(offer, now)?,
            Command::WithdrawOffer(offer) => {
                let sold = self.book.offers.remove(offer);
                ensure!(sold.is_some(), "{offer} was withdrawn and is not on sale");
                let offer = offer.clone();
                Event::OfferWithdrawn { offer }
            }
            Command::GiveRule(rule) => self.give(rule)?,
            Command::RemoveRule(rule) => {
                let given = self.book.rules.remove(rule);
                ensure!(given.is_some(), "rule {rule} was removed and not given");
                Event::RuleRemoved { rule: *rule }
            }
            Command::RegisterSubscriber {
                subscriber,
                username,
                verifier,
            } => self.register(*subscriber, username, verifier, position)?,
            Command::ChangePassword { username, verifier } => {
                let subscriber = self.named(username)?;
                self.passwords
                    .insert(subscriber, (verifier.clone(), position));
                let verifier = Some(verifier.clone());
                Event::PasswordChanged {
                    subscriber,
                    verifier,
                }
            }
            Command::Suspend(username) => {
                let subscriber = self.set_suspended(username, true)?;
                Event::SubscriberSuspended { subscriber }
            }
            Command::Reinstate(username) => {
                let subscriber = self.set_suspended(username, false)?;
                Event::SubscriberReinstated { subscriber }
            }
            Command::RevokeLease {
                username,
                filter,
                access,
            } => {
                let key = LeaseKey {
                    subscriber: self.named(username)?,
                    filter: filter.clone(),
                    access: *access,
                };
                self.revoke(key, now)?
            }
        };
        ensure_same!(*event, expected, "the event of {command:?}");
        Ok(())
    }

    fn publish(&mut self, offer: &Offer, now: Timestamp) -> Result<Event, Broken> {
        ensure!(!is_reserved(&offer.filter), "{} is for sale", offer.filter);
        ensure!(now < offer.valid_until, "{} is over", offer.id);
        let before = self.book.offers.insert(offer.id.clone(), offer.clone());
        ensure!(
            before.as_ref() != Some(offer),
            "{} was published twice on the same terms",
            offer.id
        );
        self.book.offered.insert(offer.id.clone());
        let offer = offer.clone();
        Ok(Event::OfferPublished { offer })
    }

    fn give(&mut self, rule: &Rule) -> Result<Event, Broken> {
        let told = ["$SYS/broker/", "$SYS/access/log/"];
        let told = told.iter().any(|it| rule.filter.as_str().starts_with(it));
        let shown = rule.access == Access::Read && told;
        let free = shown || !is_reserved(&rule.filter);
        ensure!(free, "{} is given away", rule.filter);
        if let Audience::Subscriber(subscriber) = rule.audience {
            let known = self.book.subscribers.contains_key(&subscriber);
            ensure!(known, "a rule for {subscriber}, who does not exist");
        }
        let right = |it: &Rule| (it.audience, it.filter.clone(), it.access);
        let repeated = self.book.rules.values().any(|it| right(it) == right(rule));
        ensure!(!repeated, "{rule:?} repeats a right");
        let before = self.book.rules.insert(rule.id, rule.clone());
        ensure!(before.is_none(), "rule {} was given twice", rule.id);
        let rule = rule.clone();
        Ok(Event::RuleGiven { rule })
    }

    fn register(
        &mut self,
        subscriber: SubscriberId,
        username: &Username,
        verifier: &PasswordVerifier,
        position: Position,
    ) -> Result<Event, Broken> {
        let taken = self.book.usernames.insert(username.clone(), subscriber);
        ensure!(taken.is_none(), "the name of {taken:?} was given again");
        let fresh = Subscriber {
            username: Some(username.clone()),
            suspended: false,
            erased: false,
            credit: Nanos::ZERO,
            owner: None,
        };
        let before = self.book.subscribers.insert(subscriber, fresh);
        ensure!(before.is_none(), "{subscriber} was registered twice");
        self.passwords
            .insert(subscriber, (verifier.clone(), position));
        Ok(Event::SubscriberRegistered {
            subscriber,
            username: Some(username.clone()),
            verifier: Some(verifier.clone()),
            owner: None,
        })
    }

    fn set_suspended(
        &mut self,
        username: &Username,
        suspended: bool,
    ) -> Result<SubscriberId, Broken> {
        let subscriber = self.named(username)?;
        let known = self.book.subscribers.get_mut(&subscriber);
        let Some(known) = known.filter(|it| it.suspended != suspended) else {
            return Err(Broken(format!("{subscriber} was it already")));
        };
        known.suspended = suspended;
        Ok(subscriber)
    }

    /// A person is forgotten when nothing is left to him but his account: every running lease was
    /// ended and every rule removed before, by the same command.
    fn erase(
        &mut self,
        username: &Username,
        events: &[&Event],
        now: Timestamp,
    ) -> Result<(), Broken> {
        let subscriber = self.named(username)?;
        let Some((last, ends)) = events.split_last() else {
            return Err(Broken(format!("nothing came of erasing {subscriber}")));
        };
        for event in ends {
            match event {
                Event::LeaseRevoked { filter, access, .. } => {
                    let (filter, access) = (filter.clone(), *access);
                    let key = LeaseKey {
                        subscriber,
                        filter,
                        access,
                    };
                    let expected = self.revoke(key, now)?;
                    ensure_same!(**event, expected, "a lease that ends with {subscriber}");
                }
                Event::RuleRemoved { rule } => {
                    let given = self.book.rules.remove(rule).map(|it| it.audience);
                    let his = given == Some(Audience::Subscriber(subscriber));
                    ensure!(his, "rule {rule} was not for {subscriber}");
                }
                other => return Err(Broken(format!("{other:?} in an erasure"))),
            }
        }
        ensure_same!(
            **last,
            Event::SubscriberErased { subscriber },
            "the last event of an erasure"
        );
        let holds = |it: &LeaseKey| it.subscriber == subscriber;
        let mut leases = self.book.leases.keys().filter(|it| holds(it));
        let running = leases.any(|it| self.book.running(it, now).is_some());
        let mut rules = self.book.rules.values();
        let ruled = rules.any(|it| it.audience == Audience::Subscriber(subscriber));
        ensure!(!running && !ruled, "{subscriber} keeps a right");
        self.book.usernames.remove(username);
        self.passwords.remove(&subscriber);
        if let Some(known) = self.book.subscribers.get_mut(&subscriber) {
            (known.username, known.erased) = (None, true);
        }
        Ok(())
    }

    fn revoke(&mut self, key: LeaseKey, now: Timestamp) -> Result<Event, Broken> {
        let Some(Lease { from, .. }) = self.book.running(&key, now) else {
            return Err(Broken(format!("{key:?} was revoked and does not run")));
        };
        self.book
            .leases
            .insert(key.clone(), Lease { from, until: now });
        Ok(Event::LeaseRevoked {
            subscriber: key.subscriber,
            filter: key.filter,
            access: key.access,
            until: now,
        })
    }

    fn named(&self, username: &Username) -> Result<SubscriberId, Broken> {
        let subscriber = self.book.usernames.get(username).copied();
        subscriber.ok_or_else(|| Broken(format!("nobody is named '{username}'")))
    }

    /// The versions of an applied payment are not kept: nothing can follow in its stream.
    fn close_stream(&mut self, payment: PaymentId) {
        self.book.versions.remove(&Stream::Payment(payment));
    }
}

/// Topics of the engine itself: nobody sells or gives them, but for the right to read its statistics.
fn is_reserved(filter: &TopicFilter) -> bool {
    filter.as_str() == "$SYS" || filter.as_str().starts_with("$SYS/")
}
