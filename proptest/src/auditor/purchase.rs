//! What the log may say of a payment.

use super::Auditor;
use crate::Broken;
use crate::broken::{ensure, ensure_same};
use tanglegate_core::{
    Confirmation, Event, Lease, LeaseKey, MemoReading, Nanos, Offer, OfferId, PaymentId,
    PaymentRow, PaymentState, Subscriber, SubscriberId, Tariff, Timestamp, UnmatchedReason,
};

/// A lease, as an event tells it.
struct Told<'a> {
    anew: bool,
    key: LeaseKey,
    from: Timestamp,
    until: Timestamp,
    offer: &'a OfferId,
    tariff: Tariff,
    payment: PaymentId,
}

impl<'a> Told<'a> {
    fn by(event: &'a Event) -> Result<Self, Broken> {
        match event {
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
            | Event::LeaseExtended {
                subscriber,
                filter,
                access,
                from,
                until,
                offer,
                tariff,
                payment,
            } => Ok(Self {
                anew: matches!(event, Event::LeaseGranted { .. }),
                key: LeaseKey {
                    subscriber: *subscriber,
                    filter: filter.clone(),
                    access: *access,
                },
                from: *from,
                until: *until,
                offer,
                tariff: *tariff,
                payment: *payment,
            }),
            other => Err(Broken(format!("no lease follows a payment: {other:?}"))),
        }
    }
}

impl Auditor {
    pub(super) fn payment(
        &mut self,
        paid: &Confirmation,
        events: &[&Event],
        now: Timestamp,
    ) -> Result<(), Broken> {
        let payment = paid.payment;
        let [Event::PaymentConfirmed { confirmation }, booked, lease @ ..] = events else {
            return Err(Broken(format!("{payment} is not booked: {events:?}")));
        };
        ensure_same!(confirmation, paid, "what is recorded of {payment}");
        let on_ledger = self.ledger.get(&payment);
        ensure_same!(on_ledger, Some(paid), "{payment} on the ledger");
        let twice = self.payments.get(&payment);
        ensure!(twice.is_none(), "{payment} is recorded twice");
        if paid.checkpoint > self.book.checkpoint(paid.seller) {
            self.book.checkpoints.insert(paid.seller, paid.checkpoint);
        }
        match booked {
            Event::PaymentUnmatched {
                payment: it,
                reason,
            } => {
                ensure_same!(*it, payment, "which payment is unmatched");
                ensure!(lease.is_empty(), "an unmatched payment bought {lease:?}");
                self.unmatched(paid, *reason, now)
            }
            Event::PaymentApplied {
                payment: it,
                subscriber,
                offer,
                spent,
                credit,
            } => {
                ensure_same!(*it, payment, "which payment is applied");
                let (sold, funds) = self.book_money(paid, *subscriber, *spent, *credit, now)?;
                ensure_same!(*offer, sold.id, "the offer in the memo");
                match lease {
                    [] => self.bought_nothing(*subscriber, &sold, funds, *spent, now),
                    [lease] => {
                        let told = Told::by(lease)?;
                        ensure_same!(told.payment, payment, "what the lease was paid with");
                        self.bought(*subscriber, &sold, funds, *spent, &told, now)
                    }
                    more => Err(Broken(format!("{payment} bought twice: {more:?}"))),
                }
            }
            other => Err(Broken(format!("{payment} is not booked: {other:?}"))),
        }
    }

    /// The money waits, whole, and the reason is true.
    fn unmatched(
        &mut self,
        paid: &Confirmation,
        reason: UnmatchedReason,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let truth = self.match_up(paid, now).map(|_| "a purchase");
        ensure_same!(truth, Err(reason), "why {} is unmatched", paid.payment);
        self.payments.insert(paid.payment, None);
        let row = PaymentRow {
            payment: paid.payment,
            seller: paid.seller,
            payer: paid.payer,
            amount: paid.amount,
            checkpoint: paid.checkpoint,
            confirmed_at: paid.confirmed_at,
            recorded_at: now,
            state: PaymentState::Unmatched(reason),
            position: self.book.position,
        };
        self.book.waiting.insert(paid.payment, row);
        Ok(())
    }

    /// Whether a payment buys, of what and for whom; or the first thing that is wrong with it.
    fn match_up(
        &self,
        paid: &Confirmation,
        now: Timestamp,
    ) -> Result<(SubscriberId, &Offer, &Subscriber), UnmatchedReason> {
        let (offer, username) = match &paid.reading {
            MemoReading::Absent => return Err(UnmatchedReason::NoMemo),
            MemoReading::Unreadable => return Err(UnmatchedReason::UnreadableMemo),
            MemoReading::Sealed => return Err(UnmatchedReason::DoesNotOpen),
            MemoReading::Refused(reason) => return Err(*reason),
            MemoReading::Purchase { offer, username } => (offer, username),
            // The worlds' buyers have logins before they pay.
            MemoReading::Order(order) => (&order.offer, &order.username),
        };
        if !self.book.offered.contains(offer) {
            return Err(UnmatchedReason::UnknownOffer);
        }
        let sold = self.book.offers.get(offer);
        let sold = sold
            .filter(|it| now < it.valid_until)
            .ok_or(UnmatchedReason::OfferEnded)?;
        if sold.seller != paid.seller {
            return Err(UnmatchedReason::WrongSeller);
        }
        let subscriber = self.book.usernames.get(username);
        let subscriber = *subscriber.ok_or(UnmatchedReason::UnknownSubscriber)?;
        let account = &self.book.subscribers[&subscriber];
        if account.suspended {
            return Err(UnmatchedReason::Suspended);
        }
        if u128::from(account.credit.0) + u128::from(paid.amount.0) > u128::from(u64::MAX) {
            return Err(UnmatchedReason::TooMuch);
        }
        Ok((subscriber, sold, account))
    }

