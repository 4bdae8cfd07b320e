//! What the engine is asked to record, and how it refuses.

use crate::{
    Access, Address, ChainId, Confirmation, Digest, Offer, OfferId, Order, PasswordVerifier,
    PaymentId, Rule, RuleId, SubscriberId, Timestamp, TopicFilter, UnmatchedReason, Username,
    VerifierKey,
};

/// A wish. [`crate::decide`] turns it into events, or refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Follow this ledger. Binds the log to it the first time.
    BindChain(ChainId),
    /// Note that every payment to this seller up to this checkpoint is recorded.
    RecordScan {
        /// Whose payments.
        seller: Address,
        /// The checkpoint.
        checkpoint: u64,
    },
    /// The ledger has confirmed a payment. Never refused: money that is there is recorded.
    ConfirmPayment(Confirmation),
    /// The payer of a payment that waits says what it is for.
    ClaimPayment {
        /// Which payment.
        payment: PaymentId,
        /// Who proved that he paid it.
        payer: Address,
        /// What he wants for it.
        order: Box<Order>,
    },
    /// Sell something, or change the terms of what is sold.
    PublishOffer(Offer),
    /// Stop selling something.
    WithdrawOffer(OfferId),
    /// Give a right without end.
    GiveRule(Rule),
    /// Take one back.
    RemoveRule(RuleId),
    /// Create a login.
    RegisterSubscriber {
        /// A fresh random identity.
        subscriber: SubscriberId,
        /// Its name.
        username: Username,
        /// What is kept of its password.
        verifier: PasswordVerifier,
    },
    /// Replace a login's password.
    ChangePassword {
        /// Whose.
        username: Username,
        /// What is kept of the new one.
        verifier: PasswordVerifier,
    },
    /// The address that bought a login changes it.
    ChangeOwned {
        /// Who proved that the address is his.
        owner: Address,
        /// The login.
        username: Username,
        /// What is kept of its new password, if it gets one.
        verifier: Option<PasswordVerifier>,
        /// Its new name, if it gets one.
        renamed: Option<Username>,
    },
    /// Close a login until further notice.
    Suspend(Username),
    /// Open it again.
    Reinstate(Username),
    /// Forget a person: end the login's rights, close it for ever, and destroy its personal data.
    Erase(Username),
    /// End a running lease now.
    RevokeLease {
        /// Whose.
        username: Username,
        /// Where.
        filter: TopicFilter,
        /// What it allows.
        access: Access,
    },
    /// Sign tree heads with this key from now on.
    AdoptHeadKey(VerifierKey),
    /// Note that a tree head stands on the ledger.
    RecordAnchor {
        /// Its number of events.
        size: u64,
        /// Its root.
        root: [u8; 32],
        /// The transaction that carries it.
        transaction: Digest,
    },
}

/// What makes the same wish the same, however often and by whatever way it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdempotencyKey {
    /// `01 ‖ digest ‖ index`: a payment on the ledger.
    Payment(PaymentId),
    /// `04 ‖ uuid`: a wish of a person, numbered by the tool that carries it.
    Person([u8; 16]),
    /// `05 ‖ digest`: a tree head on the ledger, by the transaction that carries it.
    Anchor(Digest),
}

impl IdempotencyKey {
    /// The bytes that stand in the log: at most 35.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Payment(payment) => {
                let mut bytes = vec![0x01];
                bytes.extend_from_slice(&payment.digest.0);
                bytes.extend_from_slice(&payment.index.to_be_bytes());
                bytes
            }
            Self::Person(uuid) => [&[0x04], uuid.as_slice()].concat(),
            Self::Anchor(transaction) => [&[0x05], transaction.0.as_slice()].concat(),
        }
    }
}

/// A wish that cannot be granted, with the reason and what would help. Not a fault of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The log belongs to another ledger.
    #[error(
        "this log follows ledger {bound}, the node speaks for ledger {offered}: give the URL of \
         a node of {bound}, or start a log of its own for {offered}"
    )]
    OtherChain {
        /// The ledger in the log.
        bound: ChainId,
        /// The ledger of the node.
        offered: ChainId,
    },
    /// The scan goes backwards.
    #[error("checkpoint {offered} is not beyond {recorded}, up to which the ledger was recorded")]
    StaleScan {
        /// The recorded checkpoint.
        recorded: u64,
        /// The one in the command.
        offered: u64,
    },
    /// There is no such offer on sale.
    #[error("there is no offer '{0}' on sale; `tanglegate offer list` shows them")]
    UnknownOffer(OfferId),
    /// The offer's end is over already.
    #[error("the offer would have ended {0}, before it began: name a later end")]
    OfferOver(Timestamp),
    /// Nothing may be sold or given there.
    #[error(
        "topics under $SYS belong to the engine: choose another filter than '{0}'; only the right \
         to read $SYS/broker/# and $SYS/access/log/# can be given"
    )]
    ReservedFilter(TopicFilter),
    /// The rule exists already.
    #[error("rule {0} exists already, or did: choose another identity")]
    RuleExists(RuleId),
    /// The same right is given already.
    #[error("rule {0} gives the same right already")]
    RuleRepeated(RuleId),
    /// There is no such rule.
    #[error("there is no rule {0}; `tanglegate rule list` shows them")]
    UnknownRule(RuleId),
    /// The rule is for a subscriber who does not exist.
    #[error("there is no subscriber {0}")]
    UnknownSubscriber(SubscriberId),
    /// Names that look alike could be taken for each other.
    #[error("a new username must not have characters that nobody sees, such as {}: leave it out", .0.escape_unicode())]
    UnseenInUsername(char),
    /// Filters that look alike could be taken for each other.
    #[error("a filter to sell or give must not have characters that nobody sees, such as {}: leave it out", .0.escape_unicode())]
    UnseenInFilter(char),
    /// The name belongs to somebody.
    #[error("the username '{0}' is taken: choose another one")]
    UsernameTaken(Username),
    /// The name belongs to nobody.
    #[error("there is no subscriber named '{0}'; `tanglegate subscriber list` shows them")]
    UnknownUsername(Username),
    /// The identity was used before.
    #[error("subscriber {0} exists already")]
    SubscriberExists(SubscriberId),
    /// Nothing to do.
    #[error("'{0}' is suspended already")]
    AlreadySuspended(Username),
    /// Nothing to do.
    #[error("'{0}' is not suspended")]
    NotSuspended(Username),
    /// A log has one name for ever: whoever holds its old heads could not check the new ones.
    #[error("this log is named '{origin}': a key of '{offered}' cannot sign its tree heads")]
    OtherOrigin {
        /// The log's name.
        origin: String,
        /// The name that the key carries.
        offered: String,
    },
    /// There is no such payment, it was booked, or somebody else made it: which of these is
    /// nobody's business.
    #[error(
        "payment {0} does not wait to be claimed by this address: another one made it, it is unknown \
         here, or it bought time already"
    )]
    NothingToClaim(PaymentId),
    /// Nobody is told whether there is a login of that name that is not his.
    #[error("{0} has bought no login of that name here")]
    NotTheOwner(Address),
    /// What was asked for cannot be had; the payment goes on waiting.
    #[error("{0}; the payment goes on waiting")]
    Unclaimable(UnmatchedReason),
    /// Nothing to revoke.
    #[error(
        "'{username}' holds no running {access} lease on {filter}; `tanglegate lease list` shows them"
    )]
    NoRunningLease {
        /// Whose.
        username: Username,
        /// Where.
        filter: TopicFilter,
        /// What it would allow.
        access: Access,
    },
}
