//! The projected rows: the last change of each key is the row.

use crate::broken::{ensure, ensure_same};
use crate::{Book, Broken};
use std::collections::{BTreeMap, BTreeSet};
use tanglegate_core::{
    AccessRow, Address, Audience, Change, CursorRow, Lease, LeaseKey, Nanos, OfferId, OfferRow,
    PaymentId, PaymentRow, PaymentState, RuleId, SubscriberId, SubscriberRow, Timestamp,
};

/// The tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tables {
    /// Rights that were bought.
    pub leases: BTreeMap<LeaseKey, AccessRow>,
    /// Rights that were given.
    pub rules: BTreeMap<RuleId, AccessRow>,
    /// Logins with their accounts.
    pub subscribers: BTreeMap<SubscriberId, SubscriberRow>,
    /// Every payment.
    pub payments: BTreeMap<PaymentId, PaymentRow>,
    /// Every offer.
    pub offers: BTreeMap<OfferId, OfferRow>,
    /// How far the ledger is recorded.
    pub cursors: BTreeMap<Address, CursorRow>,
}

impl Tables {
    /// Writes a row, or removes it.
    ///
    /// # Errors
    /// When the row is of nobody though its kind belongs to somebody.
    pub fn write(&mut self, change: Change) -> Result<(), Broken> {
        match change {
            Change::Lease(row) => {
                let Some(subscriber) = row.holder else {
                    return Err(Broken(format!("a lease of nobody: {row:?}")));
                };
                let (filter, access) = (row.filter.clone(), row.access);
                let key = LeaseKey {
                    subscriber,
                    filter,
                    access,
                };
                self.leases.insert(key, row);
            }
            Change::Rule(id, row) => drop(self.rules.insert(id, row)),
            Change::RuleGone(id) => drop(self.rules.remove(&id)),
            Change::Subscriber(row) => drop(self.subscribers.insert(row.subscriber, row)),
            Change::Payment(row) => drop(self.payments.insert(row.payment, row)),
            Change::Offer(row) => drop(self.offers.insert(row.offer.clone(), row)),
            Change::Cursor(row) => drop(self.cursors.insert(row.seller, row)),
        }
        Ok(())
    }

    /// Every right in force or ended, with its holder.
    pub fn access(&self) -> impl Iterator<Item = &AccessRow> {
        self.leases.values().chain(self.rules.values())
    }

    /// True when somebody may be connected under that login.
    #[must_use]
    pub fn is_open(&self, subscriber: SubscriberId) -> bool {
        let row = self.subscribers.get(&subscriber);
        row.is_some_and(|it| !it.suspended && !it.erased)
    }

    /// Looks whether the rows say what `book` says, and whether the money in them adds up.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self, book: &Book) -> Result<(), Broken> {
        self.check_rights(book)?;
        self.check_offers(book)?;
        self.check_accounts(book)?;
        self.check_money()?;
        let rows = self.cursors.iter();
        let cursors: Vec<_> = rows
            .map(|(seller, it)| (it.chain.clone(), *seller, it.checkpoint))
            .collect();
        let known = book.checkpoints.iter();
        let expected: Vec<_> = known
            .filter_map(|(seller, it)| Some((book.chain.clone()?, *seller, *it)))
            .collect();
        ensure_same!(cursors, expected, "the ledger's cursors in the tables");
        Ok(())
    }

    fn check_rights(&self, book: &Book) -> Result<(), Broken> {
        let leases = self.leases.iter().map(|(key, row)| {
            let lease = Lease {
                from: row.from,
                until: row.until,
            };
            (key.clone(), lease)
        });
        let leases: BTreeMap<_, _> = leases.collect();
        ensure_same!(leases, book.leases, "the leases in the tables");
        let rules = self.rules.iter().map(|(id, row)| {
            let audience = row.holder.map_or(Audience::Everyone, Audience::Subscriber);
            (*id, (audience, row.filter.clone(), row.access, row.until))
        });
        let rules: BTreeMap<_, _> = rules.collect();
        let given = book.rules.iter().map(|(id, it)| {
            let right = (
                it.audience,
                it.filter.clone(),
                it.access,
                Timestamp::FOREVER,
            );
            (*id, right)
        });
        let given: BTreeMap<_, _> = given.collect();
        ensure_same!(rules, given, "the rules in the tables");
        Ok(())
    }

    fn check_offers(&self, book: &Book) -> Result<(), Broken> {
        let all: BTreeSet<_> = self.offers.keys().cloned().collect();
        ensure_same!(all, book.offered, "the offers in the tables");
        for (id, row) in &self.offers {
            let sold = book.offers.get(id);
            ensure_same!(row.withdrawn, sold.is_none(), "offer {id} is withdrawn");
            let Some(offer) = sold else { continue };
            let terms = (
                row.seller,
                &row.filter,
                row.access,
                row.tariff,
                row.valid_until,
            );
            let expected = (
                offer.seller,
                &offer.filter,
                offer.access,
                offer.tariff,
                offer.valid_until,
            );
            ensure_same!(terms, expected, "the terms of {id} in the tables");
        }
        Ok(())
    }

    fn check_accounts(&self, book: &Book) -> Result<(), Broken> {
        ensure_same!(
            self.subscribers.len(),
            book.subscribers.len(),
            "the number of subscribers in the tables"
        );
        for (id, row) in &self.subscribers {
            let known = book.subscribers.get(id);
            let shown = (&row.username, row.suspended, row.erased, row.credit);
            let expected = known.map(|it| (&it.username, it.suspended, it.erased, it.credit));
            ensure_same!(Some(shown), expected, "subscriber {id} in the tables");
        }
        Ok(())
    }

    /// Invariant: of each subscriber, what was paid is what was spent and what is on account.
    fn check_money(&self) -> Result<(), Broken> {
        let mut accounts: BTreeMap<SubscriberId, (u128, u128)> = BTreeMap::new();
        for row in self.payments.values() {
            ensure!(
                row.state != PaymentState::Confirmed,
                "payment {} is neither applied nor unmatched",
                row.payment
            );
            if let PaymentState::Applied {
                subscriber, spent, ..
            } = &row.state
            {
                let account = accounts.entry(*subscriber).or_default();
                account.0 += u128::from(row.amount.0);
                account.1 += u128::from(spent.0);
            }
        }
        for (id, row) in &self.subscribers {
            let (paid, spent) = accounts.remove(id).unwrap_or_default();
            let Nanos(credit) = row.credit;
            ensure_same!(
                spent + u128::from(credit),
                paid,
                "spent and credit of subscriber {id} make up what was paid"
            );
        }
        ensure!(
            accounts.is_empty(),
            "money was booked for nobody: {accounts:?}"
        );
        Ok(())
    }
}
