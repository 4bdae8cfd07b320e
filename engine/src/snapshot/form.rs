//! The form of a snapshot: payments that were applied since the one before, and the state.
//!
//! Both are rows one after another; the state begins with what it knows besides them. No name of a
//! person has a place in it.

use super::bytes::{FormError, Reading, Writing};
use std::collections::BTreeMap;
use tanglegate_core::{
    Access, AccessRow, Address, ChainId, Change, CursorRow, Digest, Nanos, OfferRow, PaymentId,
    PaymentRow, PaymentState, Position, Remembered, RuleId, Stream, SubscriberId, SubscriberRow,
    Tariff, Timestamp, UnmatchedReason, VerifierKey,
};

/// Version of this form: another is not read. Raised when anything here changes its meaning.
const FORM: i32 = 1;

/// What a snapshot has to say to be read: the form, and the fold that made its rows.
pub(super) const VERSION: i32 = FORM * 1_000 + crate::projections::VERSION;

const LEASE: u64 = 1;
const RULE: u64 = 2;
const SUBSCRIBER: u64 = 3;
const PAYMENT: u64 = 4;
const OFFER: u64 = 5;
const CURSOR: u64 = 6;

const ACCESS: [Access; 3] = [Access::Read, Access::Write, Access::ReadWrite];

/// Writes what a state knows, and its rows.
pub(super) fn write_state(known: &Remembered, rows: impl Iterator<Item = Change>) -> Vec<u8> {
    let mut to = Writing::default();
    to.number(known.position.0);
    to.number(known.recorded_at.0);
    optional(&mut to, known.chain.as_ref().map(|it| it.0.as_bytes()));
    optional(&mut to, known.head_key.as_ref().map(|it| it.0.as_bytes()));
    to.number(known.checkpoints.len() as u64);
    for (seller, checkpoint) in &known.checkpoints {
        to.name(&seller.0);
        to.number(*checkpoint);
    }
    to.number(known.versions.len() as u64);
    for (stream, version) in &known.versions {
        write_stream(&mut to, stream);
        to.number(*version);
    }
    rows.for_each(|it| write_row(&mut to, &it));
    to.finish()
}

/// Reads what [`write_state`] wrote.
pub(super) fn read_state(bytes: &[u8]) -> Result<(Remembered, Vec<Change>), FormError> {
    let mut from = Reading::new(bytes);
    let mut known = Remembered {
        position: Position(from.number()?),
        recorded_at: Timestamp(from.number()?),
        chain: present(&mut from)?.map(|it| ChainId(it.into())),
        head_key: present(&mut from)?.map(|it| VerifierKey(it.into())),
        checkpoints: BTreeMap::new(),
        versions: Vec::new(),
    };
    for _ in 0..from.number()? {
        let seller = Address(from.bytes()?);
        known.checkpoints.insert(seller, from.number()?);
    }
    for _ in 0..from.number()? {
        known
            .versions
            .push((read_stream(&mut from)?, from.number()?));
    }
    let mut rows = Vec::new();
    while !from.is_over() {
        rows.push(read_row(&mut from)?);
    }
    Ok((known, rows))
}

/// Payments that were applied, as they come.
#[derive(Default)]
pub(super) struct Payments(Writing);

impl Payments {
    pub(super) fn add(&mut self, row: &PaymentRow) {
        write_payment(&mut self.0, row);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.finish()
    }
}

/// Reads what [`Payments`] wrote, and adds it.
pub(super) fn read_payments(bytes: &[u8], rows: &mut Vec<PaymentRow>) -> Result<(), FormError> {
    let mut from = Reading::new(bytes);
    while !from.is_over() {
        rows.push(read_payment(&mut from)?);
    }
    Ok(())
}

fn optional(to: &mut Writing, text: Option<&[u8]>) {
    to.number(u64::from(text.is_some()));
    if let Some(text) = text {
        to.name(text);
    }
}

fn present<'a>(from: &mut Reading<'a>) -> Result<Option<&'a str>, FormError> {
    Ok(if flag(from)? {
        Some(from.text()?)
    } else {
        None
    })
}

fn flag(from: &mut Reading<'_>) -> Result<bool, FormError> {
    match from.number()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FormError("a truth is neither 0 nor 1")),
    }
}

