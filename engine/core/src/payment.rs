//! Money that arrived, as the ledger room hands it over.

use crate::{
    Address, Nanos, OfferId, PasswordVerifier, PaymentId, SubscriberId, Timestamp, Username,
};
use std::fmt;

/// A payment that is final: its transaction succeeded and stands in a checkpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Which payment; the same one is recorded once, however often it is delivered.
    pub payment: PaymentId,
    /// The address that was paid.
    pub seller: Address,
    /// The address that paid.
    pub payer: Address,
    /// How much arrived at the seller, net.
    pub amount: Nanos,
    /// The checkpoint that made it final.
    pub checkpoint: u64,
    /// The checkpoint's time, by the ledger's clock.
    pub confirmed_at: Timestamp,
    /// The memo as it stands on the ledger; empty without one. At most 256 bytes.
    pub memo: Vec<u8>,
    /// What the memo says.
    pub reading: MemoReading,
}

/// Leaves the memo out: it may name a person.
impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmation")
            .field("payment", &self.payment)
            .field("payer", &self.payer)
            .field("amount", &self.amount)
            .field("checkpoint", &self.checkpoint)
            .finish_non_exhaustive()
    }
}

/// What a memo says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoReading {
    /// There is no memo of ours in the transaction.
    Absent,
    /// There is one, but it is not of a form we know.
    Unreadable,
    /// It asks for time, in clear.
    Purchase {
        /// Of which offer.
        offer: OfferId,
        /// For whom.
        username: Username,
    },
    /// It is sealed, and was not opened.
    Sealed,
    /// It was sealed, and nothing can be bought with what it says.
    Refused(UnmatchedReason),
    /// It was sealed, and orders this.
    Order(Box<Order>),
}

/// What a buyer without a login asks for, sealed, with his payment. The name belongs from then on
/// to the address that paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Time of which offer.
    pub offer: OfferId,
    /// For whom.
    pub username: Username,
    /// What opens the login from then on.
    pub password: PasswordWish,
    /// A fresh random identity, for a name that nobody has.
    pub subscriber: SubscriberId,
    /// What is kept of a fresh password, where one has to be made.
    pub made: PasswordVerifier,
}

/// What shall open a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordWish {
    /// The buyer's own password, of which this is kept.
    Set(PasswordVerifier),
    /// One that the engine makes.
    Make,
    /// What opens it now. For a new login: one that the engine makes.
    Keep,
}

/// Why a payment could not be turned into time. The money is not lost: the payment stays in the
/// log with its payer, who can claim it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnmatchedReason {
    /// No memo of ours in the transaction.
    NoMemo,
    /// A memo of a form we do not know.
    UnreadableMemo,
    /// No such offer.
    UnknownOffer,
    /// The offer had been withdrawn, or its validity was over.
    OfferEnded,
    /// The offer is sold by another address than the one that was paid.
    WrongSeller,
    /// No subscriber has the name in the memo.
    UnknownSubscriber,
    /// The subscriber is suspended.
    Suspended,
    /// With what is on account it would be more than an account can hold (2⁶⁴ NANOS): more
    /// than the ledger's whole supply.
    TooMuch,
    /// A sealed memo that does not open: changed, or sealed for another payer.
    DoesNotOpen,
    /// A sealed memo whose key had expired when the ledger confirmed the payment.
    KeyExpired,
    /// The username in a sealed memo belongs to somebody else.
    UsernameTaken,
    /// The text in a sealed memo cannot be a username, or the name of an offer.
    UnfitOrder,
    /// Less than the least purchase, for a name that nobody has yet.
    TooLittle,
}

impl UnmatchedReason {
    /// Every reason, in the order of their codes.
    pub const ALL: [Self; 13] = [
        Self::NoMemo,
        Self::UnreadableMemo,
        Self::UnknownOffer,
        Self::OfferEnded,
        Self::WrongSeller,
        Self::UnknownSubscriber,
        Self::Suspended,
        Self::TooMuch,
        Self::DoesNotOpen,
        Self::KeyExpired,
        Self::UsernameTaken,
        Self::UnfitOrder,
        Self::TooLittle,
    ];

    /// The word that stands for it in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoMemo => "no-memo",
            Self::UnreadableMemo => "unreadable-memo",
            Self::UnknownOffer => "unknown-offer",
            Self::OfferEnded => "offer-ended",
            Self::WrongSeller => "wrong-seller",
            Self::UnknownSubscriber => "unknown-subscriber",
            Self::Suspended => "suspended",
            Self::TooMuch => "too-much",
            Self::DoesNotOpen => "does-not-open",
            Self::KeyExpired => "key-expired",
            Self::UsernameTaken => "username-taken",
            Self::UnfitOrder => "unfit-order",
            Self::TooLittle => "too-little",
        }
    }
}

impl fmt::Display for UnmatchedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemo => "the transaction carries no memo",
            Self::UnreadableMemo => "the memo is not of a known form",
            Self::UnknownOffer => "the memo names an offer that does not exist",
            Self::OfferEnded => "the offer in the memo is no longer sold",
            Self::WrongSeller => "the offer in the memo is sold by another address",
            Self::UnknownSubscriber => "no subscriber has the name in the memo",
            Self::Suspended => "the subscriber in the memo is suspended",
            Self::TooMuch => "the amount is more than an account can hold",
            Self::DoesNotOpen => {
                "the sealed memo does not open: it was changed, or sealed for another payer"
            }
            Self::KeyExpired => "the key that the memo is sealed to had expired",
            Self::UsernameTaken => "the username in the memo belongs to somebody else",
            Self::UnfitOrder => "the memo holds a username or an offer's name that cannot be one",
            Self::TooLittle => "the amount is below the offer's least purchase, for a new login",
        })
    }
}
