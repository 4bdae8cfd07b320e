//! Version 1 of every body: CBOR arrays (RFC 8949), fields in the order of their numbers,
//! shortest form, so that equal events have equal bytes. `docs/EVENT_LOG.md` lists them.
//!
//! What stands here is for ever: a changed body gets a version of its own.

mod read;
mod write;

pub(super) use read::{Reader, decode};
pub(super) use write::{encode, known, wire_verifier};

use minicbor::{Decode, Encode};
use tanglegate_core::{Access, UnmatchedReason};

#[derive(Encode, Decode)]
struct ChainBound<'a>(#[b(0)] &'a str);

#[derive(Encode, Decode)]
struct LedgerScanned(
    #[cbor(n(0), with = "minicbor::bytes")] [u8; 32],
    #[n(1)] u64,
);

#[derive(Encode, Decode)]
struct OfferPublished<'a> {
    #[b(0)]
    offer: &'a str,
    #[cbor(n(1), with = "minicbor::bytes")]
    seller: [u8; 32],
    #[b(2)]
    filter: &'a str,
    #[n(3)]
    access: u8,
    #[n(4)]
    tariff: WireTariff,
    #[n(5)]
    valid_until: u64,
}

#[derive(Encode, Decode)]
struct OfferWithdrawn<'a>(#[b(0)] &'a str);

#[derive(Encode, Decode)]
struct RuleGiven<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    rule: [u8; 16],
    /// Absent: everyone.
    #[cbor(n(1), with = "minicbor::bytes")]
    audience: Option<[u8; 16]>,
    #[b(2)]
    filter: &'a str,
    #[n(3)]
    access: u8,
}

#[derive(Encode, Decode)]
struct RuleRemoved(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

#[derive(Encode, Decode)]
struct SubscriberRegistered<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    subscriber: [u8; 16],
    #[cbor(b(1), with = "minicbor::bytes")]
    sealed_username: std::borrow::Cow<'a, [u8]>,
    #[cbor(b(2), with = "minicbor::bytes")]
    sealed_verifier: std::borrow::Cow<'a, [u8]>,
}

#[derive(Encode, Decode)]
struct PasswordChanged<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    subscriber: [u8; 16],
    #[cbor(b(1), with = "minicbor::bytes")]
    sealed_verifier: std::borrow::Cow<'a, [u8]>,
}

#[derive(Encode, Decode)]
struct UsernameChanged<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    subscriber: [u8; 16],
    #[cbor(b(1), with = "minicbor::bytes")]
    sealed_username: std::borrow::Cow<'a, [u8]>,
}

/// The plain text of a sealed verifier.
#[derive(Encode, Decode)]
struct WireVerifier {
    #[n(0)]
    memory_kib: u32,
    #[n(1)]
    passes: u32,
    #[n(2)]
    lanes: u32,
    #[cbor(n(3), with = "minicbor::bytes")]
    salt: [u8; 16],
    #[cbor(n(4), with = "minicbor::bytes")]
    tag: [u8; 32],
}

#[derive(Encode, Decode)]
struct OfSubscriber(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

#[derive(Encode, Decode)]
struct WirePayment {
    #[cbor(n(0), with = "minicbor::bytes")]
    digest: [u8; 32],
    #[n(1)]
    index: u16,
}

#[derive(Encode, Decode)]
struct WireTariff {
    #[n(0)]
    price: u64,
    #[n(1)]
    period_ms: u64,
    #[n(2)]
    least: u64,
}

#[derive(Encode, Decode)]
struct PaymentConfirmed<'a> {
    #[n(0)]
    payment: WirePayment,
    #[cbor(n(1), with = "minicbor::bytes")]
    seller: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    payer: [u8; 32],
    #[n(3)]
    amount: u64,
    #[n(4)]
    checkpoint: u64,
    #[n(5)]
    confirmed_at: u64,
    /// Subject of the memo's key, then the sealed memo. Absent: no memo.
    #[b(6)]
    memo: Option<WireMemo<'a>>,
}

