//! What happened. An event carries its outcome, so that replay needs no price list.

use crate::{
    Access, Address, ChainId, Confirmation, Digest, Nanos, Offer, OfferId, PasswordVerifier,
    PaymentId, Rule, RuleId, SubscriberId, Tariff, Timestamp, TopicFilter, UnmatchedReason,
    Username, VerifierKey,
};
use std::fmt;
use std::sync::Arc;

/// One fact. Written once, never changed. Personal data in it is sealed under a key of its
/// subject: where that key is not at hand, or was destroyed, the event reads without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// From now on this log follows that ledger, and no other.
    ChainBound {
        /// The ledger's name for itself.
        chain: ChainId,
    },
    /// Every payment to this seller up to and including this checkpoint is in the log.
    LedgerScanned {
        /// Whose payments.
        seller: Address,
        /// The checkpoint.
        checkpoint: u64,
    },
    /// Something is for sale, or for sale on other terms.
    OfferPublished {
        /// All of its terms.
        offer: Offer,
    },
    /// Something is no longer for sale. Running leases keep their end.
    OfferWithdrawn {
        /// Which.
        offer: OfferId,
    },
    /// The operator gave a right without end.
    RuleGiven {
        /// The right.
        rule: Rule,
    },
    /// The operator took one back.
    RuleRemoved {
        /// Which.
        rule: RuleId,
    },
    /// A login exists.
    SubscriberRegistered {
        /// Its opaque identity.
        subscriber: SubscriberId,
        /// Its name. Personal data; `None` without the key.
        username: Option<Username>,
        /// What is kept of its password. Personal data; `None` without the key.
        verifier: Option<PasswordVerifier>,
        /// The address that bought it, which alone may change it; `None` where the operator
        /// registered it.
        owner: Option<Address>,
    },
    /// Only the new password opens the login.
    PasswordChanged {
        /// Whose.
        subscriber: SubscriberId,
        /// What is kept of it. Personal data; `None` without the key.
        verifier: Option<PasswordVerifier>,
    },
    /// The login has another name; its time goes with it.
    UsernameChanged {
        /// Whose.
        subscriber: SubscriberId,
        /// The new name. Personal data; `None` without the key.
        username: Option<Username>,
    },
    /// The login opens nothing until it is reinstated. Leases run on.
    SubscriberSuspended {
        /// Whose.
        subscriber: SubscriberId,
    },
    /// The login works again.
    SubscriberReinstated {
        /// Whose.
        subscriber: SubscriberId,
    },
    /// The person asked to be forgotten: the key to its personal data is destroyed with this
    /// event. The login is closed for ever; its payments stay, under its opaque identity.
    SubscriberErased {
        /// Whose.
        subscriber: SubscriberId,
    },
    /// Money arrived, for good.
    PaymentConfirmed {
        /// What the ledger said. Its memo is personal data; the reading is not recorded.
        confirmation: Confirmation,
    },
    /// The money was booked: `spent` bought time, the rest is on account.
    PaymentApplied {
        /// Which payment.
        payment: PaymentId,
        /// For whom.
        subscriber: SubscriberId,
        /// For which offer.
        offer: OfferId,
        /// What the time cost. May exceed the payment by what was on account.
        spent: Nanos,
        /// What is on account after it.
        credit: Nanos,
    },
    /// The money waits to be claimed.
    PaymentUnmatched {
        /// Which payment.
        payment: PaymentId,
        /// What was wrong with it.
        reason: UnmatchedReason,
    },
    /// A buyer was told what became of his payment, so that only he can read it.
    AnswerAnnounced {
        /// Which payment.
        payment: PaymentId,
        /// Whose login it is about; `None` where the payment was refused.
        subscriber: Option<SubscriberId>,
        /// Under which key his memo came sealed: it names the topic of the answer.
        key_id: [u8; 16],
        /// The answer, sealed to him. At most 4 KiB.
        sealed: Arc<[u8]>,
        /// How long it is told. Exclusive.
        until: Timestamp,
    },
    /// A right with an end begins.
    LeaseGranted {
        /// Whose.
        subscriber: SubscriberId,
        /// Where.
        filter: TopicFilter,
        /// What it allows.
        access: Access,
        /// From when on.
        from: Timestamp,
        /// Exclusive end.
        until: Timestamp,
        /// What was bought.
        offer: OfferId,
        /// At which price.
        tariff: Tariff,
        /// With which payment.
        payment: PaymentId,
    },
    /// A running right ends later.
    LeaseExtended {
        /// Whose.
        subscriber: SubscriberId,
        /// Where.
        filter: TopicFilter,
        /// What it allows.
        access: Access,
        /// The end it had.
        from: Timestamp,
        /// Its new exclusive end.
        until: Timestamp,
        /// What was bought.
        offer: OfferId,
        /// At which price.
        tariff: Tariff,
        /// With which payment.
        payment: PaymentId,
    },
    /// A running right ended before its time.
    LeaseRevoked {
        /// Whose.
        subscriber: SubscriberId,
        /// Where.
        filter: TopicFilter,
        /// What it allowed.
        access: Access,
        /// Its exclusive end now.
        until: Timestamp,
    },
    /// Tree heads of at least this size are signed with this key; the head that first covers
    /// this event with the last key too.
    HeadKeyAdopted {
        /// The public half.
        key: VerifierKey,
    },
    /// A tree head stands on the ledger, where nobody can take it back.
    HeadAnchored {
        /// Its number of events.
        size: u64,
        /// Its root.
        root: [u8; 32],
        /// The transaction that carries it.
        transaction: Digest,
    },
}

