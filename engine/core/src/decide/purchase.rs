//! Money that came in, and the time it buys.

use crate::unseen::unseen;
use crate::{
    Address, Confirmation, Event, LeaseKey, MemoReading, Nanos, Offer, OfferId, Order,
    PasswordWish, PaymentId, Rejection, State, SubscriberId, Timestamp, UnmatchedReason, Username,
};

pub(super) fn confirm_payment(
    state: &State,
    now: Timestamp,
    confirmation: Confirmation,
) -> Vec<Event> {
    let payment = confirmation.payment;
    if state.waiting(&payment).is_some() {
        return Vec::new();
    }
    let paid = Paid {
        payment,
        seller: confirmation.seller,
        payer: confirmation.payer,
        amount: confirmation.amount,
    };
    let booked = match &confirmation.reading {
        MemoReading::Absent => Err(UnmatchedReason::NoMemo),
        MemoReading::Unreadable => Err(UnmatchedReason::UnreadableMemo),
        MemoReading::Sealed => Err(UnmatchedReason::DoesNotOpen),
        MemoReading::Refused(reason) => Err(*reason),
        MemoReading::Purchase { offer, username } => purchase(state, now, &paid, offer, username),
        MemoReading::Order(order) => carry_out(state, now, &paid, order),
    };
    let booked = booked.unwrap_or_else(|reason| vec![Event::PaymentUnmatched { payment, reason }]);
    let mut events = vec![Event::PaymentConfirmed { confirmation }];
    events.extend(booked);
    events
}

pub(super) fn claim_payment(
    state: &State,
    now: Timestamp,
    payment: PaymentId,
    claimant: Address,
    order: &Order,
) -> Result<Vec<Event>, Rejection> {
    let waiting = state
        .waiting(&payment)
        .ok_or(Rejection::NothingToClaim(payment))?;
    if waiting.payer != claimant {
        return Err(Rejection::NothingToClaim(payment));
    }
    let paid = Paid {
        payment,
        seller: waiting.seller,
        payer: waiting.payer,
        amount: waiting.amount,
    };
    carry_out(state, now, &paid, order).map_err(Rejection::Unclaimable)
}

/// The money of one payment.
struct Paid {
    payment: PaymentId,
    seller: Address,
    payer: Address,
    amount: Nanos,
}

/// A payment that found its offer and its subscriber.
struct Purchase<'a> {
    subscriber: SubscriberId,
    offer: &'a Offer,
    /// The payment and what was on account.
    funds: Nanos,
    /// The end of the same right, if the subscriber holds it now.
    running_until: Option<Timestamp>,
}

/// Time for a login that exists.
fn purchase(
    state: &State,
    now: Timestamp,
    paid: &Paid,
    offer: &OfferId,
    username: &Username,
) -> Result<Vec<Event>, UnmatchedReason> {
    let offer = sold(state, now, paid, offer)?;
    let subscriber = state
        .named(username)
        .ok_or(UnmatchedReason::UnknownSubscriber)?;
    let purchase = for_known(state, now, paid, offer, subscriber)?;
    Ok(apply(now, paid.payment, purchase))
}

/// Time for a login that the payer has or gets.
fn carry_out(
    state: &State,
    now: Timestamp,
    paid: &Paid,
    order: &Order,
) -> Result<Vec<Event>, UnmatchedReason> {
    let offer = sold(state, now, paid, &order.offer)?;
    let Some(subscriber) = state.named(&order.username) else {
        return register_buyer(now, paid, order, offer);
    };
    let account = state.subscriber(subscriber);
    if account.is_none_or(|it| it.owner != Some(paid.payer)) {
        // The same answer as for a name that is free, where that would be refused too: who asks
        // which names are taken has to hold the price of one.
        register_buyer(now, paid, order, offer)?;
        return Err(UnmatchedReason::UsernameTaken);
    }
    let purchase = for_known(state, now, paid, offer, subscriber)?;
    let verifier = match &order.password {
        PasswordWish::Set(verifier) => Some(verifier),
        PasswordWish::Make => Some(&order.made),
        PasswordWish::Keep => None,
    };
    let mut events: Vec<Event> = verifier
        .map(|verifier| Event::PasswordChanged {
            subscriber,
            verifier: Some(verifier.clone()),
        })
        .into_iter()
        .collect();
    events.extend(apply(now, paid.payment, purchase));
    Ok(events)
}

