//! What the operator may look at: projection rows as JSON, read with the reader's rights.

use crate::control::wire::EventLine;
use crate::event_log::{Origin, Vault, decode, describe};
use sqlx::Row;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::time::Duration;
use tanglegate_core::{Event, Position, SubscriberId, Timestamp};

/// A read-only view of the database.
#[derive(Clone)]
pub(super) struct Tables {
    pool: PgPool,
}

/// Most rows in one answer.
const MOST: i64 = 1_000;

impl Tables {
    pub(super) fn new(options: &PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(Duration::from_secs(60))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    sqlx::query("set role tanglegate_reader")
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone());
        Self { pool }
    }

    /// The rows of a query as one JSON array, made by the database.
    async fn rows(&self, query: &'static str) -> Result<String, sqlx::Error> {
        sqlx::query_scalar(query)
            .bind(MOST)
            .fetch_one(&self.pool)
            .await
    }

    pub(super) async fn offers(&self) -> Result<String, sqlx::Error> {
        self.rows(
            "select coalesce(json_agg(it), '[]')::text from (select offer, seller, filter, access, \
             price, period_ms, least, ends_at, withdrawn from projection.offer \
             order by offer limit $1) as it",
        )
        .await
    }

    pub(super) async fn subscribers(&self) -> Result<String, sqlx::Error> {
        self.rows(
            "select coalesce(json_agg(it), '[]')::text from (select username, subscriber, \
             suspended, erased, credit from projection.subscriber order by username limit $1) as it",
        )
        .await
    }

    pub(super) async fn rules(&self) -> Result<String, sqlx::Error> {
        self.rows(
            "select coalesce(json_agg(it), '[]')::text from (select substr(source, 6) as rule, \
             coalesce(username, holder) as who, filter, access from projection.access \
             left join projection.subscriber on subscriber = holder \
             where source like 'rule/%' order by who, filter limit $1) as it",
        )
        .await
    }

    pub(super) async fn leases(&self) -> Result<String, sqlx::Error> {
        self.rows(
            "select coalesce(json_agg(it), '[]')::text from (select coalesce(username, holder) \
             as who, filter, access, starts_at, ends_at, \
             (extract(epoch from ends_at) * 1000)::bigint as ends_at_ms, ends_at > now() as running \
             from projection.access left join projection.subscriber on subscriber = holder \
             where source = 'lease' order by ends_at desc limit $1) as it",
        )
        .await
    }

    pub(super) async fn payments(&self) -> Result<String, sqlx::Error> {
        self.rows(
            "select coalesce(json_agg(it), '[]')::text from (select digest, index, payer, amount, \
             checkpoint, recorded_at, state, reason, offer, spent, payment.credit, username \
             from projection.payment left join projection.subscriber using (subscriber) \
             order by payment.position desc limit $1) as it",
        )
        .await
    }

    /// Whose name it is.
    pub(super) async fn subscriber(&self, name: &str) -> Result<Option<SubscriberId>, sqlx::Error> {
        let found: Option<String> =
            sqlx::query_scalar("select subscriber from projection.subscriber where username = $1")
                .bind(name)
                .fetch_optional(&self.pool)
                .await?;
        Ok(found.and_then(|it| SubscriberId::parse(&it).ok()))
    }

    /// The root of the signed tree head of so many events; `None` where none was signed.
    pub(super) async fn signed_root(&self, size: u64) -> Result<Option<[u8; 32]>, sqlx::Error> {
        let note: Option<String> =
            sqlx::query_scalar("select note from event_log.tree_head where size = $1")
                .bind(i64::try_from(size).unwrap_or(i64::MAX))
                .fetch_optional(&self.pool)
                .await?;
        let head = note.and_then(|it| tanglegate_crypto::SignedHead::parse(&it).ok());
        Ok(head.map(|it| it.head.root))
    }

    /// The size and root of the anchor that an event records; `None` when it records none.
    pub(super) async fn anchor_at(
        &self,
        position: Position,
    ) -> Result<Option<(u64, [u8; 32])>, sqlx::Error> {
        let query = "select kind, schema_version, body from event_log.event where position = $1";
        let row: Option<(String, i16, Vec<u8>)> = sqlx::query_as(query)
            .bind(i64::try_from(position.0).unwrap_or(i64::MAX))
            .fetch_optional(&self.pool)
            .await?;
        let vault = Vault::default();
        let event =
            row.and_then(|(kind, version, body)| decode(&kind, version, &body, &vault).ok());
        Ok(match event {
            Some(Event::HeadAnchored { size, root, .. }) => Some((size, root)),
            _ => None,
        })
    }

    /// Events after a position, oldest first. Personal data stays sealed.
    pub(super) async fn events(
        &self,
        after: i64,
        most: i64,
    ) -> Result<Vec<EventLine>, sqlx::Error> {
        let rows = sqlx::query(
            "select position, (extract(epoch from recorded_at) * 1000)::bigint, kind, \
             schema_version, stream, meta, body from event_log.event where position > $1 \
             order by position limit $2",
        )
        .bind(after)
        .bind(most.clamp(1, MOST))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(event_line).collect()
    }

    /// The position of the last event.
    pub(super) async fn head(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("select max(size) from event_log.batch")
            .fetch_one(&self.pool)
            .await
    }
}

fn event_line(row: &sqlx::postgres::PgRow) -> Result<EventLine, sqlx::Error> {
    let (position, at): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let (kind, stream): (String, String) = (row.try_get(2)?, row.try_get(4)?);
    let (meta, body): (Vec<u8>, Vec<u8>) = (row.try_get(5)?, row.try_get(6)?);
    // Without keys: what is personal stays closed, and the line says so.
    let event = decode(&kind, row.try_get(3)?, &body, &Vault::default());
    let text = event.map_or_else(|it| it.to_string(), |it| describe(&it));
    let recorded_at = Timestamp(at.unsigned_abs());
    Ok(EventLine {
        position: position.unsigned_abs(),
        recorded_at: recorded_at.0,
        kind,
        stream,
        origin: Origin::describe(&meta).to_owned(),
        text,
    })
}
