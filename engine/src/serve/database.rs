//! The database under the engine: the operator's, or a private one.

use crate::config::{Config, DatabaseUrl};
use crate::postgres::{self, PrivatePostgres, default_folder, settings};
use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tracing::info;

/// A database that is fit for the log.
pub struct Database {
    options: PgConnectOptions,
    private: Option<PrivatePostgres>,
}

/// Where this configuration keeps its files.
///
/// # Errors
/// When nothing is configured and no home is known.
pub fn data_dir(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &config.data_dir {
        return std::path::absolute(folder).context("data_dir cannot be made absolute");
    }
    let postgres = default_folder()?;
    Ok(postgres.parent().map_or(postgres.clone(), Path::to_owned))
}

impl Database {
    /// Uses the operator's database, or starts a private one in `data_dir`; either way its
    /// settings are checked.
    ///
    /// # Errors
    /// When it cannot be reached or started, or could forget an acknowledged commit.
    pub async fn open(
        config: &Config,
        data_dir: &Path,
        progress: impl Fn(&str) + Send + 'static,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data_dir)
            .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
        let database = match &config.database {
            Some(url) => Self {
                options: parse(url)?,
                private: None,
            },
            None => Self::private(data_dir, progress).await?,
        };
        let checked = database.check().await;
        if let Err(error) = checked {
            database.stop().await;
            return Err(error);
        }
        Ok(database)
    }

    async fn private(
        data_dir: &Path,
        progress: impl Fn(&str) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let settings = postgres::Settings {
            folder: data_dir.join("postgres"),
            durable: true,
        };
        let server = PrivatePostgres::start(&settings, progress).await?;
        info!(folder = %settings.folder.display(), version = server.version(), "a private PostgreSQL runs");
        let options = server.connect_options().disable_statement_logging();
        Ok(Self {
            options,
            private: Some(server),
        })
    }

    async fn check(&self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&self.options)
            .await
            .context("the database cannot be reached; is DATABASE_URL right?")?;
        settings::check(&mut connection, true).await?;
        connection.close().await?;
        Ok(())
    }

    /// How to connect to it.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Completes when a private database has ended by itself.
    pub async fn failed(&mut self) -> String {
        match &mut self.private {
            Some(server) => {
                let how = server.ended().await;
                format!(
                    "its private PostgreSQL ended by itself ({how}); postgres/postgres.log in the \
                     data folder says more. Start the engine again"
                )
            }
            None => std::future::pending().await,
        }
    }

    /// Stops a private database; another one is only let go.
    pub async fn stop(self) {
        if let Some(server) = self.private {
            server.stop().await;
        }
    }
}

fn parse(url: &DatabaseUrl) -> anyhow::Result<PgConnectOptions> {
    let schemes = ["postgres://", "postgresql://"];
    let ours = schemes.iter().any(|it| url.expose().starts_with(it));
    let options = PgConnectOptions::from_str(url.expose());
    // An error must not repeat the URL, which may hold a password.
    let options = options.ok().filter(|_| ours).context(
        "DATABASE_URL is not a PostgreSQL address; for example \
         DATABASE_URL=postgres://tanglegate:password@db.example/tanglegate",
    )?;
    Ok(options.disable_statement_logging())
}
