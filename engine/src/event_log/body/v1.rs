//! Version 1 of every body: CBOR arrays (RFC 8949), fields in the order of their numbers,
//! shortest form, so that equal events have equal bytes. `docs/EVENT_LOG.md` lists them.
//!
//! What stands here is for ever: a changed body gets a version of its own.

use super::BodyError;
use crate::event_log::vault::{Entropy, Owner, Vault};
use minicbor::{Decode, Encode};
use tanglegate_core::{
    Access, Address, Audience, ChainId, Confirmation, Digest, Event, MemoReading, Nanos, Offer,
    OfferId, PasswordVerifier, PaymentId, Rule, RuleId, SubscriberId, Tariff, Timestamp,
    TopicFilter, UnmatchedReason, Username, VerifierKey,
};
use tanglegate_crypto::HeadVerifier;

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

pub(super) fn encode(
    event: &Event,
    owner: Option<Owner>,
    vault: &mut Vault,
    entropy: &mut Entropy,
) -> (&'static str, Vec<u8>) {
    match event {
        Event::ChainBound { chain } => ("chain_bound", bytes(ChainBound(&chain.0))),
        Event::LedgerScanned { seller, checkpoint } => (
            "ledger_scanned",
            bytes(LedgerScanned(seller.0, *checkpoint)),
        ),
        Event::OfferPublished { offer } => ("offer_published", bytes(offer_published(offer))),
        Event::OfferWithdrawn { offer } => {
            ("offer_withdrawn", bytes(OfferWithdrawn(offer.as_str())))
        }
        Event::RuleGiven { rule } => ("rule_given", bytes(rule_given(rule))),
        Event::RuleRemoved { rule } => ("rule_removed", bytes(RuleRemoved(rule.0))),
        Event::SubscriberRegistered { .. } => unreachable!("it is written in version 2"),
        Event::PasswordChanged {
            subscriber,
            verifier,
        } => {
            let key = vault.for_subscriber(*subscriber, entropy);
            let verifier = wire_verifier(known(verifier));
            let sealed_verifier = key.seal(entropy.bytes(), VERIFIER, &verifier);
            let wire = PasswordChanged {
                subscriber: subscriber.0,
                sealed_verifier: sealed_verifier.into_bytes().into(),
            };
            ("password_changed", bytes(wire))
        }
        Event::SubscriberSuspended { subscriber } => {
            ("subscriber_suspended", bytes(OfSubscriber(subscriber.0)))
        }
        Event::SubscriberReinstated { subscriber } => {
            ("subscriber_reinstated", bytes(OfSubscriber(subscriber.0)))
        }
        Event::SubscriberErased { subscriber } => {
            ("subscriber_erased", bytes(OfSubscriber(subscriber.0)))
        }
        Event::PaymentConfirmed { confirmation } => (
            "payment_confirmed",
            bytes(payment_confirmed(confirmation, owner, vault, entropy)),
        ),
        Event::PaymentApplied {
            payment,
            subscriber,
            offer,
            spent,
            credit,
        } => {
            let wire = PaymentApplied {
                payment: wire_payment(*payment),
                subscriber: subscriber.0,
                offer: offer.as_str(),
                spent: spent.0,
                credit: credit.0,
            };
            ("payment_applied", bytes(wire))
        }
        Event::PaymentUnmatched { payment, reason } => {
            let wire = PaymentUnmatched {
                payment: wire_payment(*payment),
                reason: reason_code(*reason),
            };
            ("payment_unmatched", bytes(wire))
        }
        Event::AnswerAnnounced {
            payment,
            subscriber,
            key_id,
            sealed,
            until,
        } => {
            let wire = AnswerAnnounced {
                payment: wire_payment(*payment),
                subscriber: subscriber.map(|it| it.0),
                key_id: *key_id,
                sealed: sealed.as_ref().into(),
                until: until.0,
            };
            ("answer_announced", bytes(wire))
        }
        Event::LeaseGranted {
            subscriber,
            filter,
            access,
            from,
            until,
            offer,
            tariff,
            payment,
        } => {
            let subject = (*subscriber, filter, *access);
            (
                "lease_granted",
                lease_time(subject, (*from, *until), offer, *tariff, *payment),
            )
        }
        Event::LeaseExtended {
            subscriber,
            filter,
            access,
            from,
            until,
            offer,
            tariff,
            payment,
        } => {
            let subject = (*subscriber, filter, *access);
            (
                "lease_extended",
                lease_time(subject, (*from, *until), offer, *tariff, *payment),
            )
        }
        Event::LeaseRevoked {
            subscriber,
            filter,
            access,
            until,
        } => {
            let wire = LeaseRevoked {
                subscriber: subscriber.0,
                filter: filter.as_str(),
                access: access_code(*access),
                until: until.0,
            };
            ("lease_revoked", bytes(wire))
        }
        Event::HeadKeyAdopted { key } => ("head_key_adopted", bytes(HeadKeyAdopted(&key.0))),
        Event::HeadAnchored {
            size,
            root,
            transaction,
        } => {
            let wire = HeadAnchored {
                size: *size,
                root: *root,
                transaction: transaction.0,
            };
            ("head_anchored", bytes(wire))
        }
    }
}