/// What an event belongs to. Events of one stream are numbered from 1. A stream's name carries
/// no personal data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// What the follower of the ledger notes for itself.
    Ledger,
    /// One offer.
    Offer(OfferId),
    /// One rule.
    Rule(RuleId),
    /// One subscriber with its leases.
    Subscriber(SubscriberId),
    /// One payment.
    Payment(PaymentId),
    /// What the log notes about itself.
    Log,
}

impl Event {
    /// The stream that the event belongs to.
    #[must_use]
    pub fn stream(&self) -> Stream {
        match self {
            Self::ChainBound { .. } | Self::LedgerScanned { .. } => Stream::Ledger,
            Self::OfferPublished { offer } => Stream::Offer(offer.id.clone()),
            Self::OfferWithdrawn { offer } => Stream::Offer(offer.clone()),
            Self::RuleGiven { rule } => Stream::Rule(rule.id),
            Self::RuleRemoved { rule } => Stream::Rule(*rule),
            Self::SubscriberRegistered { subscriber, .. }
            | Self::PasswordChanged { subscriber, .. }
            | Self::UsernameChanged { subscriber, .. }
            | Self::SubscriberSuspended { subscriber }
            | Self::SubscriberReinstated { subscriber }
            | Self::SubscriberErased { subscriber }
            | Self::LeaseGranted { subscriber, .. }
            | Self::LeaseExtended { subscriber, .. }
            | Self::LeaseRevoked { subscriber, .. } => Stream::Subscriber(*subscriber),
            Self::PaymentConfirmed { confirmation } => Stream::Payment(confirmation.payment),
            Self::PaymentApplied { payment, .. } | Self::PaymentUnmatched { payment, .. } => {
                Stream::Payment(*payment)
            }
            Self::AnswerAnnounced {
                payment,
                subscriber,
                ..
            } => match subscriber {
                // The versions of a payment that was applied are forgotten.
                Some(subscriber) => Stream::Subscriber(*subscriber),
                None => Stream::Payment(*payment),
            },
            Self::HeadKeyAdopted { .. } | Self::HeadAnchored { .. } => Stream::Log,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ledger => f.write_str("ledger"),
            Self::Offer(offer) => write!(f, "offer/{offer}"),
            Self::Rule(rule) => write!(f, "rule/{rule}"),
            Self::Subscriber(subscriber) => write!(f, "subscriber/{subscriber}"),
            Self::Payment(payment) => write!(f, "payment/{payment}"),
            Self::Log => f.write_str("log"),
        }
    }
}
