//! A data folder, and how a server is called on it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::command::{command, tail};
use super::folder::Folder;
use super::install::find_or_install;
use super::{Binaries, PostgresError, leftover};

/// The only role of a private server.
const ROLE: &str = "tanglegate";

/// The database that `initdb` makes.
pub(super) const DATABASE: &str = "postgres";

/// The programs for this folder: those that wrote its data, or the newest, installed if need be.
pub(super) fn programs(
    folder: &Folder,
    progress: &dyn Fn(&str),
) -> Result<Binaries, PostgresError> {
    let Some(written_by) = folder.written_by() else {
        return find_or_install(progress);
    };
    match (Binaries::find(Some(written_by)), Binaries::find(None)) {
        (Err(PostgresError::NotFound { .. }), Ok(other)) => Err(PostgresError::OtherMajor {
            folder: folder.data(),
            written_by,
            installed: other.version,
        }),
        (found, _) => found,
    }
}

/// Creates the data if there is none. It appears whole or not at all: an interrupted `initdb`
/// leaves nothing that the next start would mistake for a database.
pub(super) fn create(
    folder: &Folder,
    programs: &Binaries,
    durable: bool,
    progress: &dyn Fn(&str),
) -> Result<(), PostgresError> {
    let data = folder.data();
    if folder.written_by().is_some() {
        return Ok(());
    }
    progress(&format!(
        "creating a private PostgreSQL {} in {} (takes a few seconds, this once)",
        programs.version,
        data.display()
    ));
    let unfinished = folder.unfinished()?;
    let program = programs.program("initdb");
    let mut initdb = command(&program, &folder.account, &folder.root);
    initdb
        .arg("-D")
        .arg(&unfinished)
        .args(["-U", ROLE, "-A", "trust", "-E", "UTF8"]);
    initdb.args(["--locale=C", "--data-checksums", "--no-instructions"]);
    if !durable {
        initdb.arg("--no-sync");
    }
    let output = initdb.output().map_err(|source| PostgresError::Run {
        program: program.clone(),
        source,
    })?;
    if !output.status.success() {
        let (status, output) = (output.status, tail(&output.stderr));
        return Err(PostgresError::InitDb {
            program,
            folder: data,
            status,
            output,
        });
    }
    fs::rename(&unfinished, &data).map_err(PostgresError::files("rename", &unfinished))?;
    File::open(&folder.root)
        .and_then(|root| root.sync_all())
        .map_err(PostgresError::files("sync", &folder.root))?;
    folder.discard_unfinished()
}

/// The call that starts the server on this folder: no network, one socket.
pub(super) fn server(
    folder: &Folder,
    programs: &Binaries,
    durable: bool,
) -> Result<Command, PostgresError> {
    let log = folder.open_log()?;
    let again = log
        .try_clone()
        .map_err(PostgresError::files("open", folder.log()))?;
    let mut server = command(programs.program("postgres"), &folder.account, &folder.root);
    server
        .arg("-D")
        .arg(folder.data())
        .arg("-k")
        .arg(&folder.socket);
    server.args([
        "-p",
        "5432",
        "-c",
        "listen_addresses=",
        "-c",
        "unix_socket_permissions=0777",
    ]);
    // Also without syncing, a commit survives the death of the server, if not of the machine.
    server.args(["-c", "synchronous_commit=on"]);
    let synced = if durable { "on" } else { "off" };
    server.arg("-c").arg(format!("fsync={synced}"));
    server.arg("-c").arg(format!("full_page_writes={synced}"));
    server.stdout(log).stderr(again);
    Ok(server)
}

/// Waits until the server accepts connections, for as long as it lives: after a crash it may
/// first have minutes of its log to go through.
pub(super) fn wait_until_ready(
    folder: &Folder,
    pid: Pid,
    ended: impl Fn() -> Option<String>,
    progress: &dyn Fn(&str),
) -> Result<(), PostgresError> {
    const NEWS: Duration = Duration::from_secs(5);
    let mut told = Instant::now();
    while !leftover::is_ready(&folder.data(), pid) {
        if let Some(how) = ended() {
            let log = folder.log();
            let output = tail(&fs::read(&log).unwrap_or_default());
            return Err(PostgresError::Ended { how, log, output });
        }
        if told.elapsed() > NEWS {
            progress("PostgreSQL is not ready yet; after a crash it repeats its log first");
            told = Instant::now();
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// How to connect to the server on this folder.
pub(super) fn connect_options(folder: &Folder) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(&folder.socket)
        .port(5432)
        .username(ROLE)
        .database(DATABASE)
        .ssl_mode(PgSslMode::Disable)
}

/// The same as a URL, which `psql` understands too.
pub(super) fn url(socket: &Path, database: &str) -> String {
    let socket = encode(&socket.to_string_lossy());
    format!("postgres://{ROLE}@localhost:5432/{database}?host={socket}&sslmode=disable")
}

/// Percent-encodes everything but what a URL's query surely leaves alone.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::account::Account;
    use std::path::PathBuf;

    #[test]
    fn the_url_and_the_options_name_the_same_place_whatever_the_path() {
        let folder = Folder {
            root: PathBuf::from("/x"),
            account: Account::choose().expect("this machine has an account"),
            socket: PathBuf::from("/home/ada & co/50%?#/é/socket"),
        };
        let parsed: PgConnectOptions = url(&folder.socket, DATABASE).parse().expect("a URL");
        let options = connect_options(&folder);
        assert_eq!(parsed.get_socket(), options.get_socket());
        assert_eq!(parsed.get_username(), options.get_username());
        assert_eq!(parsed.get_database(), options.get_database());
    }
}
