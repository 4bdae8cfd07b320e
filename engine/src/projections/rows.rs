//! Projection rows as `projection.apply` reads them: one JSON object with an array per table.

use serde::Serialize;
use std::collections::BTreeMap;
use tanglegate_core::{
    AccessRow, Change, CursorRow, LeaseKey, OfferId, OfferRow, PaymentId, PaymentRow, PaymentState,
    RuleId, SubscriberId, SubscriberRow, Timestamp,
};

/// The rows that a run of events changed: of each key only the last, in the order of the keys.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    leases: BTreeMap<LeaseKey, AccessRow>,
    /// `None`: removed.
    rules: BTreeMap<RuleId, Option<AccessRow>>,
    subscribers: BTreeMap<SubscriberId, SubscriberRow>,
    payments: BTreeMap<PaymentId, PaymentRow>,
    offers: BTreeMap<OfferId, OfferRow>,
    cursor: Option<CursorRow>,
}

impl Changes {
    pub(crate) fn add(&mut self, change: Change) {
        match change {
            Change::Lease(row) => {
                let subscriber = row.holder.expect("a lease is somebody's");
                let (filter, access) = (row.filter.clone(), row.access);
                self.leases.insert(
                    LeaseKey {
                        subscriber,
                        filter,
                        access,
                    },
                    row,
                );
            }
            Change::Rule(id, row) => drop(self.rules.insert(id, Some(row))),
            Change::RuleGone(id) => drop(self.rules.insert(id, None)),
            Change::Subscriber(row) => drop(self.subscribers.insert(row.subscriber, row)),
            Change::Payment(row) => drop(self.payments.insert(row.payment, row)),
            Change::Offer(row) => drop(self.offers.insert(row.offer.clone(), row)),
            Change::Cursor(row) => self.cursor = Some(row),
        }
    }

    pub(crate) fn extend(&mut self, changes: impl IntoIterator<Item = Change>) {
        changes.into_iter().for_each(|it| self.add(it));
    }

    pub(crate) fn to_json(&self) -> String {
        let payments = |it: &PaymentState| match it {
            PaymentState::Confirmed => "confirmed",
            PaymentState::Applied { .. } => "applied",
            PaymentState::Unmatched(_) => "unmatched",
        };
        let leases = self
            .leases
            .values()
            .map(|it| access(it, "lease".to_owned()));
        let given = self
            .rules
            .iter()
            .filter_map(|(id, it)| Some((id, it.as_ref()?)));
        let rules = given.map(|(id, it)| access(it, rule_source(id)));
        let gone = self.rules.iter().filter(|(_, it)| it.is_none());
        let json = Json {
            rules_gone: gone.map(|(id, _)| rule_source(id)).collect(),
            access: leases.chain(rules).collect(),
            subscriber: self.subscribers.values().map(subscriber).collect(),
            payment: self
                .payments
                .values()
                .map(|it| payment(it, payments(&it.state)))
                .collect(),
            offer: self.offers.values().map(offer).collect(),
            ledger_cursor: self.cursor.iter().map(ledger_cursor).collect(),
        };
        serde_json::to_string(&json).expect("rows of numbers and texts always serialise")
    }

    /// The same rows in parts of at most `most`, at least one part.
    pub(crate) fn into_chunks(self, most: usize) -> Vec<Self> {
        let mut chunks = vec![Self::default()];
        let mut filled = 0;
        let mut put = |change: Change| {
            if filled == most {
                chunks.push(Self::default());
                filled = 0;
            }
            filled += 1;
            chunks.last_mut().expect("never empty").add(change);
        };
        self.leases
            .into_values()
            .for_each(|it| put(Change::Lease(it)));
        for (id, row) in self.rules {
            put(row.map_or(Change::RuleGone(id), |it| Change::Rule(id, it)));
        }
        self.subscribers
            .into_values()
            .for_each(|it| put(Change::Subscriber(it)));
        self.payments
            .into_values()
            .for_each(|it| put(Change::Payment(it)));
        self.offers
            .into_values()
            .for_each(|it| put(Change::Offer(it)));
        self.cursor
            .into_iter()
            .for_each(|it| put(Change::Cursor(it)));
        chunks
    }
}

