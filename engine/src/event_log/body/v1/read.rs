//! From the bytes of version 1 to an event.

use super::{
    AnswerAnnounced, ChainBound, HeadAnchored, HeadKeyAdopted, LeaseRevoked, LeaseTime,
    LedgerScanned, OfSubscriber, OfferPublished, OfferWithdrawn, PasswordChanged, PaymentApplied,
    PaymentConfirmed, PaymentUnmatched, RuleGiven, RuleRemoved, SubscriberRegistered, USERNAME,
    UsernameChanged, VERIFIER, WirePayment, WireTariff, WireVerifier, access_code, reason_code,
};
use crate::event_log::body::BodyError;
use crate::event_log::vault::Vault;
use minicbor::Decode;
use tanglegate_core::{
    Access, Address, Audience, ChainId, Confirmation, Digest, Event, MemoReading, Nanos, Offer,
    OfferId, PasswordVerifier, PaymentId, Rule, RuleId, SubscriberId, Tariff, Timestamp,
    TopicFilter, UnmatchedReason, Username, VerifierKey,
};
use tanglegate_crypto::HeadVerifier;

pub(in crate::event_log::body) fn decode(
    kind: &str,
    body: &[u8],
    vault: &Vault,
) -> Result<Event, BodyError> {
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
        "username_changed" => {
            let wire: UsernameChanged<'_> = reader.wire()?;
            Event::UsernameChanged {
                subscriber: SubscriberId(wire.subscriber),
                username: reader.username(&wire.subscriber, &wire.sealed_username)?,
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
pub(in crate::event_log::body) struct Reader<'a> {
    pub(in crate::event_log::body) kind: &'a str,
    pub(in crate::event_log::body) body: &'a [u8],
    pub(in crate::event_log::body) vault: &'a Vault,
}

impl<'a> Reader<'a> {
    pub(in crate::event_log::body) fn wire<T: Decode<'a, ()>>(&self) -> Result<T, BodyError> {
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

    pub(in crate::event_log::body) fn verifier(
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

    pub(in crate::event_log::body) fn username(
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
