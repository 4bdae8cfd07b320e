//! Who may do what, as of one log position: the table that the gate asks.

use crate::{
    Access, Action, Audience, Denied, Event, Offer, OfferId, PasswordVerifier, Permit, Position,
    Recorded, Right, Rights, Rule, RuleId, Source, SubscriberId, Timestamp, TopicFilter, TopicName,
    Username,
};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// The access table in memory. Empty, it denies everything.
#[derive(Debug, Clone)]
pub struct Acl {
    as_of: Position,
    holders: HashMap<SubscriberId, Holder, BuildHasherDefault<IdHasher>>,
    logins: HashMap<Username, SubscriberId>,
    everyone: Arc<[Right]>,
    rules: HashMap<RuleId, Audience>,
    /// By name, so that advice comes in the same order every time.
    offers: BTreeMap<OfferId, Offer>,
}

/// Identities are random already, and no client can choose his own: their bytes are the hash.
#[derive(Debug, Clone, Copy, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(MIX);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// An odd number whose bits are spread evenly: 2⁶⁴ divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug, Clone)]
struct Holder {
    verifier: PasswordVerifier,
    password_set_at: Position,
    suspended: bool,
    rights: Arc<[Right]>,
}

/// What it takes to check a login.
#[derive(Debug, Clone)]
pub struct Login {
    /// Whose login it is.
    pub subscriber: SubscriberId,
    /// What the password is checked against.
    pub verifier: PasswordVerifier,
    /// The event that set the password: a session that logged in with an older one is cut.
    pub password_set_at: Position,
}

/// Whose rights an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affected {
    /// Nobody's.
    Nobody,
    /// One subscriber's.
    Subscriber(SubscriberId),
    /// Potentially everyone's.
    Everyone,
}

impl Default for Acl {
    fn default() -> Self {
        Self {
            as_of: Position(0),
            holders: HashMap::default(),
            logins: HashMap::new(),
            everyone: Arc::new([]),
            rules: HashMap::new(),
            offers: BTreeMap::new(),
        }
    }
}

impl Acl {
    /// The place of the last event folded.
    #[must_use]
    pub fn as_of(&self) -> Position {
        self.as_of
    }

    /// Folds one event, and tells whose rights it changed.
    ///
    /// # Panics
    /// When the event does not follow the last one, or the log contradicts itself.
    pub fn apply(&mut self, recorded: Recorded<'_>) -> Affected {
        let position = recorded.position;
        assert_eq!(position, self.as_of.next(), "positions have no gaps");
        self.as_of = position;
        match recorded.event {
            Event::ChainBound { .. }
            | Event::LedgerScanned { .. }
            | Event::PaymentConfirmed { .. }
            | Event::PaymentApplied { .. }
            | Event::PaymentUnmatched { .. } => Affected::Nobody,
            Event::OfferPublished { offer } => {
                self.offers.insert(offer.id.clone(), offer.clone());
                Affected::Nobody
            }
            Event::OfferWithdrawn { offer } => {
                self.offers.remove(offer);
                Affected::Nobody
            }
            Event::RuleGiven { rule } => self.give_rule(rule),
            Event::RuleRemoved { rule } => self.remove_rule(*rule),
            Event::SubscriberRegistered {
                subscriber,
                username,
                verifier,
            } => {
                self.logins.insert(username.clone(), *subscriber);
                let holder = Holder {
                    verifier: verifier.clone(),
                    password_set_at: position,
                    suspended: false,
                    rights: Arc::new([]),
                };
                self.holders.insert(*subscriber, holder);
                Affected::Subscriber(*subscriber)
            }
            Event::PasswordChanged {
                subscriber,
                verifier,
            } => {
                let holder = self.holder(*subscriber);
                holder.verifier = verifier.clone();
                holder.password_set_at = position;
                Affected::Subscriber(*subscriber)
            }
            Event::SubscriberSuspended { subscriber } => {
                self.holder(*subscriber).suspended = true;
                Affected::Subscriber(*subscriber)
            }
            Event::SubscriberReinstated { subscriber } => {
                self.holder(*subscriber).suspended = false;
                Affected::Subscriber(*subscriber)
            }
            Event::LeaseGranted {
                subscriber,
                filter,
                access,
                until,
                offer,
                ..
            }
            | Event::LeaseExtended {
                subscriber,
                filter,
                access,
                until,
                offer,
                ..
            } => self.lease(*subscriber, filter, *access, *until, offer),
            Event::LeaseRevoked {
                subscriber,
                filter,
                access,
                until,
            } => self.revoke(*subscriber, filter, *access, *until),
        }
    }

