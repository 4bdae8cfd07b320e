//! From a command to the events it causes.

use crate::unseen::unseen;
use crate::{
    Access, Address, Command, Event, LeaseKey, Offer, PasswordVerifier, Rejection, Rule, State,
    Stream, SubscriberId, Timestamp, Username,
};
use purchase::{claim_payment, confirm_payment};

/// Turns a command into the events it causes, in order. None when there is nothing to record.
/// `now` is the log's clock. A payment is decided once: whether it stands in the log already is
/// for the caller to look up by its [`crate::IdempotencyKey`].
///
/// # Errors
/// When the state does not allow it. Confirmed payments are never refused.
pub fn decide(state: &State, now: Timestamp, command: Command) -> Result<Vec<Event>, Rejection> {
    match command {
        Command::BindChain(chain) => match state.chain() {
            Some(bound) if *bound == chain => Ok(Vec::new()),
            Some(bound) => Err(Rejection::OtherChain {
                bound: bound.clone(),
                offered: chain,
            }),
            None => Ok(vec![Event::ChainBound { chain }]),
        },
        Command::RecordScan { seller, checkpoint } if checkpoint <= state.checkpoint(seller) => {
            Err(Rejection::StaleScan {
                recorded: state.checkpoint(seller),
                offered: checkpoint,
            })
        }
        Command::RecordScan { seller, checkpoint } => {
            Ok(vec![Event::LedgerScanned { seller, checkpoint }])
        }
        Command::ConfirmPayment(confirmation) => Ok(confirm_payment(state, now, confirmation)),
        Command::ClaimPayment {
            payment,
            payer,
            order,
        } => claim_payment(state, now, payment, payer, &order),
        Command::PublishOffer(offer) => publish_offer(state, now, offer),
        Command::WithdrawOffer(offer) => match state.offer(&offer) {
            Some(_) => Ok(vec![Event::OfferWithdrawn { offer }]),
            None => Err(Rejection::UnknownOffer(offer)),
        },
        Command::GiveRule(rule) => give_rule(state, rule),
        Command::RemoveRule(rule) => match state.rule(rule) {
            Some(_) => Ok(vec![Event::RuleRemoved { rule }]),
            None => Err(Rejection::UnknownRule(rule)),
        },
        Command::RegisterSubscriber {
            subscriber,
            username,
            verifier,
        } => {
            if let Some(unseen) = unseen(username.as_str()) {
                return Err(Rejection::UnseenInUsername(unseen));
            }
            if state.named(&username).is_some() {
                return Err(Rejection::UsernameTaken(username));
            }
            if state.subscriber(subscriber).is_some() {
                return Err(Rejection::SubscriberExists(subscriber));
            }
            Ok(vec![Event::SubscriberRegistered {
                subscriber,
                username: Some(username),
                verifier: Some(verifier),
                owner: None,
            }])
        }
        Command::ChangePassword { username, verifier } => {
            let subscriber = named(state, username)?;
            Ok(vec![Event::PasswordChanged {
                subscriber,
                verifier: Some(verifier),
            }])
        }
        Command::ChangeOwned {
            owner,
            username,
            verifier,
            renamed,
        } => change_owned(state, owner, &username, verifier, renamed),
        Command::Suspend(username) => {
            let subscriber = named(state, username.clone())?;
            if is_suspended(state, subscriber) {
                return Err(Rejection::AlreadySuspended(username));
            }
            Ok(vec![Event::SubscriberSuspended { subscriber }])
        }
        Command::Reinstate(username) => {
            let subscriber = named(state, username.clone())?;
            if !is_suspended(state, subscriber) {
                return Err(Rejection::NotSuspended(username));
            }
            Ok(vec![Event::SubscriberReinstated { subscriber }])
        }
        Command::Erase(username) => {
            let subscriber = named(state, username)?;
            Ok(erase(state, now, subscriber))
        }
        Command::AdoptHeadKey(key) => match state.head_key() {
            Some(adopted) if *adopted == key => Ok(Vec::new()),
            Some(adopted) if adopted.origin() != key.origin() => Err(Rejection::OtherOrigin {
                origin: adopted.origin().to_owned(),
                offered: key.origin().to_owned(),
            }),
            _ => Ok(vec![Event::HeadKeyAdopted { key }]),
        },
        Command::RecordAnchor {
            size,
            root,
            transaction,
        } => Ok(vec![Event::HeadAnchored {
            size,
            root,
            transaction,
        }]),
        Command::RevokeLease {
            username,
            filter,
            access,
        } => {
            let subscriber = named(state, username.clone())?;
            let key = LeaseKey {
                subscriber,
                filter: filter.clone(),
                access,
            };
            match state.lease(&key) {
                Some(lease) if now < lease.until => Ok(vec![Event::LeaseRevoked {
                    subscriber,
                    filter,
                    access,
                    until: now,
                }]),
                _ => Err(Rejection::NoRunningLease {
                    username,
                    filter,
                    access,
                }),
            }
        }
    }
}

