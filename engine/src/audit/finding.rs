//! What can be wrong with a log.

use crate::event_log::BodyError;
use tanglegate_core::{Digest, Timestamp};
use tanglegate_crypto::HeadError;

/// The first thing that does not fit.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// The bytes of an event do not give its leaf.
    #[error("event {0} is not the one that was written: a byte of its row was changed")]
    EventChanged(u64),
    /// A position is not there.
    #[error("after event {after} comes {found}: what stood between was removed")]
    EventMissing {
        /// The last one that fits.
        after: u64,
        /// The next one there is.
        found: u64,
    },
    /// A body cannot be read.
    #[error("event {position} cannot be read: {source}")]
    Unreadable {
        /// Which.
        position: u64,
        /// Why.
        source: BodyError,
    },
    /// The log's clock runs backwards.
    #[error("event {position} was recorded {at}, before the event in front of it ({before})")]
    Backwards {
        /// Which.
        position: u64,
        /// Its instant.
        at: Timestamp,
        /// The one before.
        before: Timestamp,
    },
    /// An effect without its cause.
    #[error("event {position} names event {cause} as its cause, which comes after it")]
    CausedLater {
        /// Which.
        position: u64,
        /// What it names.
        cause: u64,
    },
    /// Batches do not follow each other.
    #[error(
        "the commit that ends with event {size} says that it follows event {claimed}, and the \
         one before ends with event {before}: a commit was removed, added or joined to another"
    )]
    BatchChain {
        /// Where the batch ends.
        size: u64,
        /// What it claims to follow.
        claimed: u64,
        /// What is in front of it.
        before: u64,
    },
    /// Events do not give the root that their commit recorded.
    #[error(
        "events {from} to {size} do not give the root that was recorded with their commit: one of \
         them was exchanged, or the root was"
    )]
    BatchRoot {
        /// The first event of the commit.
        from: u64,
        /// The last.
        size: u64,
    },
    /// Events end before or after the batches.
    #[error("the log has {events} events, and its commits announce {announced}")]
    Length {
        /// Events there are.
        events: u64,
        /// Events there should be.
        announced: u64,
    },
    /// A head's text or signature.
    #[error("the tree head of {size} events does not hold: {source}")]
    HeadForged {
        /// Its size, as its row or itself says.
        size: u64,
        /// Why.
        source: HeadError,
    },
    /// A head stands under another size than it says.
    #[error("the tree head that is kept for {kept} events is one of {size}")]
    HeadMoved {
        /// Where it stands.
        kept: u64,
        /// What it says.
        size: u64,
    },
    /// A signed head is of another log.
    #[error(
        "the tree head of {size} events, signed then, has another root than the events that \
         stand here: the last head that fits is that of {fits} events, so something in events \
         {} to {size} was changed, added or removed afterwards",
        .fits + 1
    )]
    HeadRoot {
        /// The head that does not fit.
        size: u64,
        /// The last one before it that does.
        fits: u64,
    },
    /// A signed head is of more events than there are.
    #[error(
        "a tree head of {size} events was signed, and only {events} stand here: the last {} were \
         removed, or this is an older copy of the log",
        .size - .events
    )]
    Truncated {
        /// The head.
        size: u64,
        /// What there is.
        events: u64,
    },
    /// A root on the ledger is not that of the events.
    #[error(
        "the tree head of {size} events that stands on the ledger in transaction {transaction} has \
         another root than the events that stand here"
    )]
    AnchorRoot {
        /// Its number of events.
        size: u64,
        /// The transaction.
        transaction: Digest,
    },
    /// What is on the ledger covers events that are gone.
    #[error(
        "the tree head in transaction {transaction} on the ledger covers {size} events, and only \
         {events} stand here: the last ones were removed, or this is an older copy of the log"
    )]
    AnchorTruncated {
        /// Its number of events.
        size: u64,
        /// What there is.
        events: u64,
        /// The transaction.
        transaction: Digest,
    },
    /// The ledger says something else than the log.
    #[error(
        "event {position} says that transaction {transaction} carries the tree head of {size} \
         events; on the ledger it carries one of {said} events, another root or another log's"
    )]
    AnchorDiffers {
        /// The event.
        position: u64,
        /// What it says.
        size: u64,
        /// The transaction.
        transaction: Digest,
        /// What the ledger says.
        said: u64,
    },
    /// The ledger knows of none.
    #[error("transaction {0} should carry a tree head of this log: {1}")]
    AnchorMissing(Digest, String),
    /// A head that nobody could have signed.
    #[error("there is a tree head of {size} events, and no key had been adopted by then")]
    NoKey {
        /// The head.
        size: u64,
    },
    /// The log was never signed with the key that is trusted.
    #[error(
        "no tree head here is signed with the key that you trust, {0}: this is another log, or a \
         copy under other keys"
    )]
    Untrusted(String),
    /// Heads end long before the events do.
    #[error(
        "the last {events} events, recorded over {} s, are under no tree head, and an engine that \
         runs signs one every few seconds: heads were deleted, or it had stopped signing. Hold them \
         against a head from elsewhere (--head), or accept them with --max-unsigned {events}",
        .millis / 1_000
    )]
    Unsigned {
        /// How many.
        events: u64,
        /// From the first to the last.
        millis: u64,
    },
    /// A file that withholds something without saying whose events it discloses.
    #[error(
        "event {0} is withheld, in a file that says that it discloses everybody's: what it says \
         cannot be checked"
    )]
    Withheld(u64),
}