/// Personal data of an event that is being written.
pub(super) fn known<T>(personal: &Option<T>) -> &T {
    personal
        .as_ref()
        .expect("a command carries the personal data of its events")
}

fn offer_published(offer: &Offer) -> OfferPublished<'_> {
    OfferPublished {
        offer: offer.id.as_str(),
        seller: offer.seller.0,
        filter: offer.filter.as_str(),
        access: access_code(offer.access),
        tariff: wire_tariff(offer.tariff),
        valid_until: offer.valid_until.0,
    }
}

fn rule_given(rule: &Rule) -> RuleGiven<'_> {
    RuleGiven {
        rule: rule.id.0,
        audience: match rule.audience {
            Audience::Everyone => None,
            Audience::Subscriber(subscriber) => Some(subscriber.0),
        },
        filter: rule.filter.as_str(),
        access: access_code(rule.access),
    }
}

fn payment_confirmed(
    paid: &Confirmation,
    owner: Option<Owner>,
    vault: &mut Vault,
    entropy: &mut Entropy,
) -> PaymentConfirmed<'static> {
    let memo = (!paid.memo.is_empty()).then(|| {
        let subject = entropy.bytes();
        let key = vault.make(subject, "memo", owner, entropy);
        let sealed = key
            .seal(entropy.bytes(), MEMO, &paid.memo)
            .into_bytes()
            .into();
        WireMemo { subject, sealed }
    });
    PaymentConfirmed {
        payment: wire_payment(paid.payment),
        seller: paid.seller.0,
        payer: paid.payer.0,
        amount: paid.amount.0,
        checkpoint: paid.checkpoint,
        confirmed_at: paid.confirmed_at.0,
        memo,
    }
}

fn lease_time(
    (subscriber, filter, access): (SubscriberId, &TopicFilter, Access),
    (from, until): (Timestamp, Timestamp),
    offer: &OfferId,
    tariff: Tariff,
    payment: PaymentId,
) -> Vec<u8> {
    bytes(LeaseTime {
        subscriber: subscriber.0,
        filter: filter.as_str(),
        access: access_code(access),
        from: from.0,
        until: until.0,
        offer: offer.as_str(),
        tariff: wire_tariff(tariff),
        payment: wire_payment(payment),
    })
}

pub(super) fn wire_verifier(verifier: &PasswordVerifier) -> zeroize::Zeroizing<Vec<u8>> {
    let PasswordVerifier {
        memory_kib,
        passes,
        lanes,
        salt,
        tag,
    } = *verifier;
    zeroize::Zeroizing::new(bytes(WireVerifier {
        memory_kib,
        passes,
        lanes,
        salt,
        tag,
    }))
}

fn wire_payment(payment: PaymentId) -> WirePayment {
    WirePayment {
        digest: payment.digest.0,
        index: payment.index,
    }
}