fn write_stream(to: &mut Writing, stream: &Stream) {
    match stream {
        Stream::Ledger => to.number(0),
        Stream::Log => to.number(1),
        Stream::Offer(offer) => {
            to.number(OFFER);
            to.name(offer.as_str().as_bytes());
        }
        Stream::Rule(rule) => {
            to.number(RULE);
            to.raw(&rule.0);
        }
        Stream::Subscriber(subscriber) => {
            to.number(SUBSCRIBER);
            to.name(&subscriber.0);
        }
        Stream::Payment(payment) => {
            to.number(PAYMENT);
            write_id(to, *payment);
        }
    }
}

fn read_stream(from: &mut Reading<'_>) -> Result<Stream, FormError> {
    Ok(match from.number()? {
        0 => Stream::Ledger,
        1 => Stream::Log,
        OFFER => Stream::Offer(from.offer()?),
        RULE => Stream::Rule(RuleId(from.raw()?)),
        SUBSCRIBER => Stream::Subscriber(SubscriberId(from.bytes()?)),
        PAYMENT => Stream::Payment(read_id(from)?),
        _ => return Err(FormError("a stream is of no known kind")),
    })
}

fn write_row(to: &mut Writing, row: &Change) {
    match row {
        Change::Lease(row) => {
            to.number(LEASE);
            write_right(to, row);
        }
        Change::Rule(rule, row) => {
            to.number(RULE);
            to.raw(&rule.0);
            write_right(to, row);
        }
        // Somebody who is gone leaves no row.
        Change::RuleGone(_) => {}
        Change::Subscriber(row) => {
            to.number(SUBSCRIBER);
            to.name(&row.subscriber.0);
            let flags = [row.suspended, row.erased, row.owner.is_some()];
            let flags = flags
                .iter()
                .rev()
                .fold(0, |sum, it| sum << 1 | u64::from(*it));
            to.number(flags);
            if let Some(owner) = &row.owner {
                to.name(&owner.0);
            }
            to.number(row.credit.0);
            to.number(row.position.0);
        }
        Change::Payment(row) => {
            to.number(PAYMENT);
            write_payment(to, row);
        }
        Change::Offer(row) => {
            to.number(OFFER);
            write_offer(to, row);
        }
        Change::Cursor(row) => {
            to.number(CURSOR);
            to.name(row.chain.0.as_bytes());
            to.name(&row.seller.0);
            to.number(row.checkpoint);
            to.number(row.position.0);
        }
    }
}

fn read_row(from: &mut Reading<'_>) -> Result<Change, FormError> {
    Ok(match from.number()? {
        LEASE => {
            let row = read_right(from)?;
            if row.holder.is_none() {
                return Err(FormError("a lease is nobody's"));
            }
            Change::Lease(row)
        }
        RULE => Change::Rule(RuleId(from.raw()?), read_right(from)?),
        SUBSCRIBER => {
            let (subscriber, flags) = (SubscriberId(from.bytes()?), from.number()?);
            if flags > 7 {
                return Err(FormError("a login is neither closed nor open"));
            }
            let owner = match flags & 4 {
                0 => None,
                _ => Some(Address(from.bytes()?)),
            };
            Change::Subscriber(SubscriberRow {
                subscriber,
                username: None,
                suspended: flags & 1 != 0,
                erased: flags & 2 != 0,
                owner,
                credit: Nanos(from.number()?),
                position: Position(from.number()?),
            })
        }
        PAYMENT => Change::Payment(read_payment(from)?),
        OFFER => Change::Offer(read_offer(from)?),
        CURSOR => Change::Cursor(CursorRow {
            chain: ChainId(from.text()?.into()),
            seller: Address(from.bytes()?),
            checkpoint: from.number()?,
            position: Position(from.number()?),
        }),
        _ => return Err(FormError("a row is of no known kind")),
    })
}

fn write_access(to: &mut Writing, access: Access) {
    let code = ACCESS.iter().position(|it| *it == access);
    to.number(code.expect("there are no others") as u64);
}

fn read_access(from: &mut Reading<'_>) -> Result<Access, FormError> {
    let code = usize::try_from(from.number()?).ok();
    let access = code.and_then(|it| ACCESS.get(it));
    access.copied().ok_or(FormError("an access is none"))
}

