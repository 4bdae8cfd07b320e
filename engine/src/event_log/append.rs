//! Appending a batch: one statement, one round trip, one commit.

use super::error::AppendError;
use super::{Body, EventLog, Origin, StoredEvent, Vault};
use tanglegate_core::{Position, Timestamp};
use tanglegate_crypto::Hash;

/// An event that is about to be appended.
pub(crate) struct NewEvent {
    pub(crate) stream: String,
    pub(crate) version: u64,
    pub(crate) body: Body,
    pub(crate) idempotency_key: Option<Vec<u8>>,
    pub(crate) correlation: Option<[u8; 16]>,
    pub(crate) causation: Option<u64>,
    pub(crate) origin: Origin,
}

impl NewEvent {
    /// The event as it will stand in the table.
    pub(crate) fn stored(&self, position: Position, recorded_at: Timestamp) -> StoredEvent<'_> {
        StoredEvent {
            position: position.0,
            stream: &self.stream,
            version: self.version,
            kind: self.body.kind,
            schema_version: self.body.schema_version,
            idempotency_key: self.idempotency_key.as_deref(),
            recorded_at,
            correlation: self.correlation,
            causation: self.causation,
            meta: self.origin.to_meta(),
            body: &self.body.bytes,
        }
    }
}

/// Everything that one commit makes true.
pub(crate) struct NewBatch<'a> {
    /// The position after which it goes.
    pub(crate) previous: Position,
    /// The root of the tree with these events.
    pub(crate) root: Hash,
    /// Which engine writes.
    pub(crate) node: &'a str,
    /// The time of all of its events.
    pub(crate) recorded_at: Timestamp,
    /// The events and their leaves.
    pub(crate) events: &'a [(NewEvent, Hash)],
    /// Keys that the events' personal data is sealed under.
    pub(crate) vault: &'a Vault,
    /// The projection rows that the events change, as `projection.apply` reads them.
    pub(crate) changes: &'a str,
    /// Version of the folds that made the rows.
    pub(crate) fold_version: i32,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("positions, versions and instants stay far below 2⁶³")
}

impl EventLog {
    /// Appends a batch with its projection rows in one transaction.
    pub(crate) async fn append(&mut self, batch: &NewBatch<'_>) -> Result<(), AppendError> {
        let events = batch.events;
        let column = |value: fn(&NewEvent) -> &str| -> Vec<&str> {
            events.iter().map(|(it, _)| value(it)).collect()
        };
        let versions: Vec<i64> = events.iter().map(|(it, _)| signed(it.version)).collect();
        let schemas: Vec<i16> = events
            .iter()
            .map(|(it, _)| it.body.schema_version)
            .collect();
        let keys: Vec<Option<&[u8]>> = events
            .iter()
            .map(|(it, _)| it.idempotency_key.as_deref())
            .collect();
        let correlations: Vec<Option<String>> = events
            .iter()
            .map(|(it, _)| {
                it.correlation
                    .map(|it| uuid::Uuid::from_bytes(it).to_string())
            })
            .collect();
        let causations: Vec<Option<i64>> = events
            .iter()
            .map(|(it, _)| it.causation.map(signed))
            .collect();
        let metas: Vec<&[u8]> = events.iter().map(|(it, _)| it.origin.to_meta()).collect();
        let bodies: Vec<&[u8]> = events
            .iter()
            .map(|(it, _)| it.body.bytes.as_slice())
            .collect();
        let leaves: Vec<&[u8]> = events.iter().map(|(_, leaf)| leaf.as_slice()).collect();
        let fresh = batch.vault.fresh();
        let subjects: Vec<&[u8]> = fresh.iter().map(|it| it.subject.as_slice()).collect();
        let purposes: Vec<&str> = fresh.iter().map(|it| it.purpose).collect();
        let subject_keys: Vec<&[u8]> = fresh.iter().map(|it| it.key.expose().as_slice()).collect();
        sqlx::query(
            "select event_log.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text[]::uuid[], \
             $11, $12, $13, $14, $15, $16, $17), projection.apply($18::text::jsonb, $19, $20)",
        )
        .bind(signed(batch.previous.0))
        .bind(batch.root.as_slice())
        .bind(batch.node)
        .bind(signed(batch.recorded_at.0))
        .bind(column(|it| &it.stream))
        .bind(versions)
        .bind(column(|it| it.body.kind))
        .bind(schemas)
        .bind(keys)
        .bind(correlations)
        .bind(causations)
        .bind(metas)
        .bind(bodies)
        .bind(leaves)
        .bind(subjects)
        .bind(purposes)
        .bind(subject_keys)
        .bind(batch.changes)
        .bind(signed(batch.previous.0 + events.len() as u64))
        .bind(batch.fold_version)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
