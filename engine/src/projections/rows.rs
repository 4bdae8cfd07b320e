//! The rows that events change, and how they stand in the tables.

use super::VERSION;
use crate::event_log::rows::{Kind, Row, Rows, Table, Write};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use tanglegate_core::{
    AccessRow, Address, Change, CursorRow, LeaseKey, OfferId, OfferRow, PaymentId, PaymentRow,
    PaymentState, Position, RuleId, SubscriberId, SubscriberRow, Timestamp,
};

static ACCESS: Table = Table {
    name: "projection.access",
    columns: &[
        ("holder", Kind::Text),
        ("filter", Kind::Text),
        ("access", Kind::Text),
        ("source", Kind::Text),
        ("starts_at", Kind::Instant),
        ("ends_at", Kind::Instant),
        ("position", Kind::BigInt),
    ],
    write: Write::Upsert {
        key: "holder, filter, access, source",
        replaced: &["starts_at", "ends_at", "position"],
    },
    secret: false,
};

static RULE_GONE: Table = Table {
    name: "projection.access",
    columns: &[("source", Kind::Text)],
    write: Write::Delete,
    secret: false,
};

static SUBSCRIBER: Table = Table {
    name: "projection.subscriber",
    columns: &[
        ("subscriber", Kind::Text),
        ("username", Kind::Text),
        ("suspended", Kind::Bool),
        ("erased", Kind::Bool),
        ("credit", Kind::Numeric),
        ("owner", Kind::Text),
        ("position", Kind::BigInt),
    ],
    write: Write::Upsert {
        key: "subscriber",
        replaced: &[
            "username",
            "suspended",
            "erased",
            "credit",
            "owner",
            "position",
        ],
    },
    secret: false,
};

const PAYMENT_COLUMNS: &[(&str, Kind)] = &[
    ("digest", Kind::Text),
    ("index", Kind::Int),
    ("seller", Kind::Text),
    ("payer", Kind::Text),
    ("amount", Kind::Numeric),
    ("checkpoint", Kind::Numeric),
    ("confirmed_at", Kind::Instant),
    ("recorded_at", Kind::Instant),
    ("state", Kind::Text),
    ("reason", Kind::Text),
    ("subscriber", Kind::Text),
    ("offer", Kind::Text),
    ("spent", Kind::Numeric),
    ("credit", Kind::Numeric),
    ("position", Kind::BigInt),
];

/// Payments that were confirmed before.
static PAYMENT: Table = Table {
    name: "projection.payment",
    columns: PAYMENT_COLUMNS,
    write: Write::Upsert {
        key: "digest, index",
        replaced: &[
            "state",
            "reason",
            "subscriber",
            "offer",
            "spent",
            "credit",
            "position",
        ],
    },
    secret: false,
};

/// Payments that these events confirm. A payment is confirmed once.
static NEW_PAYMENT: Table = Table {
    name: "projection.payment",
    columns: PAYMENT_COLUMNS,
    write: Write::Insert,
    secret: false,
};

static OFFER: Table = Table {
    name: "projection.offer",
    columns: &[
        ("offer", Kind::Text),
        ("seller", Kind::Text),
        ("filter", Kind::Text),
        ("access", Kind::Text),
        ("price", Kind::Numeric),
        ("period_ms", Kind::Numeric),
        ("least", Kind::Numeric),
        ("ends_at", Kind::Instant),
        ("withdrawn", Kind::Bool),
        ("position", Kind::BigInt),
    ],
    write: Write::Upsert {
        key: "offer",
        replaced: &[
            "seller",
            "filter",
            "access",
            "price",
            "period_ms",
            "least",
            "ends_at",
            "withdrawn",
            "position",
        ],
    },
    secret: false,
};

static LEDGER_CURSOR: Table = Table {
    name: "projection.ledger_cursor",
    columns: &[
        ("chain", Kind::Text),
        ("seller", Kind::Text),
        ("checkpoint", Kind::Numeric),
        ("position", Kind::BigInt),
    ],
    write: Write::Upsert {
        key: "chain, seller",
        replaced: &["checkpoint", "position"],
    },
    secret: false,
};

static CURSOR: Table = Table {
    name: "projection.cursor",
    columns: &[
        ("name", Kind::Text),
        ("version", Kind::Int),
        ("position", Kind::BigInt),
    ],
    write: Write::Upsert {
        key: "name",
        replaced: &["version", "position"],
    },
    secret: false,
};

/// Every table, in the order in which they are compared.
pub(super) const TABLES: [&Table; 6] = [
    &ACCESS,
    &LEDGER_CURSOR,
    &OFFER,
    &PAYMENT,
    &SUBSCRIBER,
    &CURSOR,
];

