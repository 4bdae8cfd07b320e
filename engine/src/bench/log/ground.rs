//! The server that is measured: a private, durable PostgreSQL that is gone afterwards.

use crate::event_log::{self, Entropy};
use crate::heads::{HeadSettings, KeyFolder, Signer};
use crate::postgres::{PrivatePostgres, Settings as Server};
use crate::writer::{self, News, Settings, Started};
use anyhow::Context;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tanglegate_core::{Acl, Timestamp};

/// A server in a folder of its own.
pub(in crate::bench) struct Ground {
    server: PrivatePostgres,
    folder: PathBuf,
}

impl Ground {
    /// Starts a server under the system's temporary folder. It syncs: a commit waits for the disk.
    pub(super) async fn prepare() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("tanglegate-bench-{}", std::process::id()));
        let settings = Server {
            folder: folder.clone(),
            durable: true,
        };
        let started = PrivatePostgres::start(&settings, |_| ()).await;
        match started {
            Ok(server) => Ok(Self { server, folder }),
            Err(error) => {
                remove(&folder);
                Err(error.into())
            }
        }
    }

    /// A database with an empty log, on the same server.
    pub(in crate::bench) async fn database(
        &self,
        name: &'static str,
    ) -> anyhow::Result<PgConnectOptions> {
        let options = self.server.connect_options().disable_statement_logging();
        let mut owner = PgConnection::connect_with(&options).await?;
        owner
            .execute(AssertSqlSafe(format!("create database {name}")))
            .await?;
        owner.close().await?;
        let options = options.database(name);
        event_log::migrate(&options).await?;
        Ok(options)
    }

    /// What the figures hold for.
    pub(in crate::bench) fn note(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        format!(
            "PostgreSQL {} with fsync on in {}, {cores} cores; ratios are the middle of alternating \
             rounds.",
            self.server.version(),
            self.folder.display()
        )
    }

    /// Where files may stand that go with it.
    pub(in crate::bench) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops the server and removes its folder.
    pub(super) async fn end(self) {
        self.server.stop().await;
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "the folder of the measurement stays");
        }
        _ => {}
    }
}

/// A connection with all rights, to make floors with.
pub(in crate::bench) async fn owner(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    PgConnection::connect_with(options)
        .await
        .context("the measured server does not answer")
}

/// Starts a writer as the engine does: it keeps an access table up to date.
pub(super) async fn writer(options: &PgConnectOptions) -> anyhow::Result<Started> {
    let acl = Arc::new(Mutex::new(Acl::default()));
    let installed = Arc::clone(&acl);
    let started = writer::start(
        options,
        Settings {
            node: "bench".to_owned(),
            ..Settings::default()
        },
        Entropy::system(),
        now,
        move |replayed| *installed.lock() = replayed,
        move |news| {
            if let News::Recorded(events) = news {
                let mut acl = acl.lock();
                for event in events {
                    acl.apply(*event);
                }
            }
        },
    );
    Ok(started.await?)
}

/// Signs tree heads as the engine does, with a key of its own in `data_dir`.
pub(super) async fn signer(
    options: &PgConnectOptions,
    writer: &Started,
    data_dir: &Path,
) -> anyhow::Result<Signer> {
    std::fs::create_dir_all(data_dir)?;
    let folder = KeyFolder::of(data_dir);
    Ok(Signer::start(&HeadSettings::default(), folder, options, writer, now).await?)
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
