//! The rows of the projections: what the tables hold after an event.

use crate::{
    Access, Address, ChainId, Nanos, OfferId, PaymentId, Position, RuleId, SubscriberId, Tariff,
    Timestamp, TopicFilter, UnmatchedReason, Username,
};

/// One row that an event wrote or removed. Rows are whole: the last change of a key is the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A lease, as it stands.
    Lease(AccessRow),
    /// A rule, as it stands.
    Rule(RuleId, AccessRow),
    /// A rule is gone.
    RuleGone(RuleId),
    /// A subscriber with his account.
    Subscriber(SubscriberRow),
    /// A payment and what became of it.
    Payment(PaymentRow),
    /// An offer and whether it is sold.
    Offer(OfferRow),
    /// How far the ledger is recorded.
    Cursor(CursorRow),
}

/// A right, from a lease or a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRow {
    /// Whose; `None` is everyone.
    pub holder: Option<SubscriberId>,
    /// Where.
    pub filter: TopicFilter,
    /// What it allows.
    pub access: Access,
    /// From when on.
    pub from: Timestamp,
    /// Exclusive end.
    pub until: Timestamp,
    /// The event that wrote the row.
    pub position: Position,
}

/// A login and its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberRow {
    /// Its identity.
    pub subscriber: SubscriberId,
    /// Its name; `None` when it is erased, or the key to it is not at hand.
    pub username: Option<Username>,
    /// Whether it is closed.
    pub suspended: bool,
    /// Whether the person was forgotten, and the login closed for ever.
    pub erased: bool,
    /// What is on account.
    pub credit: Nanos,
    /// The address that bought it; `None` where the operator registered it.
    pub owner: Option<Address>,
    /// The event that wrote the row.
    pub position: Position,
}

/// What became of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentState {
    /// Recorded, and in the same batch either applied or unmatched.
    Confirmed,
    /// Booked.
    Applied {
        /// For whom.
        subscriber: SubscriberId,
        /// For which offer.
        offer: OfferId,
        /// What the time cost.
        spent: Nanos,
        /// What was left on account.
        credit: Nanos,
    },
    /// Waiting to be claimed.
    Unmatched(UnmatchedReason),
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRow {
    /// Which.
    pub payment: PaymentId,
    /// Who was paid.
    pub seller: Address,
    /// Who paid.
    pub payer: Address,
    /// How much.
    pub amount: Nanos,
    /// The checkpoint that made it final.
    pub checkpoint: u64,
    /// When, by the ledger's clock.
    pub confirmed_at: Timestamp,
    /// When it was recorded here.
    pub recorded_at: Timestamp,
    /// What became of it.
    pub state: PaymentState,
    /// The event that wrote the row.
    pub position: Position,
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferRow {
    /// Its name.
    pub offer: OfferId,
    /// Who is paid.
    pub seller: Address,
    /// Where.
    pub filter: TopicFilter,
    /// What it allows.
    pub access: Access,
    /// At which price.
    pub tariff: Tariff,
    /// Exclusive end of the sale.
    pub valid_until: Timestamp,
    /// Whether it was withdrawn.
    pub withdrawn: bool,
    /// The event that wrote the row.
    pub position: Position,
}

/// How far the ledger is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorRow {
    /// Which ledger.
    pub chain: ChainId,
    /// Whose payments.
    pub seller: Address,
    /// Every payment below this checkpoint is in the log, and maybe some of it.
    pub checkpoint: u64,
    /// The event that wrote the row.
    pub position: Position,
}
