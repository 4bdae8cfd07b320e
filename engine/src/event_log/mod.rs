//! The append-only event log in PostgreSQL (`docs/EVENT_LOG.md`).
//!
//! **Positions are gapless, commit order is position order, and nothing is ever changed.** The
//! database holds that with constraints and triggers; this room only uses what they leave open:
//! append one batch after the head, and read.

mod append;
mod body;
mod copy;
mod describe;
mod error;
mod origin;
mod owned;
mod replay;
pub(crate) mod rows;
mod stored;
mod vault;

pub(crate) use append::{NewBatch, NewEvents, NewKeys, copy_into as copy_rows_into};
pub(crate) use body::encode;
pub use body::{BodyError, decode};
pub(crate) use copy::{each_row_or, without_frame};
pub use describe::describe;
pub use error::{AppendError, EventLogError};
pub use origin::Origin;
pub use owned::OwnedEvent;
pub(crate) use replay::CHUNK;
pub use replay::{Replayed, Tally};
pub use stored::StoredEvent;
pub use vault::{Entropy, Owner, Vault};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};
use std::collections::HashMap;
use std::time::Duration;
use tanglegate_core::{Position, SubscriberId};
use tanglegate_crypto::{Hash, SubjectKey};

/// Key of the advisory lock that the one writing engine holds: "tanglega" in ASCII.
const WRITER_LOCK: i64 = 0x7461_6e67_6c65_6761;

/// A connection to the log with the writer's rights.
pub struct EventLog {
    connection: PgConnection,
    options: PgConnectOptions,
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The position of the last event; 0 in an empty log.
    pub size: u64,
    /// The root of the tree over all events.
    pub root: Hash,
}

/// Brings the database's schema up to date.
///
/// # Errors
/// When the database cannot be reached, or was migrated by a newer engine.
pub async fn migrate(options: &PgConnectOptions) -> Result<(), EventLogError> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::migrate!("../migrations").run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

impl EventLog {
    /// Connects, and gives up every right but the writer's.
    ///
    /// # Errors
    /// When the database cannot be reached or was never migrated.
    pub async fn open(options: &PgConnectOptions) -> Result<Self, EventLogError> {
        let connection = Self::connect(options).await?;
        Ok(Self {
            connection,
            options: options.clone(),
        })
    }

