//! From an event to the bytes of version 1.

use super::{
    AnswerAnnounced, ChainBound, HeadAnchored, HeadKeyAdopted, LeaseRevoked, LeaseTime,
    LedgerScanned, MEMO, OfSubscriber, OfferPublished, OfferWithdrawn, PasswordChanged,
    PaymentApplied, PaymentConfirmed, PaymentUnmatched, RuleGiven, RuleRemoved, USERNAME,
    UsernameChanged, VERIFIER, WireMemo, WirePayment, WireTariff, WireVerifier, access_code, bytes,
    reason_code,
};
use crate::event_log::vault::{Entropy, Owner, Vault};
use tanglegate_core::{
    Access, Audience, Confirmation, Event, Offer, OfferId, PasswordVerifier, PaymentId, Rule,
    SubscriberId, Tariff, Timestamp, TopicFilter,
};

pub(in crate::event_log::body) fn encode(
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
        Event::UsernameChanged {
            subscriber,
            username,
        } => {
            let key = vault.for_subscriber(*subscriber, entropy);
            let username = known(username).as_str().as_bytes();
            let sealed_username = key.seal(entropy.bytes(), USERNAME, username);
            let wire = UsernameChanged {
                subscriber: subscriber.0,
                sealed_username: sealed_username.into_bytes().into(),
            };
            ("username_changed", bytes(wire))
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
pub(in crate::event_log::body) fn known<T>(personal: &Option<T>) -> &T {
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

pub(in crate::event_log::body) fn wire_verifier(
    verifier: &PasswordVerifier,
) -> zeroize::Zeroizing<Vec<u8>> {
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
