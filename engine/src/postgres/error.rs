//! What can go wrong between us and PostgreSQL. Every message says what to do next.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::OLDEST_MAJOR;

/// A PostgreSQL server could not be found, started, stopped or trusted.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No usable server binaries on this machine.
    #[error(
        "no PostgreSQL server was found on this machine (looked in {}): install PostgreSQL \
         {OLDEST_MAJOR} or newer (Debian, Ubuntu: apt-get install postgresql), or name its folder \
         in TANGLEGATE_PG_BIN, or set DATABASE_URL to a running server{}",
        list(looked_in), note.as_ref().map(|note| format!("; {note}")).unwrap_or_default()
    )]
    NotFound {
        /// Folders that exist and were looked into, in order.
        looked_in: Vec<PathBuf>,
        /// Why nothing was installed by ourselves, or why what was found does not do.
        note: Option<String>,
    },

    /// `TANGLEGATE_PG_BIN` names a folder whose server cannot be used.
    #[error(
        "TANGLEGATE_PG_BIN is {}: {why}; name a folder that holds `postgres` and `initdb` \
         {OLDEST_MAJOR} or newer, or unset it",
        folder.display()
    )]
    NamedBinaries {
        /// The value of the variable.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// The data folder was written by a major version that is not installed.
    #[error(
        "{} was written by PostgreSQL {written_by}, and {installed} is what is installed here: \
         install postgresql-{written_by}, or move the data with pg_upgrade",
        folder.display()
    )]
    OtherMajor {
        /// The data folder.
        folder: PathBuf,
        /// Major version in its `PG_VERSION`.
        written_by: u32,
        /// The version that was found.
        installed: String,
    },

    /// Installing the server failed.
    #[error("`{command}` failed: {output}; install PostgreSQL by hand, or set DATABASE_URL")]
    Install {
        /// What was run.
        command: String,
        /// The end of what it printed.
        output: String,
    },

    /// PostgreSQL refuses to run as root, and there is no other account to run it as.
    #[error(
        "PostgreSQL does not run as root, and /etc/passwd has neither `postgres` nor `nobody` to \
         run it as: start as another user, or set DATABASE_URL"
    )]
    NoAccount,

    /// Neither `HOME` nor `XDG_DATA_HOME` says where data may be kept.
    #[error("HOME is not set, so there is no place for the database: set HOME or data folder")]
    NoHome,

    /// The account that runs the server cannot enter its folder.
    #[error(
        "the database in {} would run as user `{account}`, who may not enter {}: run \
         `chmod o+x {}`, or choose another data folder",
        folder.display(), closed.display(), closed.display()
    )]
    Unreachable {
        /// The folder of the private server.
        folder: PathBuf,
        /// Who runs the server.
        account: String,
        /// The first folder on the way that he may not enter.
        closed: PathBuf,
    },

    /// A folder that must be ours alone is not.
    #[error(
        "{} must be a folder that belongs to {owner} with mode {mode:04o}, and is {found}: remove \
         it, or choose another data folder",
        path.display()
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Whose it must be.
        owner: String,
        /// The mode it must have.
        mode: u32,
        /// What it is instead.
        found: String,
    },

    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Files {
        /// A verb: what was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// Another engine uses the data folder.
    #[error(
        "the database in {} is in use by another engine (process {holder}): stop that one first, \
         or give this one its own data folder",
        folder.display()
    )]
    Held {
        /// The folder of the private server.
        folder: PathBuf,
        /// Process id of the engine that holds it, as it wrote it down.
        holder: String,
    },

    /// A server that a killed engine left behind does not stop.
    #[error(
        "process {pid} of an earlier run still uses {} and does not stop: look at it with \
         `ps {pid}`, then end it with `kill -QUIT {pid}`",
        folder.display()
    )]
    Leftover {
        /// The process.
        pid: i32,
        /// The data folder.
        folder: PathBuf,
    },

    /// A program could not be run at all.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// `initdb` failed.
    #[error("{} could not create {} ({status}): {output}", program.display(), folder.display())]
    InitDb {
        /// The program.
        program: PathBuf,
        /// The data folder that was to be created.
        folder: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },

    /// The server ended instead of becoming ready.
    #[error("PostgreSQL ended while starting ({how}); the end of {}: {output}", log.display())]
    Ended {
        /// How it ended.
        how: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        output: String,
    },

    /// A server setting would lose acknowledged commits or damage text.
    #[error("the database server has {setting} = {value}: {why}; {remedy}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What would go wrong.
        why: &'static str,
        /// What to do.
        remedy: &'static str,
    },

    /// The server answered with an error, or not at all.
    #[error("the database server: {0}")]
    Sql(#[from] sqlx::Error),
}

impl PostgresError {
    /// Adapter for `map_err` on file operations.
    pub(super) fn files(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> PostgresError {
        let path = path.into();
        move |source| PostgresError::Files {
            action,
            path,
            source,
        }
    }
}

/// Items of a list, as a person writes them.
fn list<T: AsRef<std::ffi::OsStr>>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    let items: Vec<_> = items
        .iter()
        .map(|item| item.as_ref().to_string_lossy())
        .collect();
    items.join(", ")
}