    /// What it takes to check a login; `None` when there is no such login.
    #[must_use]
    pub fn login(&self, username: &str) -> Option<Login> {
        let username = Username::parse(username).ok()?;
        let subscriber = *self.logins.get(&username)?;
        let holder = self.holders.get(&subscriber)?;
        Some(Login {
            subscriber,
            verifier: holder.verifier.clone(),
            password_set_at: holder.password_set_at,
        })
    }

    /// The event that set the subscriber's password.
    #[must_use]
    pub fn password_set_at(&self, subscriber: SubscriberId) -> Option<Position> {
        self.holders.get(&subscriber).map(|it| it.password_set_at)
    }

    /// The rights of a subscriber, or of an anonymous client. Of a suspended one: none.
    #[must_use]
    pub fn rights(&self, subject: Option<SubscriberId>) -> Rights {
        let own = match subject.map(|it| self.holders.get(&it)) {
            None => Arc::new([]) as Arc<[Right]>,
            Some(Some(holder)) if !holder.suspended => Arc::clone(&holder.rights),
            Some(_) => return Rights::none(),
        };
        Rights {
            own,
            everyone: Arc::clone(&self.everyone),
        }
    }

    /// May the client be connected?
    ///
    /// # Errors
    /// When the login is unknown or suspended.
    pub fn permit_connect(&self, subject: Option<SubscriberId>) -> Result<(), Denied> {
        match subject.map(|it| self.holders.get(&it)) {
            None => Ok(()),
            Some(Some(holder)) if !holder.suspended => Ok(()),
            Some(_) => Err(Denied::Suspended),
        }
    }

    /// May he subscribe to `filter`? Yes when a right to read overlaps it; delivery is checked
    /// message by message. The permit is that of the overlapping right which lasts longest.
    ///
    /// # Errors
    /// When no running right overlaps the filter.
    pub fn permit_subscribe(
        &self,
        subject: Option<SubscriberId>,
        filter: &TopicFilter,
        now: Timestamp,
    ) -> Result<Permit, Denied> {
        let overlaps = |it: &Right| it.access.allows(Action::Read) && it.filter.overlaps(filter);
        self.permit(
            subject,
            Action::Read,
            filter.as_str(),
            now,
            overlaps,
            |it| it.overlaps(filter),
        )
    }

    /// May he publish on `topic`?
    ///
    /// # Errors
    /// When no running right to write matches the topic.
    pub fn permit_publish(
        &self,
        subject: Option<SubscriberId>,
        topic: &TopicName,
        now: Timestamp,
    ) -> Result<Permit, Denied> {
        self.permit_topic(subject, Action::Write, topic, now)
    }

    /// May a message on `topic` be handed to him?
    ///
    /// # Errors
    /// When no running right to read matches the topic.
    pub fn permit_deliver(
        &self,
        subject: Option<SubscriberId>,
        topic: &TopicName,
        now: Timestamp,
    ) -> Result<Permit, Denied> {
        self.permit_topic(subject, Action::Read, topic, now)
    }

    fn permit_topic(
        &self,
        subject: Option<SubscriberId>,
        action: Action,
        topic: &TopicName,
        now: Timestamp,
    ) -> Result<Permit, Denied> {
        let matches = |it: &Right| it.access.allows(action) && it.filter.matches(topic.as_str());
        self.permit(subject, action, topic.as_str(), now, matches, |it| {
            it.matches(topic.as_str())
        })
    }

