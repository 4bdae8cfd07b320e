//! A few events, by what they belong to.

use super::{BodyError, EventLog, EventLogError, Origin, StoredEvent, Vault, decode};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use tanglegate_core::{Event, IdempotencyKey, Position, Stream, Timestamp};
use tanglegate_crypto::Hash;

const COLUMNS: &str = "position, stream, version, kind, schema_version, idempotency_key, \
     (extract(epoch from recorded_at) * 1000)::bigint as at, uuid_send(correlation) as correlation, causation, meta, body, leaf";

/// An event that was read from the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEvent {
    /// Place in the log.
    pub position: u64,
    /// What it belongs to.
    pub stream: String,
    /// Its number there.
    pub version: u64,
    /// What kind of event it is.
    pub kind: String,
    /// Which version of that kind's body.
    pub schema_version: i16,
    /// What makes its command recorded once.
    pub idempotency_key: Option<Vec<u8>>,
    /// When, by the log's clock.
    pub recorded_at: Timestamp,
    /// The request it belongs to.
    pub correlation: Option<[u8; 16]>,
    /// The event that caused it.
    pub causation: Option<u64>,
    /// Where the command came from.
    pub meta: Vec<u8>,
    /// The encoded event.
    pub body: Vec<u8>,
    /// Its recorded leaf.
    pub leaf: Hash,
}

impl OwnedEvent {
    /// The same, borrowed.
    #[must_use]
    pub fn stored(&self) -> StoredEvent<'_> {
        StoredEvent {
            position: self.position,
            stream: &self.stream,
            version: self.version,
            kind: &self.kind,
            schema_version: self.schema_version,
            idempotency_key: self.idempotency_key.as_deref(),
            recorded_at: self.recorded_at,
            correlation: self.correlation,
            causation: self.causation,
            meta: &self.meta,
            body: &self.body,
        }
    }

    /// What it says; personal data stays sealed without its key in `vault`.
    ///
    /// # Errors
    /// When the bytes are not such an event.
    pub fn decode(&self, vault: &Vault) -> Result<Event, BodyError> {
        decode(&self.kind, self.schema_version, &self.body, vault)
    }

    /// Where the command came from, in a word.
    #[must_use]
    pub fn origin(&self) -> &'static str {
        Origin::describe(&self.meta)
    }

    fn read(row: &PgRow) -> Result<Self, EventLogError> {
        let correlation: Option<Vec<u8>> = row.try_get("correlation")?;
        let (position, version): (i64, i64) = (row.try_get("position")?, row.try_get("version")?);
        let (at, causation): (i64, Option<i64>) = (row.try_get("at")?, row.try_get("causation")?);
        let leaf: Vec<u8> = row.try_get("leaf")?;
        let leaf = leaf.try_into();
        Ok(Self {
            position: position.unsigned_abs(),
            stream: row.try_get("stream")?,
            version: version.unsigned_abs(),
            kind: row.try_get("kind")?,
            schema_version: row.try_get("schema_version")?,
            idempotency_key: row.try_get("idempotency_key")?,
            recorded_at: Timestamp(at.unsigned_abs()),
            correlation: correlation.and_then(|it| it.try_into().ok()),
            causation: causation.map(i64::unsigned_abs),
            meta: row.try_get("meta")?,
            body: row.try_get("body")?,
            leaf: leaf.map_err(|_| EventLogError::Copy("a leaf has another length"))?,
        })
    }
}

impl EventLog {
    /// The events of some streams up to a position, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read, an event is not the one that was written, or one is
    /// missing before another of its stream. That the last of a stream are missing, only the
    /// whole log shows.
    pub async fn events_of(
        &mut self,
        streams: &[Stream],
        up_to: Position,
    ) -> Result<Vec<OwnedEvent>, EventLogError> {
        let names: Vec<String> = streams.iter().map(ToString::to_string).collect();
        let condition = "stream = any($1) and position <= $2";
        let events = self.select(condition, |it| it.bind(names).bind(signed(up_to.0)));
        whole_streams(events.await?)
    }

    /// The events of all streams whose names begin with `prefix`, which is ASCII and not empty.
    ///
    /// # Errors
    /// As for [`EventLog::events_of`].
    pub async fn events_of_all(
        &mut self,
        prefix: &str,
        up_to: Position,
    ) -> Result<Vec<OwnedEvent>, EventLogError> {
        // Streams are sorted bytewise: all of them stand before the next text of that length.
        let (first, last) = prefix.split_at(prefix.len() - 1);
        let next = last
            .chars()
            .map(|it| char::from_u32(u32::from(it) + 1).unwrap_or(char::MAX));
        let (from, to) = (
            prefix.to_owned(),
            first.chars().chain(next).collect::<String>(),
        );
        let condition = "stream >= $1 and stream < $2 and position <= $3";
        let events = self.select(condition, |it| it.bind(from).bind(to).bind(signed(up_to.0)));
        whole_streams(events.await?)
    }