/// The rows that a run of events changed: of each key only the last. They are given out in the
/// order of the keys.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    leases: HashMap<LeaseKey, AccessRow>,
    /// `None`: removed.
    rules: BTreeMap<RuleId, Option<AccessRow>>,
    subscribers: HashMap<SubscriberId, SubscriberRow>,
    /// Payments that these events confirm, until they are applied.
    new_payments: BTreeMap<PaymentId, PaymentRow>,
    /// Those that they confirm and apply, in the order of the log: they change no more.
    applied: Vec<PaymentRow>,
    /// Those that were confirmed before.
    payments: BTreeMap<PaymentId, PaymentRow>,
    offers: BTreeMap<OfferId, OfferRow>,
    cursors: BTreeMap<Address, CursorRow>,
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
            Change::Payment(row) => self.add_payment(row),
            Change::Offer(row) => drop(self.offers.insert(row.offer.clone(), row)),
            Change::Cursor(row) => drop(self.cursors.insert(row.seller, row)),
        }
    }

    fn add_payment(&mut self, row: PaymentRow) {
        if row.state == PaymentState::Confirmed {
            self.new_payments.insert(row.payment, row);
        } else if let Entry::Occupied(mut new) = self.new_payments.entry(row.payment) {
            if is_applied(&row) {
                new.remove();
                self.applied.push(row);
            } else {
                new.insert(row);
            }
        } else {
            self.payments.insert(row.payment, row);
        }
    }

    pub(crate) fn extend(&mut self, changes: impl IntoIterator<Item = Change>) {
        changes.into_iter().for_each(|it| self.add(it));
    }

    /// Payments of before: those that wait, and those that were applied.
    pub(crate) fn add_payments(&mut self, waiting: Vec<PaymentRow>, applied: Vec<PaymentRow>) {
        let waiting = waiting.into_iter().map(|it| (it.payment, it));
        self.new_payments.extend(waiting);
        if self.applied.is_empty() {
            self.applied = applied;
        } else {
            self.applied.extend(applied);
        }
    }

    /// Takes out the payments that were applied: nothing changes them any more.
    pub(crate) fn take_applied(&mut self) -> Vec<PaymentRow> {
        let mut applied = std::mem::take(&mut self.applied);
        let later = self.payments.extract_if(.., |_, it| is_applied(it));
        applied.extend(later.map(|(_, row)| row));
        applied
    }

    /// Every row as it stands, and none that is gone.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Change> {
        let rules = self.rules.iter();
        let rules = rules.filter_map(|(id, row)| Some(Change::Rule(*id, row.clone()?)));
        let leases = self.leases().cloned().map(Change::Lease);
        let subscribers = self.subscribers().cloned().map(Change::Subscriber);
        let payments = self.payments().cloned().map(Change::Payment);
        let offers = self.offers.values().cloned().map(Change::Offer);
        let cursors = self.cursors.values().cloned().map(Change::Cursor);
        let rows = offers.chain(rules).chain(subscribers);
        rows.chain(leases).chain(payments).chain(cursors)
    }

    /// Rights with where they come from: leases first.
    pub(crate) fn rights(&self) -> impl Iterator<Item = (String, &AccessRow)> {
        let leases = self.leases().map(|it| ("lease".to_owned(), it));
        let rules = self.rules.iter();
        leases.chain(rules.filter_map(|(id, row)| Some((format!("rule {id}"), row.as_ref()?))))
    }

    /// Logins, in the order of their identities.
    pub(crate) fn subscribers(&self) -> impl Iterator<Item = &SubscriberRow> {
        in_order(self.subscribers.iter())
    }

    /// One of them.
    pub(crate) fn subscriber(&self, id: SubscriberId) -> Option<&SubscriberRow> {
        self.subscribers.get(&id)
    }

    fn leases(&self) -> impl Iterator<Item = &AccessRow> {
        in_order(self.leases.iter())
    }

    /// Payments; those that waited longest last.
    pub(crate) fn payments(&self) -> impl Iterator<Item = &PaymentRow> {
        self.new_payments().chain(self.payments.values())
    }

    fn new_payments(&self) -> impl Iterator<Item = &PaymentRow> {
        let all = self.new_payments.values().chain(&self.applied);
        in_order(all.map(|it| (&it.payment, it)))
    }

    /// Offers, by name.
    pub(crate) fn offers(&self) -> impl Iterator<Item = &OfferRow> {
        self.offers.values()
    }

    /// The rows of every table, as of `up_to`.
    pub(crate) fn to_rows(&self, up_to: Position) -> Vec<Rows> {
        let rule = |(id, row): (&RuleId, &Option<AccessRow>), rows: &mut Rows| {
            if let Some(row) = row {
                access(row, format_args!("rule/{id}"), rows);
            }
        };
        let mut rights = Rows::new(&ACCESS);
        self.leases()
            .for_each(|it| access(it, "lease", &mut rights));
        self.rules.iter().for_each(|it| rule(it, &mut rights));
        let mut gone = Rows::new(&RULE_GONE);
        for (id, _) in self.rules.iter().filter(|(_, row)| row.is_none()) {
            gone.row().display(format_args!("rule/{id}"));
        }
        let mut cursor = Rows::new(&CURSOR);
        let mut row = cursor.row();
        row.text("access");
        row.int(VERSION);
        row.big(up_to.0);
        vec![
            gone,
            rights,
            filled(&SUBSCRIBER, self.subscribers(), subscriber),
            filled(&PAYMENT, self.payments.values(), payment),
            filled(&NEW_PAYMENT, self.new_payments(), payment),
            filled(&OFFER, self.offers.values(), offer),
            filled(&LEDGER_CURSOR, self.cursors.values(), ledger_cursor),
            cursor,
        ]
    }
}

