//! What PostgreSQL does with the same rows when nobody decides, hashes or checks anything.

use super::ground::owner;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Executor, Row};
use std::time::{Duration, Instant};

/// Tables as the log's, with their checks and indexes, without triggers and references.
const TABLES: &str = "
    create schema bench;
    create table bench.event (like event_log.event including all);
    create table bench.subject_key (like vault.subject_key including all);
    create table bench.payment (like projection.payment including all);
    create table bench.single (like event_log.event including all);
    create sequence bench.position;
    alter table bench.single alter position set default nextval('bench.position');";

/// Server-side COPY FROM a file of the rows that were appended since the last look.
pub(super) struct CopyFrom {
    connection: PgConnection,
    file: String,
    position: i64,
    keys: String,
}

impl CopyFrom {
    /// Makes the tables; what is in the log by now is left out.
    pub(super) async fn prepare(options: &PgConnectOptions) -> anyhow::Result<Self> {
        let mut connection = owner(options).await?;
        connection.execute(sqlx::raw_sql(TABLES)).await?;
        let folder: String = sqlx::query_scalar("show data_directory")
            .fetch_one(&mut connection)
            .await?;
        let file = format!("{folder}/bench.rows");
        let mut floor = Self {
            connection,
            file,
            position: 0,
            keys: String::new(),
        };
        (floor.position, floor.keys) = floor.ends().await?;
        Ok(floor)
    }

    /// Where log and keys end.
    async fn ends(&mut self) -> anyhow::Result<(i64, String)> {
        let row = sqlx::query(
            "select (select max(size) from event_log.batch), \
             coalesce((select max(ctid) from vault.subject_key), '(0,0)')::text",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    /// Lets the server write out what is dirty, so that it does not do so in somebody's time.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        self.connection.execute("checkpoint").await?;
        Ok(())
    }

    /// Copies the new events; how many, and how long it took.
    pub(super) async fn events(&mut self) -> anyhow::Result<(u64, Duration)> {
        let (last, after) = (self.ends().await?.0, self.position);
        let rows = format!(
            "select * from event_log.event where position > {after} and position <= {last} \
             order by position"
        );
        let took = self.copy(&rows, "bench.event").await?;
        Ok(((last - after).unsigned_abs(), took))
    }

    /// Copies the keys and the payments that belong to the same events.
    pub(super) async fn others(&mut self) -> anyhow::Result<Duration> {
        let (position, keys) = self.ends().await?;
        let (after, known) = (self.position, &self.keys);
        let new_keys = format!("select * from vault.subject_key where ctid > '{known}'");
        let payments =
            format!("select * from projection.payment where position > {after} order by position");
        let took = self.copy(&new_keys, "bench.subject_key").await?
            + self.copy(&payments, "bench.payment").await?;
        (self.position, self.keys) = (position, keys);
        Ok(took)
    }

    async fn copy(&mut self, rows: &str, table: &str) -> anyhow::Result<Duration> {
        let file = &self.file;
        let export = format!("copy ({rows}) to '{file}' (format binary)");
        self.connection.execute(AssertSqlSafe(export)).await?;
        self.settle().await?;
        let import = format!("copy {table} from '{}' (format binary)", self.file);
        let started = Instant::now();
        self.connection.execute(AssertSqlSafe(import)).await?;
        Ok(started.elapsed())
    }
}

/// A row of the log to insert like ones of.
pub(super) struct Sample {
    kind: String,
    keyed: bool,
    causation: Option<i64>,
    meta: Vec<u8>,
    body: Vec<u8>,
    leaf: Vec<u8>,
}

/// The newest rows of the log.
pub(super) async fn samples(connection: &mut PgConnection) -> anyhow::Result<Vec<Sample>> {
    let rows = sqlx::query(
        "select kind, idempotency_key is not null, causation, meta, body, leaf \
         from event_log.event order by position desc limit 300",
    )
    .fetch_all(connection)
    .await?;
    let sample = |row: &sqlx::postgres::PgRow| -> Result<Sample, sqlx::Error> {
        Ok(Sample {
            kind: row.try_get(0)?,
            keyed: row.try_get(1)?,
            causation: row.try_get(2)?,
            meta: row.try_get(3)?,
            body: row.try_get(4)?,
            leaf: row.try_get(5)?,
        })
    };
    Ok(rows.iter().map(sample).collect::<Result<_, _>>()?)
}

/// Inserts one event like `sample` and commits; `name` is new each time.
pub(super) async fn insert(
    connection: &mut PgConnection,
    name: &str,
    sample: &Sample,
) -> Result<(), sqlx::Error> {
    let key = sample
        .keyed
        .then(|| format!("a key of 35 bytes {name:>17}").into_bytes());
    sqlx::query(
        "insert into bench.single (stream, version, kind, schema_version, idempotency_key, \
         recorded_at, causation, meta, body, leaf) \
         values ($1, 1, $2, 1, $3, now(), case when $4 then 0 end, $5, $6, $7)",
    )
    .bind(format!("a stream of some fifty-six characters: {name:>17}"))
    .bind(&sample.kind)
    .bind(key)
    .bind(sample.causation.is_some())
    .bind(&sample.meta)
    .bind(&sample.body)
    .bind(&sample.leaf)
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads every row of the log and looks at none of them; how many bytes, and how long it took.
pub(super) async fn drain(connection: &mut PgConnection) -> anyhow::Result<(u64, Duration)> {
    let started = Instant::now();
    let mut bytes = 0;
    let statement =
        "copy (select * from event_log.event order by position) to stdout (format binary)";
    let mut messages = connection.copy_out_raw(statement).await?;
    while let Some(message) = messages.try_next().await? {
        bytes += message.len() as u64;
    }
    Ok((bytes, started.elapsed()))
}
