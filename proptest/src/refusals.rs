//! A wish may be refused, or lead to nothing, only where that is true.

use crate::Broken;
use crate::broken::ensure;
use tanglegate_core::{
    Command, LeaseKey, Rejection, Rule, State, Stream, Timestamp, Username, VerifierKey,
};

/// Looks whether what the rejection claims holds in the state that it was made in.
pub(crate) fn check(
    rejection: &Rejection,
    command: &Command,
    state: &State,
    now: Timestamp,
) -> Result<(), Broken> {
    ensure!(
        !matches!(command, Command::ConfirmPayment(_)),
        "a confirmed payment was refused: {rejection}"
    );
    ensure!(
        holds(rejection, command, state, now),
        "{command:?} was refused, and it is not true that {rejection}"
    );
    Ok(())
}

fn holds(rejection: &Rejection, command: &Command, state: &State, now: Timestamp) -> bool {
    let suspended = |name: &Username| {
        let subscriber = state.named(name).and_then(|it| state.subscriber(it));
        subscriber.map(|it| it.suspended)
    };
    match rejection {
        Rejection::OtherChain { bound, offered } => {
            state.chain() == Some(bound) && bound != offered
        }
        Rejection::StaleScan { recorded, offered } => {
            matches!(command, Command::RecordScan { seller, .. }
                if *recorded == state.checkpoint(*seller) && offered <= recorded)
        }
        Rejection::UnknownOffer(offer) => state.offer(offer).is_none(),
        Rejection::OfferOver(end) => *end <= now,
        Rejection::ReservedFilter(filter) => filter.as_str().starts_with("$SYS"),
        Rejection::RuleExists(rule) => state.next_version(&Stream::Rule(*rule)) > 1,
        Rejection::RuleRepeated(rule) => match command {
            Command::GiveRule(wished) => state.rule(*rule).is_some_and(|it| same(it, wished)),
            _ => false,
        },
        Rejection::UnknownRule(rule) => state.rule(*rule).is_none(),
        Rejection::UnknownSubscriber(subscriber) => {
            state.subscriber(*subscriber).is_none_or(|it| it.erased)
        }
        Rejection::UnseenInUsername(unseen) => match command {
            Command::RegisterSubscriber { username, .. } => username.as_str().contains(*unseen),
            _ => false,
        },
        Rejection::UnseenInFilter(unseen) => match command {
            Command::PublishOffer(offer) => offer.filter.as_str().contains(*unseen),
            Command::GiveRule(rule) => rule.filter.as_str().contains(*unseen),
            _ => false,
        },
        Rejection::UsernameTaken(name) => state.named(name).is_some(),
        Rejection::UnknownUsername(name) => state.named(name).is_none(),
        Rejection::SubscriberExists(subscriber) => state.subscriber(*subscriber).is_some(),
        Rejection::OtherOrigin { origin, offered } => {
            state.head_key().map(VerifierKey::origin) == Some(origin) && origin != offered
        }
        Rejection::AlreadySuspended(name) => suspended(name) == Some(true),
        Rejection::NotSuspended(name) => suspended(name) == Some(false),
        Rejection::NothingToClaim(payment) => match command {
            Command::ClaimPayment { payer, .. } => {
                let waiting = state.waiting(payment);
                waiting.is_none_or(|it| it.payer != *payer)
            }
            _ => false,
        },
        Rejection::NotTheOwner(_) => matches!(command, Command::ChangeOwned { .. }),
        Rejection::Unclaimable(_) => matches!(command, Command::ClaimPayment { .. }),
        Rejection::NoRunningLease {
            username,
            filter,
            access,
        } => state.named(username).is_some_and(|subscriber| {
            let key = LeaseKey {
                subscriber,
                filter: filter.clone(),
                access: *access,
            };
            state.lease(&key).is_none_or(|it| it.until <= now)
        }),
    }
}

fn same(one: &Rule, other: &Rule) -> bool {
    (one.audience, &one.filter, one.access) == (other.audience, &other.filter, other.access)
}

/// Looks whether something may be recorded at all: a payment that waits is in the log, whether
/// or not anybody looks its key up.
pub(crate) fn check_news(command: &Command, state: &State) -> Result<(), Broken> {
    if let Command::ConfirmPayment(paid) = command {
        let waits = state.waiting(&paid.payment).is_some();
        ensure!(!waits, "{} waits, and is decided again", paid.payment);
    }
    Ok(())
}

/// Looks whether there was really nothing to record.
pub(crate) fn check_idle(command: &Command, state: &State) -> Result<(), Broken> {
    let idle = match command {
        Command::BindChain(chain) => state.chain() == Some(chain),
        Command::PublishOffer(offer) => state.offer(&offer.id) == Some(offer),
        Command::ConfirmPayment(paid) => state.waiting(&paid.payment).is_some(),
        Command::AdoptHeadKey(key) => state.head_key() == Some(key),
        _ => false,
    };
    ensure!(idle, "{command:?} led to nothing");
    Ok(())
}
