//! The tables as of a moment, for people and programs.

use super::fold::Folded;
use serde::Serialize;
use tanglegate_core::{AccessRow, PaymentState, Timestamp};

/// A right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RightThen {
    /// Whose: an opaque identity, or `everyone`.
    pub who: String,
    /// Where.
    pub filter: String,
    /// What it allowed.
    pub access: String,
    /// A lease, or which rule.
    pub source: String,
    /// From when on.
    pub from: String,
    /// Exclusive end; `None`: none.
    pub until: Option<String>,
    /// True when it was in force at that instant.
    pub in_force: bool,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubscriberThen {
    /// Its opaque identity.
    pub subscriber: String,
    /// Whether it was closed.
    pub suspended: bool,
    /// Whether it was erased.
    pub erased: bool,
    /// NANOS on account.
    pub credit: u64,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentThen {
    /// Digest and index.
    pub payment: String,
    /// NANOS.
    pub amount: u64,
    /// `confirmed`, `applied` or `unmatched`.
    pub state: &'static str,
    /// For whom it was booked, or why not.
    pub detail: Option<String>,
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfferThen {
    /// Its name.
    pub offer: String,
    /// Where.
    pub filter: String,
    /// NANOS per period.
    pub price: u64,
    /// The period in milliseconds.
    pub period_ms: u64,
    /// Whether it was on sale.
    pub on_sale: bool,
}

/// Everything as of a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateThen {
    /// The last event.
    pub position: u64,
    /// The instant.
    pub at: String,
    /// Rights, running and ended.
    pub access: Vec<RightThen>,
    /// Logins.
    pub subscribers: Vec<SubscriberThen>,
    /// Payments.
    pub payments: Vec<PaymentThen>,
    /// Offers.
    pub offers: Vec<OfferThen>,
}

impl Folded {
    /// What it says about the instant `at`.
    #[must_use]
    pub fn state(&self, at: Timestamp) -> StateThen {
        StateThen {
            position: self.position.0,
            at: at.to_string(),
            access: self.access(at),
            subscribers: self.subscribers(),
            payments: self.payments(),
            offers: self.offers(at),
        }
    }

    /// Rights, running and ended.
    #[must_use]
    pub fn access(&self, at: Timestamp) -> Vec<RightThen> {
        let rows = &self.changes;
        let suspended = |row: &AccessRow| {
            let known = row.holder.and_then(|it| rows.subscriber(it));
            known.is_some_and(|it| it.suspended || it.erased)
        };
        let access = rows.rights().map(|(source, row)| RightThen {
            who: row
                .holder
                .map_or_else(|| "everyone".to_owned(), |it| it.to_string()),
            filter: row.filter.to_string(),
            access: row.access.to_string(),
            source,
            from: row.from.to_string(),
            until: Some(row.until)
                .filter(|it| *it <= Timestamp::LAST)
                .map(|it| it.to_string()),
            in_force: row.from <= at && at < row.until && !suspended(row),
        });
        access.collect()
    }

    /// Logins.
    #[must_use]
    pub fn subscribers(&self) -> Vec<SubscriberThen> {
        let rows = self.changes.subscribers();
        let subscribers = rows.map(|row| SubscriberThen {
            subscriber: row.subscriber.to_string(),
            suspended: row.suspended,
            erased: row.erased,
            credit: row.credit.0,
        });
        subscribers.collect()
    }

    /// Payments.
    #[must_use]
    pub fn payments(&self) -> Vec<PaymentThen> {
        let rows = self.changes.payments();
        let payments = rows.map(|row| {
            let (state, detail) = match &row.state {
                PaymentState::Confirmed => ("confirmed", None),
                PaymentState::Applied { subscriber, .. } => {
                    ("applied", Some(subscriber.to_string()))
                }
                PaymentState::Unmatched(reason) => ("unmatched", Some(reason.to_string())),
            };
            PaymentThen {
                payment: row.payment.to_string(),
                amount: row.amount.0,
                state,
                detail,
            }
        });
        payments.collect()
    }

    /// Offers.
    #[must_use]
    pub fn offers(&self, at: Timestamp) -> Vec<OfferThen> {
        let rows = self.changes.offers();
        let offers = rows.map(|row| OfferThen {
            offer: row.offer.to_string(),
            filter: row.filter.to_string(),
            price: row.tariff.price().0,
            period_ms: row.tariff.period_ms(),
            on_sale: !row.withdrawn && at < row.valid_until,
        });
        offers.collect()
    }
}
