//! Every NANO that came in, and where it went.

use super::when::Moment;
use super::{Archive, When};
use crate::event_log::{EventLogError, Vault, decode};
use serde::Serialize;
use std::collections::BTreeMap;
use tanglegate_core::{Event, Nanos, PaymentId, SubscriberId, Timestamp};

/// The account of one subscriber, in NANOS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Payments that were booked for him.
    pub payments: u64,
    /// What they brought.
    pub paid: u128,
    /// What bought time.
    pub spent: u128,
    /// What is on account.
    pub credit: u64,
}

/// What came in and where it is, in NANOS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MoneyReport {
    /// The last event that was counted.
    pub position: u64,
    /// Payments that were confirmed.
    pub payments: u64,
    /// What they brought.
    pub came_in: u128,
    /// What bought time.
    pub spent: u128,
    /// What subscribers have on account.
    pub credit: u128,
    /// What waits to be claimed.
    pub unmatched: u128,
    /// How many payments that are.
    pub unmatched_payments: u64,
    /// What each offer sold.
    pub by_offer: BTreeMap<String, u128>,
    /// What each seller's address received.
    pub by_seller: BTreeMap<String, u128>,
    /// What each subscriber paid and has, by his opaque identity.
    pub by_subscriber: BTreeMap<String, Account>,
    /// True when what came in is what was spent, is on account, or waits: in all and for every
    /// subscriber.
    pub closes: bool,
}

/// Counts the money up to a moment, in one pass over the payments' events.
///
/// # Errors
/// When the log cannot be read, an event is missing, or a payment is not the one that was written.
pub async fn money(
    archive: &mut Archive,
    when: When,
    now: Timestamp,
) -> Result<MoneyReport, EventLogError> {
    let Moment { position, .. } = archive.moment(when, now).await?;
    let mut count = Count::default();
    let vault = Vault::default();
    let mut after = 0;
    let each = archive.log.read(1, position.0, |stored, leaf| {
        let found = stored.position;
        if found != after + 1 {
            return Err(EventLogError::Gap { after, found });
        }
        after = found;
        if !stored.kind.starts_with("payment_") {
            return Ok(());
        }
        let position = stored.position;
        if stored.leaf() != leaf {
            return Err(EventLogError::LeafDiffers { position });
        }
        let event = decode(stored.kind, stored.schema_version, stored.body, &vault);
        count.add(&event.map_err(|source| EventLogError::Body { position, source })?);
        Ok(())
    });
    each.await?;
    if after != position.0 {
        return Err(EventLogError::Missing {
            position: after + 1,
        });
    }
    Ok(count.close(position.0))
}

/// The count so far. Payments that are neither applied nor unmatched yet are the few between two
/// events of one command, and those that wait.
#[derive(Default)]
struct Count {
    report: MoneyReport,
    waiting: BTreeMap<PaymentId, Nanos>,
    accounts: BTreeMap<SubscriberId, Account>,
}

impl Count {
    fn add(&mut self, event: &Event) {
        match event {
            Event::PaymentConfirmed { confirmation } => {
                let amount = confirmation.amount;
                self.report.payments += 1;
                self.report.came_in += u128::from(amount.0);
                let seller = confirmation.seller.to_string();
                *self.report.by_seller.entry(seller).or_default() += u128::from(amount.0);
                self.waiting.insert(confirmation.payment, amount);
            }
            Event::PaymentApplied {
                payment,
                subscriber,
                offer,
                spent,
                credit,
            } => {
                let amount = self.waiting.remove(payment).unwrap_or_default();
                let account = self.accounts.entry(*subscriber).or_default();
                account.payments += 1;
                account.paid += u128::from(amount.0);
                account.spent += u128::from(spent.0);
                account.credit = credit.0;
                self.report.spent += u128::from(spent.0);
                let sold = self.report.by_offer.entry(offer.to_string()).or_default();
                *sold += u128::from(spent.0);
            }
            _ => {}
        }
    }

    fn close(self, position: u64) -> MoneyReport {
        let Self {
            mut report,
            waiting,
            accounts,
        } = self;
        report.position = position;
        report.unmatched_payments = waiting.len() as u64;
        report.unmatched = waiting.values().map(|it| u128::from(it.0)).sum();
        report.credit = accounts.values().map(|it| u128::from(it.credit)).sum();
        let each = |it: &Account| it.paid == it.spent + u128::from(it.credit);
        report.closes = report.came_in == report.spent + report.credit + report.unmatched
            && accounts.values().all(each);
        let accounts = accounts.into_iter();
        report.by_subscriber = accounts.map(|(id, it)| (id.to_string(), it)).collect();
        report
    }
}
