//! The private server of one engine, from start to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::postgres::PgConnectOptions;

use super::account::Account;
use super::folder::Folder;
use super::process::Process;
use super::{PostgresError, cluster, leftover};

/// How long a fast shutdown may take; it writes a checkpoint first.
const FAST: Duration = Duration::from_secs(60);

/// How long an immediate shutdown may take; the next start then repeats the log.
const IMMEDIATE: Duration = Duration::from_secs(10);

/// What a private server needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A folder for this server alone, such as [`default_folder`](super::default_folder). It is
    /// created where missing. As root, the account that runs the server must be able to pass
    /// through the folders above it.
    pub folder: PathBuf,
    /// Whether an acknowledged commit survives a power failure. False is for tests.
    pub durable: bool,
}

/// A running PostgreSQL that belongs to this process and ends with it.
#[derive(Debug)]
pub struct PrivatePostgres {
    folder: Folder,
    process: Process,
    version: String,
}

impl PrivatePostgres {
    /// Starts the server, creating its data (2–3 s) and even installing it (a minute) where
    /// needed; else it takes about 0.1 s. `progress` is told, in sentences for people, about
    /// everything that takes long.
    ///
    /// # Errors
    /// [`PostgresError`]; above all [`PostgresError::Held`] where another engine runs on the
    /// same folder, and [`PostgresError::NotFound`] where there is no PostgreSQL.
    pub async fn start(
        settings: &Settings,
        progress: impl Fn(&str) + Send + 'static,
    ) -> Result<PrivatePostgres, PostgresError> {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || start(&settings, &progress))
            .await
            .map_err(|panicked| PostgresError::Ended {
                how: panicked.to_string(),
                log: PathBuf::new(),
                output: String::new(),
            })?
    }

    /// How to connect.
    pub fn connect_options(&self) -> PgConnectOptions {
        cluster::connect_options(&self.folder)
    }

    /// The same as a URL for `DATABASE_URL` or `psql`. It holds no secret.
    pub fn url(&self) -> String {
        cluster::url(&self.folder.socket, cluster::DATABASE)
    }

    /// Version of the server, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Process id of the server.
    pub fn pid(&self) -> i32 {
        self.process.pid.as_raw_nonzero().get()
    }

    /// Resolves when the server has ended, with how it ended. While the engine runs that is a
    /// fault: PostgreSQL repairs the crash of one of its own processes without ending.
    pub async fn ended(&self) -> String {
        self.process.wait().await
    }

    /// Disconnects everybody, writes a checkpoint and waits for the end of the server, at most
    /// some 70 s. Says how it ended.
    pub async fn stop(self) -> String {
        for (signal, patience) in [(Signal::INT, FAST), (Signal::QUIT, IMMEDIATE)] {
            self.process.signal(signal);
            if let Ok(how) = tokio::time::timeout(patience, self.process.wait()).await {
                return how;
            }
            tracing::warn!(
                pid = self.pid(),
                ?patience,
                "PostgreSQL does not stop, asking harder"
            );
        }
        self.process.signal(Signal::KILL);
        self.process.wait().await
    }
}

impl Drop for PrivatePostgres {
    /// Asks for a fast shutdown without waiting for it; after [`PrivatePostgres::stop`] it does
    /// nothing.
    fn drop(&mut self) {
        self.process.signal(Signal::INT);
    }
}

/// URL of the private server that some engine runs on `folder` right now, for commands that look
/// on while it runs. None where no server is ready.
pub fn running(folder: &Path) -> Option<String> {
    let data = folder.join("data").canonicalize().ok()?;
    let pid = leftover::postmaster(&data)?;
    let ready = leftover::is_ready(&data, pid) && leftover::runs_here(pid, &data);
    ready
        .then(|| leftover::socket(&data))
        .flatten()
        .map(|it| cluster::url(&it, cluster::DATABASE))
}

fn start(settings: &Settings, progress: &dyn Fn(&str)) -> Result<PrivatePostgres, PostgresError> {
    let folder = Folder::prepare(&settings.folder, Account::choose()?)?;
    let held = folder.hold()?;
    let programs = cluster::programs(&folder, progress)?;
    leftover::clear(&folder.data(), progress)?;
    leftover::unlock(&folder.socket, &folder.data())?;
    cluster::create(&folder, &programs, settings.durable, progress)?;
    let server = cluster::server(&folder, &programs, settings.durable)?;
    let process = Process::spawn(server, held).map_err(|source| PostgresError::Run {
        program: programs.program("postgres"),
        source,
    })?;
    let server = PrivatePostgres {
        folder,
        process,
        version: programs.version,
    };
    let ended = || server.process.ended();
    cluster::wait_until_ready(&server.folder, server.process.pid, ended, progress)?;
    Ok(server)
}

#[cfg(test)]
#[path = "private_tests.rs"]
mod tests;