#[derive(Encode, Decode)]
struct WireMemo<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    subject: [u8; 16],
    #[cbor(b(1), with = "minicbor::bytes")]
    sealed: std::borrow::Cow<'a, [u8]>,
}

#[derive(Encode, Decode)]
struct PaymentApplied<'a> {
    #[n(0)]
    payment: WirePayment,
    #[cbor(n(1), with = "minicbor::bytes")]
    subscriber: [u8; 16],
    #[b(2)]
    offer: &'a str,
    #[n(3)]
    spent: u64,
    #[n(4)]
    credit: u64,
}

#[derive(Encode, Decode)]
struct PaymentUnmatched {
    #[n(0)]
    payment: WirePayment,
    #[n(1)]
    reason: u8,
}

#[derive(Encode, Decode)]
struct AnswerAnnounced<'a> {
    #[n(0)]
    payment: WirePayment,
    /// Absent: the payment was refused.
    #[cbor(n(1), with = "minicbor::bytes")]
    subscriber: Option<[u8; 16]>,
    #[cbor(n(2), with = "minicbor::bytes")]
    key_id: [u8; 16],
    /// Sealed to the buyer: nobody else, and nobody of ours, can open it.
    #[cbor(b(3), with = "minicbor::bytes")]
    sealed: std::borrow::Cow<'a, [u8]>,
    #[n(4)]
    until: u64,
}

/// Both a lease granted and a lease extended.
#[derive(Encode, Decode)]
struct LeaseTime<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    subscriber: [u8; 16],
    #[b(1)]
    filter: &'a str,
    #[n(2)]
    access: u8,
    #[n(3)]
    from: u64,
    #[n(4)]
    until: u64,
    #[b(5)]
    offer: &'a str,
    #[n(6)]
    tariff: WireTariff,
    #[n(7)]
    payment: WirePayment,
}

#[derive(Encode, Decode)]
struct LeaseRevoked<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    subscriber: [u8; 16],
    #[b(1)]
    filter: &'a str,
    #[n(2)]
    access: u8,
    #[n(3)]
    until: u64,
}

#[derive(Encode, Decode)]
struct HeadKeyAdopted<'a>(#[b(0)] &'a str);

#[derive(Encode, Decode)]
struct HeadAnchored {
    #[n(0)]
    size: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    root: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    transaction: [u8; 32],
}

pub(super) const USERNAME: &[u8] = b"tanglegate v1 username";
pub(super) const VERIFIER: &[u8] = b"tanglegate v1 verifier";
const MEMO: &[u8] = b"tanglegate v1 memo";

/// Most bodies have fewer bytes.
const USUAL: usize = 256;

pub(super) fn bytes(value: impl Encode<()>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    minicbor::encode(value, &mut bytes).expect("a vector takes every byte");
    bytes
}

fn access_code(access: Access) -> u8 {
    match access {
        Access::Read => 1,
        Access::Write => 2,
        Access::ReadWrite => 3,
    }
}

fn reason_code(reason: UnmatchedReason) -> u8 {
    match reason {
        UnmatchedReason::NoMemo => 1,
        UnmatchedReason::UnreadableMemo => 2,
        UnmatchedReason::UnknownOffer => 3,
        UnmatchedReason::OfferEnded => 4,
        UnmatchedReason::WrongSeller => 5,
        UnmatchedReason::UnknownSubscriber => 6,
        UnmatchedReason::Suspended => 7,
        UnmatchedReason::TooMuch => 8,
        UnmatchedReason::DoesNotOpen => 9,
        UnmatchedReason::KeyExpired => 10,
        UnmatchedReason::UsernameTaken => 11,
        UnmatchedReason::UnfitOrder => 12,
        UnmatchedReason::TooLittle => 13,
    }
}