    /// Connects to read and nothing else, with the reader's rights: the log may be a copy, a
    /// standby, or one that an engine is writing. Everything that is read through this connection
    /// is of one instant.
    ///
    /// # Errors
    /// When the database cannot be reached or was never migrated.
    pub async fn open_to_read(options: &PgConnectOptions) -> Result<Self, EventLogError> {
        let mut connection = PgConnection::connect_with(options).await?;
        for statement in [
            "set role tanglegate_reader",
            "set time zone 'UTC'",
            "begin transaction isolation level repeatable read, read only",
        ] {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        Ok(Self {
            connection,
            options: options.clone(),
        })
    }

    /// Connects with the reader's rights, to look up what is there at each moment: no transaction
    /// is held open meanwhile.
    ///
    /// # Errors
    /// As for [`EventLog::open_to_read`].
    pub(crate) async fn open_to_look_up(options: &PgConnectOptions) -> Result<Self, EventLogError> {
        let mut connection = PgConnection::connect_with(options).await?;
        for statement in ["set role tanglegate_reader", "set time zone 'UTC'"] {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        Ok(Self {
            connection,
            options: options.clone(),
        })
    }

    async fn connect(options: &PgConnectOptions) -> Result<PgConnection, EventLogError> {
        let mut connection = PgConnection::connect_with(options).await?;
        sqlx::query("set role tanglegate_writer")
            .execute(&mut connection)
            .await?;
        Ok(connection)
    }

    /// Drops the connection and makes a new one. What was claimed has to be claimed again.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn reconnect(&mut self) -> Result<(), EventLogError> {
        self.connection = Self::connect(&self.options).await?;
        Ok(())
    }

    /// Makes this connection the one that writes, waiting up to `patience` for the last one to
    /// go. The claim ends with the connection. It keeps engines from working against each other;
    /// what keeps the log whole is in the table.
    ///
    /// # Errors
    /// [`EventLogError::Claimed`], naming the holder, when another engine writes.
    pub async fn claim(&mut self, patience: Duration) -> Result<(), EventLogError> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let claimed: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
                .bind(WRITER_LOCK)
                .fetch_one(&mut self.connection)
                .await?;
            if claimed {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                return Err(EventLogError::Claimed {
                    holder: self.holder().await?,
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn holder(&mut self) -> Result<String, EventLogError> {
        let row = sqlx::query(
            "select application_name, activity.pid from pg_locks as held \
             join pg_stat_activity as activity using (pid) \
             where locktype = 'advisory' and granted and objsubid = 1 \
             and (classid::bigint << 32 | objid::bigint) = $1 \
             and database = (select oid from pg_database where datname = current_database())",
        )
        .bind(WRITER_LOCK)
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(match row {
            Some(row) => {
                let (name, pid): (Option<String>, i32) = (row.try_get(0)?, row.try_get(1)?);
                format!("'{}' (database process {pid})", name.unwrap_or_default())
            }
            None => "an engine that has just gone; try again".to_owned(),
        })
    }

    /// Where the log ends now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn head(&mut self) -> Result<Head, EventLogError> {
        let row = sqlx::query("select size, root from event_log.batch order by size desc limit 1")
            .fetch_one(&mut self.connection)
            .await?;
        let (size, root): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Head {
            size: u64::try_from(size).expect("the table holds no negative size"),
            root: root
                .try_into()
                .expect("the table holds roots of 32 bytes only"),
        })
    }

    /// The root that was recorded where a commit ended with this event; `None` where none did.
    pub(crate) async fn root_at(&mut self, size: Position) -> Result<Option<Hash>, EventLogError> {
        let root: Option<Vec<u8>> =
            sqlx::query_scalar("select root from event_log.batch where size = $1")
                .bind(i64::try_from(size.0).unwrap_or(i64::MAX))
                .fetch_optional(&mut self.connection)
                .await?;
        Ok(root.and_then(|it| it.try_into().ok()))
    }

    /// The end of the first commit that ends with this event or behind it, if there is one.
    pub(crate) async fn commit_at(
        &mut self,
        least: Position,
    ) -> Result<Option<Position>, EventLogError> {
        let query = "select size from event_log.batch where size >= $1 order by size limit 1";
        let size: Option<i64> = sqlx::query_scalar(query)
            .bind(i64::try_from(least.0).unwrap_or(i64::MAX))
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(size.map(|it| Position(it.unsigned_abs())))
    }

    /// Which of these idempotency keys stand in the log, and where.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn known_keys(
        &mut self,
        keys: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, Position>, EventLogError> {
        let rows = sqlx::query(
            "select idempotency_key, position from event_log.event where idempotency_key = any($1)",
        )
        .bind(keys)
        .fetch_all(&mut self.connection)
        .await?;
        let mut known = HashMap::with_capacity(rows.len());
        for row in rows {
            let (key, position): (Vec<u8>, i64) = (row.try_get(0)?, row.try_get(1)?);
            known.insert(key, Position(position.unsigned_abs()));
        }
        Ok(known)
    }

    /// The keys of all subscribers.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn vault(&mut self) -> Result<Vault, EventLogError> {
        let rows =
            sqlx::query("select subject, key from vault.subject_key where purpose = 'subscriber'")
                .fetch_all(&mut self.connection)
                .await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            let (subject, key): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let fits = "the table bounds the lengths of subjects and keys";
            let key = SubjectKey::from_bytes(key.try_into().expect(fits));
            keys.push((subject.try_into().expect(fits), key));
        }
        Ok(Vault::from_keys(keys))
    }

    /// Adds the key of a subscriber whom another engine registered, if there is one.
    pub(crate) async fn learn_key(
        &mut self,
        vault: &mut Vault,
        subscriber: SubscriberId,
    ) -> Result<(), EventLogError> {
        let key: Option<Vec<u8>> =
            sqlx::query_scalar("select key from vault.subject_key where subject = $1")
                .bind(subscriber.0.as_slice())
                .fetch_optional(&mut self.connection)
                .await?;
        if let Some(key) = key.and_then(|it| <[u8; 32]>::try_from(it).ok()) {
            vault.learn(subscriber.0, SubjectKey::from_bytes(key));
        }
        Ok(())
    }

    /// The connection, for reading and writing projections in the same session.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Says goodbye to the database; the claim ends.
    pub async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the database connection was gone before it was closed");
        }
    }
}