#[derive(Serialize)]
struct Json {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules_gone: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    access: Vec<Access>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriber: Vec<Subscriber>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    payment: Vec<Payment>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    offer: Vec<Offer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ledger_cursor: Vec<LedgerCursor>,
}

#[derive(Serialize)]
struct Access {
    holder: String,
    filter: String,
    access: &'static str,
    source: String,
    starts_at: u64,
    ends_at: Option<u64>,
    position: u64,
}

#[derive(Serialize)]
struct Subscriber {
    subscriber: String,
    username: String,
    suspended: bool,
    credit: u64,
    position: u64,
}

#[derive(Serialize)]
struct Payment {
    digest: String,
    index: u16,
    seller: String,
    payer: String,
    amount: u64,
    checkpoint: u64,
    confirmed_at: u64,
    recorded_at: u64,
    state: &'static str,
    reason: Option<&'static str>,
    subscriber: Option<String>,
    offer: Option<String>,
    spent: Option<u64>,
    credit: Option<u64>,
    position: u64,
}

#[derive(Serialize)]
struct Offer {
    offer: String,
    seller: String,
    filter: String,
    access: &'static str,
    price: u64,
    period_ms: u64,
    least: u64,
    ends_at: Option<u64>,
    withdrawn: bool,
    position: u64,
}

#[derive(Serialize)]
struct LedgerCursor {
    chain: String,
    checkpoint: u64,
    position: u64,
}

fn rule_source(id: &RuleId) -> String {
    format!("rule/{id}")
}

fn end(until: Timestamp) -> Option<u64> {
    (until < Timestamp::FOREVER).then_some(until.0)
}

fn access(row: &AccessRow, source: String) -> Access {
    Access {
        holder: row
            .holder
            .map_or_else(|| "everyone".to_owned(), |it| it.to_string()),
        filter: row.filter.to_string(),
        access: row.access.as_str(),
        source,
        starts_at: row.from.0,
        ends_at: end(row.until),
        position: row.position.0,
    }
}

fn subscriber(row: &SubscriberRow) -> Subscriber {
    Subscriber {
        subscriber: row.subscriber.to_string(),
        username: row.username.to_string(),
        suspended: row.suspended,
        credit: row.credit.0,
        position: row.position.0,
    }
}

fn payment(row: &PaymentRow, state: &'static str) -> Payment {
    let bare = Payment {
        digest: row.payment.digest.to_string(),
        index: row.payment.index,
        seller: row.seller.to_string(),
        payer: row.payer.to_string(),
        amount: row.amount.0,
        checkpoint: row.checkpoint,
        confirmed_at: row.confirmed_at.0,
        recorded_at: row.recorded_at.0,
        state,
        reason: None,
        subscriber: None,
        offer: None,
        spent: None,
        credit: None,
        position: row.position.0,
    };
    match &row.state {
        PaymentState::Confirmed => bare,
        PaymentState::Applied {
            subscriber,
            offer,
            spent,
            credit,
        } => Payment {
            subscriber: Some(subscriber.to_string()),
            offer: Some(offer.to_string()),
            spent: Some(spent.0),
            credit: Some(credit.0),
            ..bare
        },
        PaymentState::Unmatched(reason) => Payment {
            reason: Some(reason.as_str()),
            ..bare
        },
    }
}

fn offer(row: &OfferRow) -> Offer {
    Offer {
        offer: row.offer.to_string(),
        seller: row.seller.to_string(),
        filter: row.filter.to_string(),
        access: row.access.as_str(),
        price: row.tariff.price().0,
        period_ms: row.tariff.period_ms(),
        least: row.tariff.least().0,
        ends_at: end(row.valid_until),
        withdrawn: row.withdrawn,
        position: row.position.0,
    }
}

fn ledger_cursor(row: &CursorRow) -> LedgerCursor {
    LedgerCursor {
        chain: row.chain.to_string(),
        checkpoint: row.checkpoint,
        position: row.position.0,
    }
}