    /// The first event of a command and what followed from it.
    ///
    /// # Errors
    /// As for [`EventLog::events_of`].
    pub async fn events_caused_by(
        &mut self,
        first: Position,
    ) -> Result<Vec<OwnedEvent>, EventLogError> {
        let condition = "position = $1 or causation = $1";
        self.select(condition, |it| it.bind(signed(first.0))).await
    }

    /// The event that was recorded under this key, the first of its command.
    ///
    /// # Errors
    /// When the database cannot be read, or the event is not the one that was written.
    pub async fn event_with_key(
        &mut self,
        key: IdempotencyKey,
    ) -> Result<Option<OwnedEvent>, EventLogError> {
        let key = key.to_bytes();
        let events = self.select("idempotency_key = $1", |it| it.bind(key));
        Ok(events.await?.pop())
    }

    /// What buyers were told since `instant`, oldest first; of more than `most` the newest.
    ///
    /// # Errors
    /// As for [`EventLog::events_of`].
    pub async fn answers_since(
        &mut self,
        instant: Timestamp,
        most: usize,
    ) -> Result<Vec<OwnedEvent>, EventLogError> {
        let condition = "position in (select position from event_log.event \
             where kind = 'answer_announced' and recorded_at >= to_timestamp($1::bigint / 1000.0) \
             order by recorded_at desc, position desc limit $2)";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.select(condition, |it| it.bind(signed(instant.0)).bind(most))
            .await
    }

    async fn select<'q>(
        &'q mut self,
        condition: &str,
        bind: impl FnOnce(Asked<'q>) -> Asked<'q>,
    ) -> Result<Vec<OwnedEvent>, EventLogError> {
        let query =
            format!("select {COLUMNS} from event_log.event where {condition} order by position");
        let query = bind(sqlx::query(sqlx::AssertSqlSafe(query)));
        let rows = query.fetch_all(&mut self.connection).await?;
        let events: Vec<OwnedEvent> = rows
            .iter()
            .map(OwnedEvent::read)
            .collect::<Result<_, _>>()?;
        match events.iter().find(|it| it.stored().leaf() != it.leaf) {
            Some(changed) => Err(EventLogError::LeafDiffers {
                position: changed.position,
            }),
            None => Ok(events),
        }
    }

    /// The last event that was recorded at `instant` or before; 0 when there was none. Positions
    /// and instants grow together, so this takes some twenty look-ups in a log of millions.
    ///
    /// # Errors
    /// When the database cannot be read, or an event is missing where it looks.
    pub async fn position_at(&mut self, instant: Timestamp) -> Result<Position, EventLogError> {
        let (mut known, mut beyond) = (0, self.head().await?.size + 1);
        while known + 1 < beyond {
            let middle = known + (beyond - known) / 2;
            match self.recorded_at(Position(middle)).await? {
                Some(at) if at <= instant => known = middle,
                Some(_) => beyond = middle,
                None => return Err(EventLogError::Missing { position: middle }),
            }
        }
        Ok(Position(known))
    }

    /// When an event was recorded; `None` when there is none at that position.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn recorded_at(
        &mut self,
        position: Position,
    ) -> Result<Option<Timestamp>, EventLogError> {
        let at: Option<i64> = sqlx::query_scalar(
            "select (extract(epoch from recorded_at) * 1000)::bigint from event_log.event \
             where position = $1",
        )
        .bind(signed(position.0))
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(at.map(|it| Timestamp(it.unsigned_abs())))
    }
}

/// Events whose streams have no gaps: those of each are numbered from 1.
fn whole_streams(events: Vec<OwnedEvent>) -> Result<Vec<OwnedEvent>, EventLogError> {
    let mut versions: HashMap<&str, u64> = HashMap::new();
    for event in &events {
        let version = versions.entry(&event.stream).or_default();
        *version += 1;
        if event.version != *version {
            return Err(EventLogError::StreamGap {
                stream: event.stream.clone(),
                version: *version,
                found: event.position,
            });
        }
    }
    Ok(events)
}

type Asked<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Positions beyond what the table can hold are beyond its end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