    fn permit(
        &self,
        subject: Option<SubscriberId>,
        action: Action,
        topic: &str,
        now: Timestamp,
        fits: impl Fn(&Right) -> bool,
        sells: impl Fn(&TopicFilter) -> bool,
    ) -> Result<Permit, Denied> {
        let holder = subject.map(|it| self.holders.get(&it));
        let own: &[Right] = match holder {
            None => &[],
            Some(Some(holder)) if !holder.suspended => &holder.rights,
            Some(_) => return Err(Denied::Suspended),
        };
        let longest = own
            .iter()
            .chain(self.everyone.iter())
            .filter(|it| fits(it))
            .max_by_key(|it| it.until);
        match longest {
            Some(right) if now < right.until => Ok(Permit::new(
                subject,
                right.filter.clone(),
                right.access,
                right.until,
            )),
            ended => Err(self.denied(ended, action, topic, now, sells)),
        }
    }

    fn denied(
        &self,
        ended: Option<&Right>,
        action: Action,
        topic: &str,
        now: Timestamp,
        sells: impl Fn(&TopicFilter) -> bool,
    ) -> Denied {
        let on_sale =
            |it: &&Offer| it.access.allows(action) && now < it.valid_until && sells(&it.filter);
        let offers = self
            .offers
            .values()
            .filter(on_sale)
            .map(|it| it.id.clone())
            .collect();
        match ended {
            Some(right) => Denied::Ended {
                action,
                filter: right.filter.clone(),
                at: right.until,
                offers,
            },
            None => Denied::NoRight {
                action,
                topic: topic.to_owned(),
                offers,
            },
        }
    }

    fn holder(&mut self, subscriber: SubscriberId) -> &mut Holder {
        self.holders
            .get_mut(&subscriber)
            .expect("the subscriber was registered")
    }

    fn lease(
        &mut self,
        subscriber: SubscriberId,
        filter: &TopicFilter,
        access: Access,
        until: Timestamp,
        offer: &OfferId,
    ) -> Affected {
        // Leases share their texts with the offer, while it is on sale.
        let (filter, offer) = match self.offers.get(offer) {
            Some(sold) => (filter.clone().sharing(&sold.filter), sold.id.clone()),
            None => (filter.clone(), offer.clone()),
        };
        let right = Right {
            filter,
            access,
            until,
            source: Source::Lease(offer),
        };
        let same = |it: &Right| {
            matches!(it.source, Source::Lease(_))
                && (&it.filter, it.access) == (&right.filter, right.access)
        };
        let rights = &mut self.holder(subscriber).rights;
        let others = rights.iter().filter(|it| !same(it)).cloned();
        *rights = others.chain([right.clone()]).collect();
        Affected::Subscriber(subscriber)
    }

    fn revoke(
        &mut self,
        subscriber: SubscriberId,
        filter: &TopicFilter,
        access: Access,
        until: Timestamp,
    ) -> Affected {
        let revoked = |mut it: Right| {
            let leased = matches!(it.source, Source::Lease(_));
            if leased && it.filter == *filter && it.access == access {
                it.until = until;
            }
            it
        };
        let rights = &mut self.holder(subscriber).rights;
        *rights = rights.iter().cloned().map(revoked).collect();
        Affected::Subscriber(subscriber)
    }

    fn give_rule(&mut self, rule: &Rule) -> Affected {
        self.rules.insert(rule.id, rule.audience);
        let right = Right {
            filter: rule.filter.clone(),
            access: rule.access,
            until: Timestamp::FOREVER,
            source: Source::Rule(rule.id),
        };
        let (rights, affected) = self.rights_of(rule.audience);
        *rights = rights.iter().cloned().chain([right]).collect();
        affected
    }

    fn remove_rule(&mut self, id: RuleId) -> Affected {
        let audience = self.rules.remove(&id).expect("a removed rule was given");
        let (rights, affected) = self.rights_of(audience);
        *rights = rights
            .iter()
            .filter(|it| it.source != Source::Rule(id))
            .cloned()
            .collect();
        affected
    }

    fn rights_of(&mut self, audience: Audience) -> (&mut Arc<[Right]>, Affected) {
        match audience {
            Audience::Everyone => (&mut self.everyone, Affected::Everyone),
            Audience::Subscriber(id) => (&mut self.holder(id).rights, Affected::Subscriber(id)),
        }
    }
}

#[cfg(test)]
mod tests;