fn wire_tariff(tariff: Tariff) -> WireTariff {
    let (price, least) = (tariff.price().0, tariff.least().0);
    WireTariff {
        price,
        period_ms: tariff.period_ms(),
        least,
    }
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

pub(super) fn decode(kind: &str, body: &[u8], vault: &Vault) -> Result<Event, BodyError> {
    let reader = Reader { kind, body, vault };
    Ok(match kind {
        "chain_bound" => {
            let ChainBound(chain) = reader.wire()?;
            Event::ChainBound {
                chain: ChainId(chain.into()),
            }
        }
        "ledger_scanned" => {
            let LedgerScanned(seller, checkpoint) = reader.wire()?;
            let seller = Address(seller);
            Event::LedgerScanned { seller, checkpoint }
        }
        "offer_published" => Event::OfferPublished {
            offer: reader.offer()?,
        },
        "offer_withdrawn" => {
            let OfferWithdrawn(offer) = reader.wire()?;
            Event::OfferWithdrawn {
                offer: reader.valid(OfferId::parse(offer))?,
            }
        }
        "rule_given" => Event::RuleGiven {
            rule: reader.rule()?,
        },
        "rule_removed" => {
            let RuleRemoved(rule) = reader.wire()?;
            Event::RuleRemoved { rule: RuleId(rule) }
        }
        "subscriber_registered" => reader.subscriber_registered()?,
        "password_changed" => {
            let wire: PasswordChanged<'_> = reader.wire()?;
            let verifier = reader.verifier(&wire.subscriber, &wire.sealed_verifier)?;
            Event::PasswordChanged {
                subscriber: SubscriberId(wire.subscriber),
                verifier,
            }
        }
        "answer_announced" => {
            let wire: AnswerAnnounced<'_> = reader.wire()?;
            Event::AnswerAnnounced {
                payment: payment(&wire.payment),
                subscriber: wire.subscriber.map(SubscriberId),
                key_id: wire.key_id,
                sealed: wire.sealed.as_ref().into(),
                until: Timestamp(wire.until),
            }
        }
        "subscriber_suspended" => {
            let OfSubscriber(subscriber) = reader.wire()?;
            Event::SubscriberSuspended {
                subscriber: SubscriberId(subscriber),
            }
        }
        "subscriber_reinstated" => {
            let OfSubscriber(subscriber) = reader.wire()?;
            Event::SubscriberReinstated {
                subscriber: SubscriberId(subscriber),
            }
        }
        "subscriber_erased" => {
            let OfSubscriber(subscriber) = reader.wire()?;
            Event::SubscriberErased {
                subscriber: SubscriberId(subscriber),
            }
        }
        "payment_confirmed" => Event::PaymentConfirmed {
            confirmation: reader.confirmation()?,
        },
        "payment_applied" => {
            let wire: PaymentApplied<'_> = reader.wire()?;
            Event::PaymentApplied {
                payment: payment(&wire.payment),
                subscriber: SubscriberId(wire.subscriber),
                offer: reader.valid(OfferId::parse(wire.offer))?,
                spent: Nanos(wire.spent),
                credit: Nanos(wire.credit),
            }
        }
        "payment_unmatched" => {
            let wire: PaymentUnmatched = reader.wire()?;
            let reason = reader.reason(wire.reason)?;
            Event::PaymentUnmatched {
                payment: payment(&wire.payment),
                reason,
            }
        }
        "lease_granted" => {
            let wire: LeaseTime<'_> = reader.wire()?;
            Event::LeaseGranted {
                subscriber: SubscriberId(wire.subscriber),
                filter: reader.valid(TopicFilter::parse(wire.filter))?,
                access: reader.access(wire.access)?,
                from: Timestamp(wire.from),
                until: Timestamp(wire.until),
                offer: reader.valid(OfferId::parse(wire.offer))?,
                tariff: reader.tariff(&wire.tariff)?,
                payment: payment(&wire.payment),
            }
        }
        "lease_extended" => {
            let wire: LeaseTime<'_> = reader.wire()?;
            Event::LeaseExtended {
                subscriber: SubscriberId(wire.subscriber),
                filter: reader.valid(TopicFilter::parse(wire.filter))?,
                access: reader.access(wire.access)?,
                from: Timestamp(wire.from),
                until: Timestamp(wire.until),
                offer: reader.valid(OfferId::parse(wire.offer))?,
                tariff: reader.tariff(&wire.tariff)?,
                payment: payment(&wire.payment),
            }
        }
        "lease_revoked" => {
            let wire: LeaseRevoked<'_> = reader.wire()?;
            Event::LeaseRevoked {
                subscriber: SubscriberId(wire.subscriber),
                filter: reader.valid(TopicFilter::parse(wire.filter))?,
                access: reader.access(wire.access)?,
                until: Timestamp(wire.until),
            }
        }
        "head_key_adopted" => {
            let HeadKeyAdopted(key) = reader.wire()?;
            let key = reader.valid(key.parse::<HeadVerifier>())?;
            Event::HeadKeyAdopted {
                key: VerifierKey(key.to_string().into()),
            }
        }
        "head_anchored" => {
            let wire: HeadAnchored = reader.wire()?;
            Event::HeadAnchored {
                size: wire.size,
                root: wire.root,
                transaction: Digest(wire.transaction),
            }
        }
        _ => {
            return Err(BodyError::UnknownKind {
                kind: kind.to_owned(),
                schema_version: 1,
            });
        }
    })
}

fn payment(wire: &WirePayment) -> PaymentId {
    PaymentId {
        digest: Digest(wire.digest),
        index: wire.index,
    }
}

/// One body being read; its faults name the kind.
pub(super) struct Reader<'a> {
    pub(super) kind: &'a str,
    pub(super) body: &'a [u8],
    pub(super) vault: &'a Vault,
}

