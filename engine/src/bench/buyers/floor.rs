//! A durable commit of the same rows, when nobody opens, decides, hashes or seals anything.

use crate::bench::log::owner;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Executor, Row};
use std::time::{Duration, Instant};

/// Tables as the log's, with their checks and indexes, without triggers and references.
const TABLES: &str = "
    create schema bench;
    create table bench.event (like event_log.event including all);
    create table bench.subject_key (like vault.subject_key including all);
    create table bench.payment (like projection.payment including all);";

const COPY: &str = "
    with events as (
        insert into bench.event select * from event_log.event where position > $1 returning 1),
    keys as (
        insert into bench.subject_key
        select * from vault.subject_key where ctid > $2::text::tid returning 1),
    payments as (
        insert into bench.payment
        select * from projection.payment where position > $1 returning 1)
    select (select count(*) from events) + (select count(*) from keys)
         + (select count(*) from payments)";

/// Writes once more what was written since the last look.
pub(super) struct SameRows {
    connection: PgConnection,
    position: i64,
    keys: String,
}

impl SameRows {
    /// What is there by now is left out.
    pub(super) async fn prepare(options: &PgConnectOptions) -> anyhow::Result<Self> {
        let mut connection = owner(options).await?;
        connection
            .execute("drop schema if exists bench cascade")
            .await?;
        connection.execute(sqlx::raw_sql(TABLES)).await?;
        let mut floor = Self {
            connection,
            position: 0,
            keys: String::new(),
        };
        floor.pass_over().await?;
        Ok(floor)
    }

    /// Leaves out what is there by now.
    async fn pass_over(&mut self) -> anyhow::Result<()> {
        let row = sqlx::query(
            "select (select max(size) from event_log.batch), \
             coalesce((select max(ctid) from vault.subject_key), '(0,0)')::text",
        )
        .fetch_one(&mut self.connection)
        .await?;
        (self.position, self.keys) = (row.try_get(0)?, row.try_get(1)?);
        Ok(())
    }

    /// Commits the new rows; how many there are, and how long it took.
    pub(super) async fn commit(&mut self) -> anyhow::Result<(i64, Duration)> {
        let began = Instant::now();
        let rows = sqlx::query_scalar(COPY)
            .bind(self.position)
            .bind(&self.keys)
            .fetch_one(&mut self.connection)
            .await?;
        let took = began.elapsed();
        self.pass_over().await?;
        Ok((rows, took))
    }

    /// Bytes of the whole database after everything dirty was written.
    pub(super) async fn database_bytes(&mut self) -> anyhow::Result<i64> {
        self.connection.execute("checkpoint").await?;
        let bytes = "select pg_database_size(current_database())";
        Ok(sqlx::query_scalar(bytes)
            .fetch_one(&mut self.connection)
            .await?)
    }

    /// Events of the log.
    pub(super) async fn events(&mut self) -> anyhow::Result<i64> {
        self.pass_over().await?;
        Ok(self.position)
    }
}