fn write_right(to: &mut Writing, row: &AccessRow) {
    match row.holder {
        None => to.number(0),
        Some(subscriber) => {
            to.number(1);
            to.name(&subscriber.0);
        }
    }
    to.name(row.filter.as_str().as_bytes());
    write_access(to, row.access);
    to.number(row.from.0);
    to.number(row.until.0);
    to.number(row.position.0);
}

fn read_right(from: &mut Reading<'_>) -> Result<AccessRow, FormError> {
    let holder = if flag(from)? {
        Some(SubscriberId(from.bytes()?))
    } else {
        None
    };
    Ok(AccessRow {
        holder,
        filter: from.filter()?,
        access: read_access(from)?,
        from: Timestamp(from.number()?),
        until: Timestamp(from.number()?),
        position: Position(from.number()?),
    })
}

fn write_offer(to: &mut Writing, row: &OfferRow) {
    to.name(row.offer.as_str().as_bytes());
    to.name(&row.seller.0);
    to.name(row.filter.as_str().as_bytes());
    write_access(to, row.access);
    to.number(row.tariff.price().0);
    to.number(row.tariff.period_ms());
    to.number(row.tariff.least().0);
    to.number(row.valid_until.0);
    to.number(u64::from(row.withdrawn));
    to.number(row.position.0);
}

fn read_offer(from: &mut Reading<'_>) -> Result<OfferRow, FormError> {
    let (offer, seller) = (from.offer()?, Address(from.bytes()?));
    let (filter, access) = (from.filter()?, read_access(from)?);
    let (price, period) = (Nanos(from.number()?), from.number()?);
    let tariff = Tariff::new(price, period, Nanos(from.number()?));
    Ok(OfferRow {
        offer,
        seller,
        filter,
        access,
        tariff: tariff.map_err(|_| FormError("a tariff is none"))?,
        valid_until: Timestamp(from.number()?),
        withdrawn: flag(from)?,
        position: Position(from.number()?),
    })
}

fn write_id(to: &mut Writing, payment: PaymentId) {
    to.raw(&payment.digest.0);
    to.number(u64::from(payment.index));
}

fn read_id(from: &mut Reading<'_>) -> Result<PaymentId, FormError> {
    let (digest, index) = (Digest(from.raw()?), from.number()?);
    let index = index.try_into();
    Ok(PaymentId {
        digest,
        index: index.map_err(|_| FormError("a payment's index is too large"))?,
    })
}

fn write_payment(to: &mut Writing, row: &PaymentRow) {
    write_id(to, row.payment);
    to.name(&row.seller.0);
    to.name(&row.payer.0);
    to.number(row.amount.0);
    to.number(row.checkpoint);
    to.number(row.confirmed_at.0);
    to.number(row.recorded_at.0);
    match &row.state {
        PaymentState::Confirmed => to.number(0),
        PaymentState::Applied {
            subscriber,
            offer,
            spent,
            credit,
        } => {
            to.number(1);
            to.name(&subscriber.0);
            to.name(offer.as_str().as_bytes());
            to.number(spent.0);
            to.number(credit.0);
        }
        PaymentState::Unmatched(reason) => {
            let code = UnmatchedReason::ALL.iter().position(|it| it == reason);
            to.number(2 + code.expect("all of them") as u64);
        }
    }
    to.number(row.position.0);
}

fn read_payment(from: &mut Reading<'_>) -> Result<PaymentRow, FormError> {
    Ok(PaymentRow {
        payment: read_id(from)?,
        seller: Address(from.bytes()?),
        payer: Address(from.bytes()?),
        amount: Nanos(from.number()?),
        checkpoint: from.number()?,
        confirmed_at: Timestamp(from.number()?),
        recorded_at: Timestamp(from.number()?),
        state: match from.number()? {
            0 => PaymentState::Confirmed,
            1 => PaymentState::Applied {
                subscriber: SubscriberId(from.bytes()?),
                offer: from.offer()?,
                spent: Nanos(from.number()?),
                credit: Nanos(from.number()?),
            },
            code => {
                let code = usize::try_from(code - 2).ok();
                let reason = code.and_then(|it| UnmatchedReason::ALL.get(it));
                let reason = reason.ok_or(FormError("a reason is none"))?;
                PaymentState::Unmatched(*reason)
            }
        },
        position: Position(from.number()?),
    })
}