impl<'a> Reader<'a> {
    pub(super) fn wire<T: Decode<'a, ()>>(&self) -> Result<T, BodyError> {
        minicbor::decode(self.body).map_err(|source| BodyError::Damaged {
            kind: self.kind.to_owned(),
            source,
        })
    }

    fn valid<T, E: std::fmt::Display>(&self, parsed: Result<T, E>) -> Result<T, BodyError> {
        parsed.map_err(|it| self.invalid(&it))
    }

    fn invalid(&self, what: &dyn std::fmt::Display) -> BodyError {
        BodyError::Invalid {
            kind: self.kind.to_owned(),
            what: what.to_string(),
        }
    }

    /// `None` when the key is not in the vault.
    fn open(
        &self,
        subject: &[u8; 16],
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, BodyError> {
        let Some(key) = self.vault.key(subject) else {
            return Ok(None);
        };
        let opened = key.open(context, sealed);
        opened.map(Some).map_err(|source| BodyError::Sealed {
            subject: SubscriberId(*subject).to_string(),
            source,
        })
    }

    pub(super) fn verifier(
        &self,
        subject: &[u8; 16],
        sealed: &[u8],
    ) -> Result<Option<PasswordVerifier>, BodyError> {
        let Some(plain) = self.open(subject, VERIFIER, sealed)? else {
            return Ok(None);
        };
        let wire: WireVerifier = self.valid(minicbor::decode(&plain))?;
        let WireVerifier {
            memory_kib,
            passes,
            lanes,
            salt,
            tag,
        } = wire;
        Ok(Some(PasswordVerifier {
            memory_kib,
            passes,
            lanes,
            salt,
            tag,
        }))
    }

    pub(super) fn username(
        &self,
        subject: &[u8; 16],
        sealed: &[u8],
    ) -> Result<Option<Username>, BodyError> {
        let Some(plain) = self.open(subject, USERNAME, sealed)? else {
            return Ok(None);
        };
        let text = self.valid(std::str::from_utf8(&plain))?;
        self.valid(Username::parse(text)).map(Some)
    }

    fn subscriber_registered(&self) -> Result<Event, BodyError> {
        let wire: SubscriberRegistered<'_> = self.wire()?;
        Ok(Event::SubscriberRegistered {
            subscriber: SubscriberId(wire.subscriber),
            username: self.username(&wire.subscriber, &wire.sealed_username)?,
            verifier: self.verifier(&wire.subscriber, &wire.sealed_verifier)?,
            // The operator registered all logins of that version.
            owner: None,
        })
    }

    fn offer(&self) -> Result<Offer, BodyError> {
        let wire: OfferPublished<'_> = self.wire()?;
        Ok(Offer {
            id: self.valid(OfferId::parse(wire.offer))?,
            seller: Address(wire.seller),
            filter: self.valid(TopicFilter::parse(wire.filter))?,
            access: self.access(wire.access)?,
            tariff: self.tariff(&wire.tariff)?,
            valid_until: Timestamp(wire.valid_until),
        })
    }

    fn rule(&self) -> Result<Rule, BodyError> {
        let wire: RuleGiven<'_> = self.wire()?;
        Ok(Rule {
            id: RuleId(wire.rule),
            audience: match wire.audience {
                None => Audience::Everyone,
                Some(subscriber) => Audience::Subscriber(SubscriberId(subscriber)),
            },
            filter: self.valid(TopicFilter::parse(wire.filter))?,
            access: self.access(wire.access)?,
        })
    }

    fn confirmation(&self) -> Result<Confirmation, BodyError> {
        let wire: PaymentConfirmed<'_> = self.wire()?;
        Ok(Confirmation {
            payment: payment(&wire.payment),
            seller: Address(wire.seller),
            payer: Address(wire.payer),
            amount: Nanos(wire.amount),
            checkpoint: wire.checkpoint,
            confirmed_at: Timestamp(wire.confirmed_at),
            memo: Vec::new(),
            reading: MemoReading::Absent,
        })
    }

    fn tariff(&self, wire: &WireTariff) -> Result<Tariff, BodyError> {
        self.valid(Tariff::new(
            Nanos(wire.price),
            wire.period_ms,
            Nanos(wire.least),
        ))
    }

    fn access(&self, code: u8) -> Result<Access, BodyError> {
        [Access::Read, Access::Write, Access::ReadWrite]
            .into_iter()
            .find(|it| access_code(*it) == code)
            .ok_or_else(|| self.invalid(&format!("access code {code}")))
    }

    fn reason(&self, code: u8) -> Result<UnmatchedReason, BodyError> {
        UnmatchedReason::ALL
            .into_iter()
            .find(|it| reason_code(*it) == code)
            .ok_or_else(|| self.invalid(&format!("reason code {code}")))
    }
}
