//! What can go wrong with the log.

use super::BodyError;
use tanglegate_core::Contradiction;

/// The log cannot be read or opened.
#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    /// The database says no, or nothing.
    #[error("the database does not answer as it should: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema is not ours.
    #[error("the database's schema cannot be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Another engine writes.
    #[error(
        "another engine writes this log: {holder}. Stop it first, or give this one a log of its \
         own (DATABASE_URL, or data_dir for a private database)"
    )]
    Claimed {
        /// Who.
        holder: String,
    },
    /// A stored event does not read.
    #[error("event {position} cannot be read: {source}")]
    Body {
        /// Which.
        position: u64,
        /// Why.
        source: BodyError,
    },
    /// Personal data whose key is gone, and nobody has erased it.
    #[error(
        "the key of subject {0} is not in the vault, so its personal data cannot be read: restore \
         the table vault.subject_key from the backup of this database"
    )]
    KeyMissing(String),
    /// The stored bytes are not what was hashed when they were written.
    #[error(
        "event {position} is not the one that was written: its bytes do not give its leaf hash. \
         The log was tampered with or the disk is failing; restore it from a copy"
    )]
    LeafDiffers {
        /// Which.
        position: u64,
    },
    /// The stored events do not give the recorded root.
    #[error(
        "the log up to event {size} does not give the root that was recorded with it. It was \
         tampered with or the disk is failing; restore it from a copy"
    )]
    RootDiffers {
        /// Up to which event.
        size: u64,
    },
    /// The log has lost its newest events.
    #[error(
        "this log ends with event {size}, and this engine signed a tree head of {signed} events: \
         the newest are missing. Was an old backup restored? Restore a newer one; or, to go on \
         without them, move keys/log.head out of the data folder: what was lost stays provable \
         by whoever holds that head"
    )]
    Older {
        /// Where the log ends.
        size: u64,
        /// Where it had been signed.
        signed: u64,
    },
    /// The log has another past than the one that was signed.
    #[error(
        "the first {signed} events are not those over which this engine signed a tree head: the \
         log was rewritten, or is another one. Restore it from a copy (`tanglegate audit verify` \
         tells where it differs); or, where another log is meant, move the folder keys out of the \
         data folder"
    )]
    OtherPast {
        /// How many events the head is over.
        signed: u64,
    },
    /// A position is missing.
    #[error(
        "after event {after} the log goes on with {found}: events are missing; restore it from a \
         copy"
    )]
    Gap {
        /// The last one that follows.
        after: u64,
        /// The next one there is.
        found: u64,
    },
    /// An event of a stream is missing.
    #[error(
        "event {found} is where event {version} of {stream} should be: events are missing or were \
         swapped; `tanglegate audit verify` tells where; restore the log from a copy"
    )]
    StreamGap {
        /// Which stream.
        stream: String,
        /// The first of its events that is missing.
        version: u64,
        /// The one in its place.
        found: u64,
    },
    /// An event is missing before the end of the log.
    #[error("event {position} is missing; restore the log from a copy")]
    Missing {
        /// Which.
        position: u64,
    },
    /// The bytes are those that were hashed, and no engine wrote them.
    #[error(
        "{0}: somebody else wrote it, or the log was put together from several; restore it from a \
         copy"
    )]
    Contradiction(#[from] Contradiction),
    /// The database sends something else than rows.
    #[error("the database sends rows in a form that is not understood: {0}")]
    Copy(&'static str),
}

/// A batch was not appended. Nothing of it is in the log, except where [`AppendError::Unavailable`]
/// leaves that open.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer was quicker: fold what is new, decide again.
    #[error("another writer has extended the log")]
    StaleHead,
    /// A command is in the log already: look up which.
    #[error("a command is recorded already")]
    KnownKey,
    /// The database is away, full or shutting down; the commit may have happened. Try again
    /// after looking the keys up.
    #[error("the database is not available: {0}")]
    Unavailable(sqlx::Error),
    /// The database did not take the batch in time; the commit may have happened. Look the keys
    /// up, and give it less at once.
    #[error("the database did not take the batch in time")]
    Silent,
    /// The database refuses what was decided: a defect of ours.
    #[error("the database refuses the batch: {0}")]
    Refused(sqlx::Error),
}

impl AppendError {
    /// A read that failed on the way to an append.
    pub(crate) fn from_log(error: EventLogError) -> Self {
        match error {
            EventLogError::Database(error) => Self::from(error),
            other => Self::Refused(sqlx::Error::Protocol(other.to_string())),
        }
    }
}

impl From<sqlx::Error> for AppendError {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(fault) = &error else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
                other => Self::Refused(other),
            };
        };
        let code = fault.code().unwrap_or_default().into_owned();
        match (code.as_str(), fault.constraint()) {
            ("23505", Some("event_idempotency_key")) => Self::KnownKey,
            ("23505", Some("batch_pkey" | "batch_previous_size_key" | "event_pkey"))
            | ("23505", Some("event_stream_version_key"))
            | ("23503", Some("batch_previous_size_fkey")) => Self::StaleHead,
            // PostgreSQL 15, appendix A: connection, resources, operator intervention, system
            // error, serialisation and deadlock, lock not available, read-only standby.
            (code, _)
                if ["08", "53", "57", "58", "40", "55"].contains(&&code[..2.min(code.len())])
                    || code == "25006" =>
            {
                Self::Unavailable(error)
            }
            _ => Self::Refused(error),
        }
    }
}
