//! One row of the log as bytes, and the hash that covers it.

use std::sync::LazyLock;
use tanglegate_core::Timestamp;
use tanglegate_crypto::{Hash, leaf_hash};

/// An event as it stands in the table. Borrows from what was read or is about to be written.
#[derive(Debug, Clone, Copy)]
pub struct StoredEvent<'a> {
    /// Place in the log.
    pub position: u64,
    /// What it belongs to.
    pub stream: &'a str,
    /// Its number there.
    pub version: u64,
    /// What kind of event it is.
    pub kind: &'a str,
    /// Which version of that kind's body.
    pub schema_version: i16,
    /// What makes its command recorded once.
    pub idempotency_key: Option<&'a [u8]>,
    /// When, by the log's clock.
    pub recorded_at: Timestamp,
    /// The request it belongs to.
    pub correlation: Option<[u8; 16]>,
    /// The event that caused it.
    pub causation: Option<u64>,
    /// Where the command came from: see [`super::Origin`].
    pub meta: &'a [u8],
    /// The encoded event.
    pub body: &'a [u8],
}

impl StoredEvent<'_> {
    /// The leaf of the hash tree (`docs/EVENT_LOG.md`, "Leaves"): it covers every column, the
    /// body by its own hash, so that one body can be disclosed or withheld alone.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        let mut header = [0_u8; 512];
        let mut writer = HeaderWriter {
            header: &mut header,
            length: 0,
        };
        writer.put(&self.position.to_be_bytes());
        writer.put_short(self.stream.as_bytes());
        writer.put(&self.version.to_be_bytes());
        writer.put_short(self.kind.as_bytes());
        writer.put(&self.schema_version.to_be_bytes());
        writer.put_short(self.idempotency_key.unwrap_or_default());
        writer.put(&self.recorded_at.0.to_be_bytes());
        writer.put_short(self.correlation.as_ref().map_or(&[], |it| it.as_slice()));
        writer.put(&self.causation.unwrap_or(0).to_be_bytes());
        let length = writer.length;
        let meta = match *self.meta {
            [origin] => ORIGINS[usize::from(origin)],
            _ => digest(self.meta),
        };
        let body = digest(self.body);
        leaf_hash(&[&header[..length], &meta, &body])
    }
}

/// The hashes of single bytes, since every event has one for its origin.
static ORIGINS: LazyLock<[Hash; 256]> = LazyLock::new(|| {
    std::array::from_fn(|it| digest(&[u8::try_from(it).expect("an index of 256")]))
});

fn digest(bytes: &[u8]) -> Hash {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

/// Fills a buffer on the stack: a leaf costs no allocation. The table's checks bound each field
/// (255 + 63 + 64 + 16 bytes), so everything fits.
struct HeaderWriter<'a> {
    header: &'a mut [u8; 512],
    length: usize,
}

impl HeaderWriter<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.header[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    /// One byte of length, then the bytes; longer ones cannot stand in the table.
    fn put_short(&mut self, bytes: &[u8]) {
        let length = u8::try_from(bytes.len()).expect("the table bounds the field to 255 bytes");
        self.put(&[length]);
        self.put(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> StoredEvent<'static> {
        StoredEvent {
            position: 7,
            stream: "ledger",
            version: 2,
            kind: "ledger_scanned",
            schema_version: 1,
            idempotency_key: Some(&[4; 17]),
            recorded_at: Timestamp(99),
            correlation: Some([5; 16]),
            causation: Some(6),
            meta: b"meta",
            body: b"body",
        }
    }

    #[test]
    fn every_column_changes_the_leaf() {
        let leaf = event().leaf();
        let altered = [
            StoredEvent {
                position: 8,
                ..event()
            },
            StoredEvent {
                stream: "ledges",
                ..event()
            },
            StoredEvent {
                version: 3,
                ..event()
            },
            StoredEvent {
                kind: "ledger_scannee",
                ..event()
            },
            StoredEvent {
                schema_version: 2,
                ..event()
            },
            StoredEvent {
                idempotency_key: None,
                ..event()
            },
            StoredEvent {
                recorded_at: Timestamp(98),
                ..event()
            },
            StoredEvent {
                correlation: None,
                ..event()
            },
            StoredEvent {
                causation: None,
                ..event()
            },
            StoredEvent {
                meta: b"",
                ..event()
            },
            StoredEvent {
                body: b"bodz",
                ..event()
            },
        ];
        for other in altered {
            assert_ne!(other.leaf(), leaf, "{other:?}");
        }
        assert_eq!(event().leaf(), leaf);
    }

    #[test]
    fn the_longest_columns_fit() {
        let stream = "s".repeat(255);
        let kind = "k".repeat(63);
        let longest = StoredEvent {
            stream: &stream,
            kind: &kind,
            idempotency_key: Some(&[1; 64]),
            ..event()
        };
        assert_ne!(longest.leaf(), event().leaf());
    }
}
