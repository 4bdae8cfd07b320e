//! An event in words, without personal data.

use tanglegate_core::{Audience, Event, Timestamp};

/// One sentence about what happened.
#[must_use]
pub fn describe(event: &Event) -> String {
    match event {
        Event::ChainBound { chain } => format!("this log follows ledger {chain}"),
        Event::LedgerScanned { seller, checkpoint } => {
            format!("payments to {seller} are recorded up to checkpoint {checkpoint}")
        }
        Event::OfferPublished { offer } => {
            let (tariff, end) = (offer.tariff, sale_end(offer.valid_until));
            format!(
                "offer {} sells {} on {} for {} per {} s, at least {}{end}",
                offer.id,
                offer.access,
                offer.filter,
                tariff.price(),
                tariff.period_ms() / 1_000,
                tariff.least()
            )
        }
        Event::OfferWithdrawn { offer } => format!("offer {offer} is withdrawn"),
        Event::RuleGiven { rule } => match rule.audience {
            Audience::Everyone => format!("everyone may {} {}", rule.access, rule.filter),
            Audience::Subscriber(id) => {
                format!("subscriber {id} may {} {}", rule.access, rule.filter)
            }
        },
        Event::RuleRemoved { rule } => format!("rule {rule} is removed"),
        Event::SubscriberRegistered {
            subscriber, owner, ..
        } => match owner {
            Some(owner) => {
                format!("subscriber {subscriber} is registered: {owner} bought the name")
            }
            None => format!("subscriber {subscriber} is registered"),
        },
        Event::PasswordChanged { subscriber, .. } => {
            format!("subscriber {subscriber} has a new password")
        }
        Event::UsernameChanged { subscriber, .. } => {
            format!("subscriber {subscriber} has another name")
        }
        Event::SubscriberSuspended { subscriber } => {
            format!("subscriber {subscriber} is suspended")
        }
        Event::SubscriberReinstated { subscriber } => {
            format!("subscriber {subscriber} is reinstated")
        }
        Event::SubscriberErased { subscriber } => {
            format!("subscriber {subscriber} is erased: its personal data is destroyed")
        }
        Event::PaymentConfirmed { confirmation } => format!(
            "payment of {} from {} is final in checkpoint {}",
            confirmation.amount, confirmation.payer, confirmation.checkpoint
        ),
        Event::PaymentApplied {
            subscriber,
            offer,
            spent,
            credit,
            ..
        } => format!(
            "{spent} bought time of offer {offer} for subscriber {subscriber}; on account: {credit}"
        ),
        Event::PaymentUnmatched { reason, .. } => format!("the payment waits: {reason}"),
        Event::LeaseGranted {
            subscriber,
            filter,
            access,
            from,
            until,
            ..
        } => {
            format!("subscriber {subscriber} may {access} {filter} from {from} until {until}")
        }
        Event::LeaseExtended {
            subscriber,
            filter,
            access,
            from,
            until,
            ..
        } => {
            format!("subscriber {subscriber} may {access} {filter} until {until} instead of {from}")
        }
        Event::LeaseRevoked {
            subscriber,
            filter,
            access,
            until,
        } => {
            format!("subscriber {subscriber} may no longer {access} {filter} since {until}")
        }
        Event::AnswerAnnounced {
            key_id,
            sealed,
            until,
            ..
        } => format!(
            "the buyer is told, in {} sealed bytes under key {}, until {until}",
            sealed.len(),
            hex::encode(key_id)
        ),
        Event::HeadKeyAdopted { key } => format!("tree heads are signed with key {key}"),
        Event::HeadAnchored {
            size, transaction, ..
        } => format!("the tree head of {size} events stands on the ledger in {transaction}"),
    }
}

fn sale_end(until: Timestamp) -> String {
    if until == Timestamp::FOREVER {
        String::new()
    } else {
        format!(", until {until}")
    }
}