    /// Invariant: paid = spent + credit, per subscriber, to the NANO. Returns the offer and what
    /// there was to spend.
    fn book_money(
        &mut self,
        paid: &Confirmation,
        booked_for: SubscriberId,
        spent: Nanos,
        credit: Nanos,
        now: Timestamp,
    ) -> Result<(Offer, Nanos), Broken> {
        let (subscriber, sold, account) = self
            .match_up(paid, now)
            .map_err(|reason| Broken(format!("{} is applied although {reason}", paid.payment)))?;
        ensure_same!(
            booked_for,
            subscriber,
            "for whom {} is booked",
            paid.payment
        );
        let funds = Nanos(account.credit.0 + paid.amount.0);
        let sold = sold.clone();
        let sums = self.accounts.entry(subscriber).or_default();
        sums.0 += u128::from(paid.amount.0);
        sums.1 += u128::from(spent.0);
        ensure_same!(
            sums.1 + u128::from(credit.0),
            sums.0,
            "spent and on account of {subscriber} make up what he paid"
        );
        if let Some(known) = self.book.subscribers.get_mut(&subscriber) {
            known.credit = credit;
        }
        self.payments.insert(paid.payment, Some(subscriber));
        self.close_stream(paid.payment);
        Ok((sold, funds))
    }

    /// Nothing may be bought only where nothing can be bought.
    fn bought_nothing(
        &self,
        subscriber: SubscriberId,
        sold: &Offer,
        funds: Nanos,
        spent: Nanos,
        now: Timestamp,
    ) -> Result<(), Broken> {
        ensure_same!(spent, Nanos::ZERO, "money spent on no time");
        let key = lease_key(subscriber, sold);
        let begin = self.book.running(&key, now).map_or(now, |it| it.until);
        let (price, period) = rate(&sold.tariff);
        let too_little = funds < sold.tariff.least() || u128::from(funds.0) * period < price;
        ensure!(
            too_little || begin >= Timestamp::LAST,
            "{funds} on account of {subscriber} bought nothing of {sold:?}"
        );
        Ok(())
    }

    /// The lease is the right one, begins when it should, and lasts as long as was paid for.
    fn bought(
        &mut self,
        subscriber: SubscriberId,
        sold: &Offer,
        funds: Nanos,
        spent: Nanos,
        told: &Told<'_>,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let key = lease_key(subscriber, sold);
        ensure_same!(told.key, key, "the right that was bought");
        ensure_same!(*told.offer, sold.id, "the offer of the lease");
        ensure_same!(told.tariff, sold.tariff, "the tariff of the lease");
        let running = self.book.running(&key, now);
        ensure_same!(
            told.anew,
            running.is_none(),
            "a lease that runs is extended"
        );
        let begin = running.map_or(now, |it| it.until);
        ensure_same!(told.from, begin, "from when on the time counts");
        ensure!(
            told.from < told.until && told.until <= Timestamp::LAST,
            "the lease ends {}, begun {}",
            told.until,
            told.from
        );
        check_price(told, funds, spent)?;
        let from = running.map_or(now, |it| it.from);
        let until = told.until;
        self.book.leases.insert(key, Lease { from, until });
        Ok(())
    }
}

/// Time costs what the tariff says, rounded up to the NANO, and is as much as the funds buy.
fn check_price(told: &Told<'_>, funds: Nanos, spent: Nanos) -> Result<(), Broken> {
    let millis = u128::from(told.until.0 - told.from.0);
    let (price, period) = rate(&told.tariff);
    let (cost, spent) = (millis * price, u128::from(spent.0));
    ensure!(funds >= told.tariff.least(), "{funds} are below the least");
    ensure!(
        cost <= spent * period,
        "{millis} ms for {spent} NANOS are a gift"
    );
    ensure!(
        (spent - 1) * period < cost,
        "{millis} ms for {spent} NANOS are too dear"
    );
    let next = (millis + 1) * price;
    ensure!(
        next > u128::from(funds.0) * period || told.until == Timestamp::LAST,
        "{funds} buy more than {millis} ms"
    );
    Ok(())
}

/// NANOS per period, and its milliseconds.
fn rate(tariff: &Tariff) -> (u128, u128) {
    (u128::from(tariff.price().0), u128::from(tariff.period_ms()))
}

fn lease_key(subscriber: SubscriberId, sold: &Offer) -> LeaseKey {
    LeaseKey {
        subscriber,
        filter: sold.filter.clone(),
        access: sold.access,
    }
}