/// A name that nobody has becomes the payer's. It costs the least purchase, so that names cannot
/// be hoarded for nothing.
fn register_buyer(
    now: Timestamp,
    paid: &Paid,
    order: &Order,
    offer: &Offer,
) -> Result<Vec<Event>, UnmatchedReason> {
    if unseen(order.username.as_str()).is_some() {
        return Err(UnmatchedReason::UnfitOrder);
    }
    let purchase = Purchase {
        subscriber: order.subscriber,
        offer,
        funds: paid.amount,
        running_until: None,
    };
    let bought = apply(now, paid.payment, purchase);
    let begins = |it: &Event| matches!(it, Event::LeaseGranted { .. });
    if !bought.iter().any(begins) {
        return Err(UnmatchedReason::TooLittle);
    }
    let verifier = match &order.password {
        PasswordWish::Set(verifier) => verifier,
        PasswordWish::Make | PasswordWish::Keep => &order.made,
    };
    let registered = Event::SubscriberRegistered {
        subscriber: order.subscriber,
        username: Some(order.username.clone()),
        verifier: Some(verifier.clone()),
        owner: Some(paid.payer),
    };
    Ok([registered].into_iter().chain(bought).collect())
}

/// The offer that the payment is for.
fn sold<'a>(
    state: &'a State,
    now: Timestamp,
    paid: &Paid,
    offer: &OfferId,
) -> Result<&'a Offer, UnmatchedReason> {
    let offer = on_sale(state, now, offer)?;
    match offer.seller == paid.seller {
        true => Ok(offer),
        false => Err(UnmatchedReason::WrongSeller),
    }
}

fn for_known<'a>(
    state: &State,
    now: Timestamp,
    paid: &Paid,
    offer: &'a Offer,
    subscriber: SubscriberId,
) -> Result<Purchase<'a>, UnmatchedReason> {
    let account = state
        .subscriber(subscriber)
        .ok_or(UnmatchedReason::UnknownSubscriber)?;
    if account.suspended {
        return Err(UnmatchedReason::Suspended);
    }
    let funds = account
        .credit
        .checked_add(paid.amount)
        .ok_or(UnmatchedReason::TooMuch)?;
    let key = LeaseKey {
        subscriber,
        filter: offer.filter.clone(),
        access: offer.access,
    };
    let running_until = state
        .lease(&key)
        .map(|it| it.until)
        .filter(|until| now < *until);
    Ok(Purchase {
        subscriber,
        offer,
        funds,
        running_until,
    })
}

fn on_sale<'a>(
    state: &'a State,
    now: Timestamp,
    id: &OfferId,
) -> Result<&'a Offer, UnmatchedReason> {
    match state.offer(id) {
        Some(offer) if now < offer.valid_until => Ok(offer),
        Some(_) => Err(UnmatchedReason::OfferEnded),
        None if state.was_offered(id) => Err(UnmatchedReason::OfferEnded),
        None => Err(UnmatchedReason::UnknownOffer),
    }
}

/// Books a payment: what is on account and what was paid buy time together; a lease that runs
/// is extended from its end, another one begins now.
fn apply(now: Timestamp, payment: PaymentId, purchase: Purchase<'_>) -> Vec<Event> {
    let Purchase {
        subscriber,
        offer,
        funds,
        running_until,
    } = purchase;
    let from = running_until.unwrap_or(now);
    let bought = offer.tariff.buy(funds, Timestamp::LAST.millis_since(from));
    let mut events = vec![Event::PaymentApplied {
        payment,
        subscriber,
        offer: offer.id.clone(),
        spent: bought.spent,
        credit: bought.left,
    }];
    if bought.millis == 0 {
        return events;
    }
    let (filter, access, tariff) = (offer.filter.clone(), offer.access, offer.tariff);
    let (until, offer) = (from.plus_millis(bought.millis), offer.id.clone());
    events.push(if running_until.is_some() {
        Event::LeaseExtended {
            subscriber,
            filter,
            access,
            from,
            until,
            offer,
            tariff,
            payment,
        }
    } else {
        Event::LeaseGranted {
            subscriber,
            filter,
            access,
            from,
            until,
            offer,
            tariff,
            payment,
        }
    });
    events
}
