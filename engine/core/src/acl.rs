//! Who may do what, as of one log position: the table that the gate asks.

use crate::rights::Grant;
use crate::{
    Access, Action, Audience, Contradiction, Denied, Event, Offer, OfferId, PasswordVerifier,
    Permit, Position, Recorded, Right, Rights, Rule, RuleId, Source, SubscriberId, Timestamp,
    TopicFilter, TopicName, Username,
};
use own::Own;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// The access table in memory. Empty, it denies everything.
#[derive(Debug, Clone)]
pub struct Acl {
    as_of: Position,
    /// The rights of those whose login is not suspended. Every check looks here, so it has nothing
    /// else in it: a table of millions is far larger than the caches of a processor.
    open: ById<Own>,
    /// Those of suspended ones.
    suspended: ById<Own>,
    accounts: ById<Account>,
    logins: HashMap<Username, SubscriberId>,
    everyone: Arc<[Right]>,
    rules: HashMap<RuleId, Audience>,
    /// By name, so that advice comes in the same order every time.
    offers: BTreeMap<OfferId, OnSale>,
}

type ById<T> = HashMap<SubscriberId, T, BuildHasherDefault<IdHasher>>;

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

/// What is known of a login besides its rights.
#[derive(Debug, Clone)]
struct Account {
    /// `None` when it could not be read, or is erased: nobody can log in.
    verifier: Option<PasswordVerifier>,
    password_set_at: Position,
    is_bought: bool,
}

#[derive(Debug, Clone)]
struct OnSale {
    offer: Offer,
    /// What its leases grant.
    grant: Arc<Grant>,
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
    /// A buyer has chosen its name and paid for it; the operator registered the others.
    pub is_bought: bool,
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
            open: HashMap::default(),
            suspended: HashMap::default(),
            accounts: HashMap::default(),
            logins: HashMap::new(),
            everyone: Arc::new([]),
            rules: HashMap::new(),
            offers: BTreeMap::new(),
        }
    }
}

const NOBODY: &str = "no such subscriber was registered";

impl Acl {
    /// The place of the last event folded.
    #[must_use]
    pub fn as_of(&self) -> Position {
        self.as_of
    }

    /// Folds one event, and tells whose rights it changed.
    ///
    /// # Panics
    /// When the event does not follow the last one, or contradicts those before: what comes here
    /// was folded into the [`crate::State`] first.
    pub fn apply(&mut self, recorded: Recorded<'_>) -> Affected {
        let position = recorded.position;
        assert_eq!(position, self.as_of.next(), "positions have no gaps");
        match self.apply_some(recorded) {
            Ok(affected) => affected,
            Err(contradiction) => panic!("{contradiction}"),
        }
    }

    /// Folds one of some events only: for a table that is asked about one subject. Everything that
    /// this subject's rights rest on has to be among them, in the order of the log.
    ///
    /// # Errors
    /// When the event does not come after the last one, or the events contradict each other.
    pub fn apply_some(&mut self, recorded: Recorded<'_>) -> Result<Affected, Contradiction> {
        let position = recorded.position;
        let contradiction = |what| Contradiction { position, what };
        if position <= self.as_of {
            return Err(contradiction("it stands before an event that came earlier"));
        }
        self.as_of = position;
        self.fold(position, recorded.event).map_err(contradiction)
    }

