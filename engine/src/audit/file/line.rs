//! The lines of the portable file, each a JSON object of its kind.

use crate::event_log::StoredEvent;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tanglegate_core::Timestamp;
use tanglegate_crypto::Hash;

/// What the first line says.
pub(super) const FORMAT: &str = "tanglegate-log";
/// Version of the format.
pub(super) const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
pub(super) struct Title<'a> {
    #[serde(borrow)]
    pub(super) format: Cow<'a, str>,
    pub(super) version: u32,
    /// Whose events are disclosed; absent: everybody's.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    pub(super) subject: Option<Cow<'a, str>>,
}

/// Any other line: an event, the leaf of one that is withheld, a commit, or a head.
pub(super) enum Line<'a> {
    Event(EventLine<'a>),
    Withheld(WithheldLine<'a>),
    Batch(BatchLine<'a>),
    Head(HeadLine<'a>),
}

impl<'a> Line<'a> {
    /// Each kind has fields of its own, so that a line is of one kind at most.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let event = serde_json::from_str(line).map(Self::Event);
        let other = || serde_json::from_str(line).map(Self::Withheld);
        let batch = || serde_json::from_str(line).map(Self::Batch);
        let head = || serde_json::from_str(line).map(Self::Head);
        let parsed = event.or_else(|_| other()).or_else(|_| batch());
        parsed.or_else(|_| head()).ok()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventLine<'a> {
    pub(super) position: u64,
    #[serde(borrow)]
    pub(super) stream: Cow<'a, str>,
    pub(super) version: u64,
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) schema_version: i16,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    pub(super) idempotency_key: Option<Cow<'a, str>>,
    pub(super) recorded_at: u64,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    pub(super) correlation: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) causation: Option<u64>,
    #[serde(borrow)]
    pub(super) meta: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) body: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WithheldLine<'a> {
    pub(super) position: u64,
    #[serde(borrow)]
    pub(super) leaf: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchLine<'a> {
    pub(super) previous_size: u64,
    pub(super) size: u64,
    #[serde(borrow)]
    pub(super) root: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadLine<'a> {
    #[serde(borrow)]
    pub(super) head: Cow<'a, str>,
}

/// The bytes of an event's line.
pub(super) struct Owned {
    pub(super) idempotency_key: Option<Vec<u8>>,
    pub(super) correlation: Option<[u8; 16]>,
    pub(super) meta: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Owned {
    pub(super) fn of(line: &EventLine<'_>) -> Result<Self, &'static str> {
        let short = "its stream, kind or key is longer than any in a log";
        let key = line.idempotency_key.as_deref().map(hex::decode).transpose();
        let key = key.map_err(|_| "its idempotency key is not hexadecimal")?;
        let key_length = key.as_ref().map_or(0, Vec::len);
        if line.stream.len() > 255 || line.kind.len() > 63 || key_length > 64 {
            return Err(short);
        }
        let mut correlation = None;
        if let Some(text) = &line.correlation {
            let mut bytes = [0; 16];
            hex::decode_to_slice(text.as_bytes(), &mut bytes)
                .map_err(|_| "its correlation is not 16 bytes in hexadecimal")?;
            correlation = Some(bytes);
        }
        Ok(Self {
            idempotency_key: key,
            correlation,
            meta: hex::decode(line.meta.as_bytes()).map_err(|_| "its meta is not hexadecimal")?,
            body: hex::decode(line.body.as_bytes()).map_err(|_| "its body is not hexadecimal")?,
        })
    }

    pub(super) fn stored<'a>(&'a self, line: &'a EventLine<'_>) -> StoredEvent<'a> {
        StoredEvent {
            position: line.position,
            stream: &line.stream,
            version: line.version,
            kind: &line.kind,
            schema_version: line.schema_version,
            idempotency_key: self.idempotency_key.as_deref(),
            recorded_at: Timestamp(line.recorded_at),
            correlation: self.correlation,
            causation: line.causation,
            meta: &self.meta,
            body: &self.body,
        }
    }
}

pub(super) fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}