fn named(state: &State, username: Username) -> Result<SubscriberId, Rejection> {
    state
        .named(&username)
        .ok_or(Rejection::UnknownUsername(username))
}

fn change_owned(
    state: &State,
    owner: Address,
    username: &Username,
    verifier: Option<PasswordVerifier>,
    renamed: Option<Username>,
) -> Result<Vec<Event>, Rejection> {
    let owned = |it: &SubscriberId| {
        let account = state.subscriber(*it);
        account.is_some_and(|it| it.owner == Some(owner) && !it.suspended)
    };
    let subscriber = state.named(username).filter(owned);
    let subscriber = subscriber.ok_or(Rejection::NotTheOwner(owner))?;
    let renamed = renamed.filter(|it| it != username);
    if let Some(renamed) = &renamed {
        if let Some(unseen) = unseen(renamed.as_str()) {
            return Err(Rejection::UnseenInUsername(unseen));
        }
        if state.named(renamed).is_some() {
            return Err(Rejection::UsernameTaken(renamed.clone()));
        }
    }
    let password = verifier.map(|verifier| Event::PasswordChanged {
        subscriber,
        verifier: Some(verifier),
    });
    let name = renamed.map(|username| Event::UsernameChanged {
        subscriber,
        username: Some(username),
    });
    Ok(password.into_iter().chain(name).collect())
}

fn is_suspended(state: &State, subscriber: SubscriberId) -> bool {
    state.subscriber(subscriber).is_some_and(|it| it.suspended)
}

/// Leases that run end, rules for the person are removed, and the last event is the erasure: the
/// log is whole at every position in between.
fn erase(state: &State, now: Timestamp, subscriber: SubscriberId) -> Vec<Event> {
    let leases = state.running_leases(subscriber, now).into_iter();
    let ended = leases.map(|it| Event::LeaseRevoked {
        subscriber,
        filter: it.filter,
        access: it.access,
        until: now,
    });
    let rules = state.rules_for(subscriber).into_iter();
    let removed = rules.map(|rule| Event::RuleRemoved { rule });
    let erased = Event::SubscriberErased { subscriber };
    ended.chain(removed).chain([erased]).collect()
}

fn publish_offer(state: &State, now: Timestamp, offer: Offer) -> Result<Vec<Event>, Rejection> {
    if is_reserved(offer.filter.as_str()) {
        return Err(Rejection::ReservedFilter(offer.filter));
    }
    if let Some(unseen) = unseen(offer.filter.as_str()) {
        return Err(Rejection::UnseenInFilter(unseen));
    }
    if offer.valid_until <= now {
        return Err(Rejection::OfferOver(offer.valid_until));
    }
    if state.offer(&offer.id) == Some(&offer) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::OfferPublished { offer }])
}

fn give_rule(state: &State, rule: Rule) -> Result<Vec<Event>, Rejection> {
    if is_reserved(rule.filter.as_str()) && !shows_statistics(&rule) {
        return Err(Rejection::ReservedFilter(rule.filter));
    }
    if let Some(unseen) = unseen(rule.filter.as_str()) {
        return Err(Rejection::UnseenInFilter(unseen));
    }
    // An identity is used once, so that what the operator took back stays taken back.
    if state.next_version(&Stream::Rule(rule.id)) > 1 {
        return Err(Rejection::RuleExists(rule.id));
    }
    if let Some(same) = state.same_rule(&rule) {
        return Err(Rejection::RuleRepeated(same));
    }
    if let crate::Audience::Subscriber(subscriber) = rule.audience
        && state.subscriber(subscriber).is_none_or(|it| it.erased)
    {
        return Err(Rejection::UnknownSubscriber(subscriber));
    }
    Ok(vec![Event::RuleGiven { rule }])
}

fn is_reserved(filter: &str) -> bool {
    filter.split('/').next() == Some("$SYS")
}

/// What the gate tells about itself, and the engine about the log, may be shown to anybody, and
/// written by nobody.
fn shows_statistics(rule: &Rule) -> bool {
    let told = ["$SYS/broker/", "$SYS/access/log/"];
    rule.access == Access::Read && told.iter().any(|it| rule.filter.as_str().starts_with(it))
}

mod purchase;
#[cfg(test)]
mod tests;