    fn fold(&mut self, position: Position, event: &Event) -> Result<Affected, &'static str> {
        Ok(match event {
            Event::ChainBound { .. }
            | Event::LedgerScanned { .. }
            | Event::PaymentConfirmed { .. }
            | Event::PaymentApplied { .. }
            | Event::PaymentUnmatched { .. }
            | Event::AnswerAnnounced { .. }
            | Event::HeadKeyAdopted { .. }
            | Event::HeadAnchored { .. } => Affected::Nobody,
            Event::OfferPublished { offer } => {
                let on_sale = OnSale {
                    offer: offer.clone(),
                    grant: Arc::new(Grant {
                        filter: offer.filter.clone(),
                        access: offer.access,
                        source: Source::Lease(offer.id.clone()),
                    }),
                };
                self.offers.insert(offer.id.clone(), on_sale);
                Affected::Nobody
            }
            Event::OfferWithdrawn { offer } => {
                self.offers.remove(offer);
                Affected::Nobody
            }
            Event::RuleGiven { rule } => self.give_rule(rule)?,
            Event::RuleRemoved { rule } => self.remove_rule(*rule)?,
            Event::SubscriberRegistered {
                subscriber,
                username,
                verifier,
                owner,
            } => {
                if let Some(username) = username {
                    self.logins.insert(username.clone(), *subscriber);
                }
                let account = Account {
                    verifier: verifier.clone(),
                    password_set_at: position,
                    is_bought: owner.is_some(),
                };
                self.accounts.insert(*subscriber, account);
                self.open.insert(*subscriber, Own::None);
                Affected::Subscriber(*subscriber)
            }
            Event::PasswordChanged {
                subscriber,
                verifier,
            } => {
                let account = self.accounts.get_mut(subscriber).ok_or(NOBODY)?;
                account.verifier.clone_from(verifier);
                account.password_set_at = position;
                Affected::Subscriber(*subscriber)
            }
            Event::UsernameChanged {
                subscriber,
                username,
            } => {
                self.accounts.get(subscriber).ok_or(NOBODY)?;
                self.logins.retain(|_, holder| holder != subscriber);
                if let Some(username) = username {
                    self.logins.insert(username.clone(), *subscriber);
                }
                Affected::Nobody
            }
            Event::SubscriberSuspended { subscriber } => {
                let own = self.open.remove(subscriber);
                let own = own.ok_or("no open login of that identity")?;
                self.suspended.insert(*subscriber, own);
                Affected::Subscriber(*subscriber)
            }
            Event::SubscriberReinstated { subscriber } => {
                let own = self.suspended.remove(subscriber);
                let own = own.ok_or("no suspended login of that identity")?;
                self.open.insert(*subscriber, own);
                Affected::Subscriber(*subscriber)
            }
            Event::SubscriberErased { subscriber } => {
                // Erasures are few: looking through the names is cheaper than a second table.
                self.logins.retain(|_, holder| holder != subscriber);
                self.open.remove(subscriber);
                self.suspended.remove(subscriber);
                let account = self.accounts.get_mut(subscriber);
                account.ok_or(NOBODY)?.verifier = None;
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
            } => self.lease(*subscriber, filter, *access, *until, offer)?,
            Event::LeaseRevoked {
                subscriber,
                filter,
                access,
                until,
            } => self.revoke(*subscriber, filter, *access, *until)?,
        })
    }

    /// What is sold, by name; some of it may have ended.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers.values().map(|it| &it.offer)
    }

    /// What it takes to check a login; `None` when there is no such login.
    #[must_use]
    pub fn login(&self, username: &str) -> Option<Login> {
        let username = Username::parse(username).ok()?;
        let subscriber = *self.logins.get(&username)?;
        let account = self.accounts.get(&subscriber)?;
        Some(Login {
            subscriber,
            verifier: account.verifier.clone()?,
            password_set_at: account.password_set_at,
            is_bought: account.is_bought,
        })
    }

    /// The event that set the subscriber's password.
    #[must_use]
    pub fn password_set_at(&self, subscriber: SubscriberId) -> Option<Position> {
        self.accounts.get(&subscriber).map(|it| it.password_set_at)
    }

    /// The rights of a subscriber, or of an anonymous client. Of a suspended one: none.
    #[must_use]
    pub fn rights(&self, subject: Option<SubscriberId>) -> Rights {
        let own = match subject.map(|it| self.open.get(&it)) {
            None => Own::None.shared(),
            Some(Some(own)) => own.shared(),
            Some(None) => return Rights::none(),
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
        match subject {
            Some(it) if !self.open.contains_key(&it) => Err(Denied::Suspended),
            _ => Ok(()),
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
        let overlaps =
            |it: &Right| it.access().allows(Action::Read) && it.filter().overlaps(filter);
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
        let matches =
            |it: &Right| it.access().allows(action) && it.filter().matches(topic.as_str());
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
        let own = match subject.map(|it| self.open.get(&it)) {
            None => &[],
            Some(Some(own)) => own.as_slice(),
            Some(None) => return Err(Denied::Suspended),
        };
        let mut longest: Option<&Right> = None;
        for right in own.iter().chain(self.everyone.iter()) {
            let is_longer = longest.is_none_or(|it| it.until() <= right.until());
            if is_longer && fits(right) {
                longest = Some(right);
            }
        }
        match longest {
            Some(right) if now < right.until() => Ok(Permit::new(subject, right.clone())),
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
            .map(|it| &it.offer)
            .filter(on_sale)
            .map(|it| it.id.clone())
            .collect();
        match ended {
            Some(right) => Denied::Ended {
                action,
                filter: right.filter().clone(),
                at: right.until(),
                offers,
            },
            None => Denied::NoRight {
                action,
                topic: topic.to_owned(),
                offers,
            },
        }
    }

    fn own(&mut self, subscriber: SubscriberId) -> Result<&mut Own, &'static str> {
        let own = match self.open.get_mut(&subscriber) {
            None => self.suspended.get_mut(&subscriber),
            open => open,
        };
        own.ok_or(NOBODY)
    }

    fn lease(
        &mut self,
        subscriber: SubscriberId,
        filter: &TopicFilter,
        access: Access,
        until: Timestamp,
        offer: &OfferId,
    ) -> Result<Affected, &'static str> {
        // All leases of an offer share what they grant, while it is on sale.
        let sold = self.offers.get(offer).map(|it| &it.grant);
        let grant = match sold.filter(|it| (&it.filter, it.access) == (filter, access)) {
            Some(sold) => Arc::clone(sold),
            None => Arc::new(Grant {
                filter: filter.clone(),
                access,
                source: Source::Lease(offer.clone()),
            }),
        };
        let right = Right::new(grant, until);
        let own = self.own(subscriber)?;
        let others = own.as_slice().iter();
        let others = others.filter(|it| !is_lease_of(it, filter, access));
        *own = others.cloned().chain([right]).collect();
        Ok(Affected::Subscriber(subscriber))
    }

    fn revoke(
        &mut self,
        subscriber: SubscriberId,
        filter: &TopicFilter,
        access: Access,
        until: Timestamp,
    ) -> Result<Affected, &'static str> {
        let revoked = |it: &Right| match is_lease_of(it, filter, access) {
            true => it.ending(until),
            false => it.clone(),
        };
        let own = self.own(subscriber)?;
        *own = own.as_slice().iter().map(revoked).collect();
        Ok(Affected::Subscriber(subscriber))
    }

    fn give_rule(&mut self, rule: &Rule) -> Result<Affected, &'static str> {
        self.rules.insert(rule.id, rule.audience);
        let grant = Grant {
            filter: rule.filter.clone(),
            access: rule.access,
            source: Source::Rule(rule.id),
        };
        let right = Right::new(Arc::new(grant), Timestamp::FOREVER);
        self.change_rights(rule.audience, |rights| {
            rights.iter().cloned().chain([right.clone()]).collect()
        })
    }

    fn remove_rule(&mut self, id: RuleId) -> Result<Affected, &'static str> {
        let audience = self.rules.remove(&id).ok_or("no such rule was given")?;
        self.change_rights(audience, |rights| {
            let others = rights.iter().filter(|it| *it.source() != Source::Rule(id));
            others.cloned().collect()
        })
    }

    fn change_rights(
        &mut self,
        audience: Audience,
        change: impl FnOnce(&[Right]) -> Own,
    ) -> Result<Affected, &'static str> {
        Ok(match audience {
            Audience::Everyone => {
                self.everyone = change(&self.everyone).shared();
                Affected::Everyone
            }
            Audience::Subscriber(id) => {
                let own = self.own(id)?;
                *own = change(own.as_slice());
                Affected::Subscriber(id)
            }
        })
    }
}

fn is_lease_of(right: &Right, filter: &TopicFilter, access: Access) -> bool {
    matches!(right.source(), Source::Lease(_))
        && (right.filter(), right.access()) == (filter, access)
}

mod own;
#[cfg(test)]
mod tests;