/// The values in the order of their keys. No key comes twice.
fn in_order<'a, K: Ord + 'a, V: 'a>(
    all: impl Iterator<Item = (&'a K, &'a V)>,
) -> impl Iterator<Item = &'a V> {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable_by(|one, other| one.0.cmp(other.0));
    all.into_iter().map(|it| it.1)
}

fn is_applied(row: &PaymentRow) -> bool {
    matches!(row.state, PaymentState::Applied { .. })
}

fn filled<'a, T: 'a>(
    table: &'static Table,
    all: impl Iterator<Item = &'a T>,
    put: fn(&T, &mut Row<'_>),
) -> Rows {
    let mut rows = Rows::new(table);
    all.for_each(|it| put(it, &mut rows.row()));
    rows
}

fn access(row: &AccessRow, source: impl fmt::Display, rows: &mut Rows) {
    let mut fields = rows.row();
    match row.holder {
        Some(subscriber) => hex(&mut fields, "", &subscriber.0),
        None => fields.text("everyone"),
    }
    fields.text(row.filter.as_str());
    fields.text(row.access.as_str());
    fields.display(source);
    fields.instant(row.from);
    fields.optional(end(row.until), Row::instant);
    fields.big(row.position.0);
}

fn subscriber(row: &SubscriberRow, fields: &mut Row<'_>) {
    hex(fields, "", &row.subscriber.0);
    fields.optional(row.username.as_ref(), |fields, it| {
        fields.text(it.as_str());
    });
    fields.bool(row.suspended);
    fields.bool(row.erased);
    fields.numeric(row.credit.0);
    fields.optional(row.owner, |fields, it| hex(fields, "0x", &it.0));
    fields.big(row.position.0);
}

fn payment(row: &PaymentRow, fields: &mut Row<'_>) {
    fields.display(row.payment.digest);
    fields.int(i32::from(row.payment.index));
    hex(fields, "0x", &row.seller.0);
    hex(fields, "0x", &row.payer.0);
    fields.numeric(row.amount.0);
    fields.numeric(row.checkpoint);
    fields.instant(row.confirmed_at);
    fields.instant(row.recorded_at);
    let (state, reason, applied) = match &row.state {
        PaymentState::Confirmed => ("confirmed", None, None),
        PaymentState::Applied {
            subscriber,
            offer,
            spent,
            credit,
        } => ("applied", None, Some((subscriber, offer, spent, credit))),
        PaymentState::Unmatched(reason) => ("unmatched", Some(reason.as_str()), None),
    };
    fields.text(state);
    fields.optional(reason, Row::text);
    fields.optional(applied, |fields, it| hex(fields, "", &it.0.0));
    fields.optional(applied, |fields, it| fields.text(it.1.as_str()));
    fields.optional(applied, |fields, it| fields.numeric(it.2.0));
    fields.optional(applied, |fields, it| fields.numeric(it.3.0));
    fields.big(row.position.0);
}

fn offer(row: &OfferRow, fields: &mut Row<'_>) {
    fields.text(row.offer.as_str());
    hex(fields, "0x", &row.seller.0);
    fields.text(row.filter.as_str());
    fields.text(row.access.as_str());
    fields.numeric(row.tariff.price().0);
    fields.numeric(row.tariff.period_ms());
    fields.numeric(row.tariff.least().0);
    fields.optional(end(row.valid_until), Row::instant);
    fields.bool(row.withdrawn);
    fields.big(row.position.0);
}

fn ledger_cursor(row: &CursorRow, fields: &mut Row<'_>) {
    fields.text(&row.chain.0);
    hex(fields, "0x", &row.seller.0);
    fields.numeric(row.checkpoint);
    fields.big(row.position.0);
}

/// An identity as it displays, without the cost of formatting.
fn hex(fields: &mut Row<'_>, prefix: &str, identity: &[u8]) {
    let mut text = [0; 2 + 64];
    let length = prefix.len() + 2 * identity.len();
    text[..prefix.len()].copy_from_slice(prefix.as_bytes());
    hex::encode_to_slice(identity, &mut text[prefix.len()..length])
        .expect("identities have at most 32 bytes");
    fields.text(std::str::from_utf8(&text[..length]).expect("digits are ASCII"));
}

fn end(until: Timestamp) -> Option<Timestamp> {
    (until < Timestamp::FOREVER).then_some(until)
}
