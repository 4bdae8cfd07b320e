//! A log that is read and nothing else.

use crate::config::Config;
use crate::event_log::{EventLog, EventLogError, Head};
use crate::postgres::{self, PostgresError, PrivatePostgres};
use crate::serve::data_dir;
use sqlx::Row;
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use tanglegate_core::{Position, SubscriberId};

/// A log that cannot be opened for reading.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No address of a database.
    #[error(
        "DATABASE_URL is not a PostgreSQL address; for example \
         DATABASE_URL=postgres://auditor:password@db.example/tanglegate"
    )]
    Address,
    /// An audit makes no database.
    #[error(
        "there is no log in {0}: name the engine's data folder with --data-dir, or the database \
         with DATABASE_URL"
    )]
    Nothing(PathBuf),
    /// The private database cannot be started.
    #[error(transparent)]
    Private(#[from] PostgresError),
    /// It is not there, or not ours.
    #[error(
        "the log cannot be read: {0}. An auditor's login needs the role tanglegate_reader: \
         grant tanglegate_reader to …"
    )]
    Log(#[from] EventLogError),
    /// No data folder is known.
    #[error(transparent)]
    Folder(#[from] anyhow::Error),
}

/// A log as of one instant. A private database that nobody runs is started for it, and stopped.
pub struct Archive {
    pub(super) log: EventLog,
    options: PgConnectOptions,
    private: Option<PrivatePostgres>,
}

impl Archive {
    /// Opens the log of a configuration.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub async fn open(config: &Config) -> Result<Self, ArchiveError> {
        let (options, private) = match &config.database {
            Some(address) => (parse(address.expose())?, None),
            None => Self::private(config).await?,
        };
        Self::of(options, private).await
    }

    /// Opens the log in a database that somebody runs.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub async fn at(options: PgConnectOptions) -> Result<Self, ArchiveError> {
        Self::of(options, None).await
    }

    async fn of(
        options: PgConnectOptions,
        private: Option<PrivatePostgres>,
    ) -> Result<Self, ArchiveError> {
        let log = EventLog::open_to_read(&options).await?;
        Ok(Self {
            log,
            options,
            private,
        })
    }

    async fn private(
        config: &Config,
    ) -> Result<(PgConnectOptions, Option<PrivatePostgres>), ArchiveError> {
        let folder = data_dir(config)?.join("postgres");
        if let Some(url) = postgres::running(&folder) {
            return Ok((parse(&url)?, None));
        }
        // What cannot be looked at is for the start to complain about.
        if let Ok(false) = folder.join("data").try_exists() {
            return Err(ArchiveError::Nothing(data_dir(config)?));
        }
        let settings = postgres::Settings {
            folder,
            durable: true,
        };
        let server = PrivatePostgres::start(&settings, |_| ()).await?;
        Ok((server.connect_options(), Some(server)))
    }

    /// How to connect to the same database once more.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn head(&mut self) -> Result<Head, EventLogError> {
        self.log.head().await
    }

    /// Whose name it is now. A name that was erased is nobody's.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn named(&mut self, username: &str) -> Result<Option<SubscriberId>, EventLogError> {
        let id: Option<String> =
            sqlx::query_scalar("select subscriber from projection.subscriber where username = $1")
                .bind(username)
                .fetch_optional(self.log.connection())
                .await?;
        Ok(id.and_then(|it| SubscriberId::parse(&it).ok()))
    }

    /// The name that a subscriber has now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn name_of(
        &mut self,
        subscriber: SubscriberId,
    ) -> Result<Option<String>, EventLogError> {
        let row = sqlx::query("select username from projection.subscriber where subscriber = $1")
            .bind(subscriber.to_string())
            .fetch_optional(self.log.connection())
            .await?;
        Ok(row.map(|it| it.try_get(0)).transpose()?.flatten())
    }

    /// The names of all logins that have one, by their opaque identities.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn names(&mut self) -> Result<BTreeMap<String, String>, EventLogError> {
        let query = "select subscriber, username from projection.subscriber \
             where username is not null";
        let rows: Vec<(String, String)> = sqlx::query_as(query)
            .fetch_all(self.log.connection())
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// The position of the last event.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last(&mut self) -> Result<Position, EventLogError> {
        Ok(Position(self.head().await?.size))
    }

    /// Lets the database go.
    pub async fn close(self) {
        self.log.close().await;
        if let Some(server) = self.private {
            server.stop().await;
        }
    }
}

fn parse(address: &str) -> Result<PgConnectOptions, ArchiveError> {
    use sqlx::ConnectOptions;
    let ours = ["postgres://", "postgresql://"]
        .iter()
        .any(|it| address.starts_with(it));
    let options = PgConnectOptions::from_str(address).ok().filter(|_| ours);
    Ok(options
        .ok_or(ArchiveError::Address)?
        .disable_statement_logging())
}
