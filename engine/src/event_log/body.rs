//! Event bodies: from an event to the bytes in the log, and back from every version ever
//! written. Bytes in the log are never rewritten; an old version is read by its own types and
//! raised to today's event by a pure function.

mod v1;
mod v2;

use super::vault::{Entropy, Owner, Vault};
use tanglegate_core::Event;
use tanglegate_crypto::SealError;

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Written by a newer engine.
    #[error(
        "event kind '{kind}' in version {schema_version} is not known: it was written by a \
         newer engine; upgrade this one"
    )]
    UnknownKind {
        /// The kind.
        kind: String,
        /// Its version.
        schema_version: i16,
    },
    /// Not the encoding it should be.
    #[error("the body of a '{kind}' event is damaged: {source}")]
    Damaged {
        /// The kind.
        kind: String,
        /// What the decoder says.
        source: minicbor::decode::Error,
    },
    /// A value in it that no engine writes.
    #[error("the body of a '{kind}' event holds a value that cannot be: {what}")]
    Invalid {
        /// The kind.
        kind: String,
        /// What is wrong.
        what: String,
    },
    /// Personal data that does not open.
    #[error("the personal data of subject {subject} does not open: {source}")]
    Sealed {
        /// Whose.
        subject: String,
        /// Why.
        source: SealError,
    },
}

/// An encoded event.
pub(crate) struct Body {
    pub(crate) kind: &'static str,
    pub(crate) schema_version: i16,
    pub(crate) bytes: Vec<u8>,
}

/// Encodes an event in the newest version. Keys that had to be made are left in the vault;
/// `owner` is whom a memo in it is about, if that is known.
pub(crate) fn encode(
    event: &Event,
    owner: Option<Owner>,
    vault: &mut Vault,
    entropy: &mut Entropy,
) -> Body {
    let (kind, schema_version, bytes) = match event {
        Event::SubscriberRegistered {
            subscriber,
            username,
            verifier,
            owner: buyer,
        } => {
            let login = (v1::known(username), v1::known(verifier));
            let bytes = v2::subscriber_registered(*subscriber, login, *buyer, vault, entropy);
            ("subscriber_registered", 2, bytes)
        }
        event => {
            let (kind, bytes) = v1::encode(event, owner, vault, entropy);
            (kind, 1, bytes)
        }
    };
    Body {
        kind,
        schema_version,
        bytes,
    }
}

/// Decodes an event of any version. Personal data is `None` when its key is not in the vault.
/// Memos stay closed (their keys are not in memory), and a confirmation's reading of its memo is
/// not recorded: both come back empty.
///
/// # Errors
/// When the kind is unknown, the bytes are damaged, or personal data does not open under its key.
pub fn decode(
    kind: &str,
    schema_version: i16,
    bytes: &[u8],
    vault: &Vault,
) -> Result<Event, BodyError> {
    match schema_version {
        1 => v1::decode(kind, bytes, vault),
        2 => v2::decode(kind, bytes, vault),
        _ => Err(BodyError::UnknownKind {
            kind: kind.to_owned(),
            schema_version,
        }),
    }
}

#[cfg(test)]
mod tests;
