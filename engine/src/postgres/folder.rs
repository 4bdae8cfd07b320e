//! Where a private server lives, and who may enter.
//!
//! ```text
//! <folder>/            ours; nobody else writes here, the server's account may pass through
//!   engine.lock        held as long as the server runs; names the engine's process
//!   postgres.log       what the server has to say
//!   data/              the server's account alone (0700)
//!   socket/            the server's account alone (0700)
//! ```
//! The server asks for no password. That is safe only because its one door is a Unix socket in a
//! folder that nobody enters but the server's account, which owns the data anyway, and root.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::PostgresError;
use super::account::Account;

/// Longest path that fits into a socket address everywhere, in bytes (Linux 107, macOS 103).
const SOCKET_PATH_LIMIT: usize = 103;

/// Name of the socket file for port 5432, which is but a part of its name here.
pub(super) const SOCKET_FILE: &str = ".s.PGSQL.5432";

/// A log that is larger than this when the server starts is put aside, in bytes.
const LOG_LIMIT: u64 = 8 << 20;

/// How long a lock may seem held that was let go: a child that is just being made shares every
/// open file of its parent until it becomes another program.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Where the private server of this user lives when nobody says otherwise: as root
/// `/var/lib/tanglegate/postgres` (root's home is closed to the account that runs the server),
/// else `tanglegate/postgres` below `XDG_DATA_HOME` or `~/.local/share`.
///
/// # Errors
/// [`PostgresError::NoHome`] where no home is known.
pub fn default_folder() -> Result<PathBuf, PostgresError> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/tanglegate/postgres".into());
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|it| it.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .map(|data| data.join("tanglegate/postgres"))
        .ok_or(PostgresError::NoHome)
}

/// How the folders begin in which `initdb` works.
const UNFINISHED: &str = "data.new";

/// How long an `initdb` may go on whose engine was killed; it usually takes 2 to 5 s.
const INITDB_PATIENCE: Duration = Duration::from_secs(30);

/// The prepared home of a private server.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    pub(super) account: Account,
    pub(super) socket: PathBuf,
}

impl Folder {
    /// Creates what is missing and checks that everything else is ours.
    pub(super) fn prepare(root: &Path, account: Account) -> Result<Folder, PostgresError> {
        let root = open_root(root, &account)?;
        check_reachable(&root, &account)?;
        let socket = socket_folder(&root);
        ours_alone(&socket, &account)?;
        Ok(Folder {
            root,
            account,
            socket,
        })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// Major version that wrote the data, if there is any.
    pub(super) fn written_by(&self) -> Option<u32> {
        fs::read_to_string(self.data().join("PG_VERSION"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// An empty folder of the server's account, for this process's `initdb` alone: that of a
    /// killed engine may still be writing into its own.
    pub(super) fn unfinished(&self) -> Result<PathBuf, PostgresError> {
        let path = self
            .root
            .join(format!("{UNFINISHED}-{}", std::process::id()));
        remove(&path)?;
        ours_alone(&path, &self.account)?;
        Ok(path)
    }

    /// Removes what interrupted calls of `initdb` left, and waits for one that still writes.
    pub(super) fn discard_unfinished(&self) -> Result<(), PostgresError> {
        let entries = fs::read_dir(&self.root).map_err(PostgresError::files("list", &self.root))?;
        let deadline = Instant::now() + INITDB_PATIENCE;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !name.as_bytes().starts_with(UNFINISHED.as_bytes()) {
                continue;
            }
            while let Err(error) = remove(&entry.path()) {
                if Instant::now() > deadline {
                    return Err(error);
                }
                sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// The server's log, opened for appending.
    pub(super) fn open_log(&self) -> Result<File, PostgresError> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_LIMIT) {
            fs::rename(&path, self.root.join("postgres.log.old"))
                .map_err(PostgresError::files("rename", &path))?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(PostgresError::files("open", &path))
    }

    /// Takes the folder for this process until the returned file is closed.
    pub(super) fn hold(&self) -> Result<File, PostgresError> {
        let path = self.root.join("engine.lock");
        let mut file = open_lock(&path)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::Error(error) => {
                    return Err(PostgresError::files("lock", &path)(error));
                }
                TryLockError::WouldBlock if Instant::now() > deadline => {
                    let holder = fs::read_to_string(&path)
                        .unwrap_or_default()
                        .trim()
                        .to_owned();
                    return Err(PostgresError::Held {
                        folder: self.root.clone(),
                        holder,
                    });
                }
                TryLockError::WouldBlock => sleep(Duration::from_millis(10)),
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(PostgresError::files("write", &path))?;
        Ok(file)
    }
}

/// Removes a folder, if it is there.
fn remove(path: &Path) -> Result<(), PostgresError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(PostgresError::files("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Opens a lock file, creating it, for its owner alone.
pub(super) fn open_lock(path: &Path) -> Result<File, PostgresError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(PostgresError::files("open", path))
}

/// The outer folder, without links: created for us where missing, else checked to be ours.
fn open_root(root: &Path, account: &Account) -> Result<PathBuf, PostgresError> {
    let root = std::path::absolute(root).map_err(PostgresError::files("resolve", root))?;
    // Passing through does not let anybody list or open anything.
    let mode = if account.lent { 0o711 } else { 0o700 };
    create_missing(&root, mode)?;
    let root = root
        .canonicalize()
        .map_err(PostgresError::files("resolve", &root))?;
    let found = fs::metadata(&root).map_err(PostgresError::files("look at", &root))?;
    let us = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != us || found.mode() & 0o022 != 0 {
        return Err(not_ours(root, "us", mode, &found));
    }
    Ok(root)
}

/// `mkdir -p` whose new folders have exactly `mode`, whatever the umask.
fn create_missing(path: &Path, mode: u32) -> Result<(), PostgresError> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_missing(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(PostgresError::files("set the mode of", path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(PostgresError::files("create", path)(error)),
    }
}

/// Every folder on the way must let the account pass.
fn check_reachable(root: &Path, account: &Account) -> Result<(), PostgresError> {
    if !account.lent {
        return Ok(());
    }
    for closed in root.ancestors() {
        let found = fs::metadata(closed).map_err(PostgresError::files("look at", closed))?;
        let pass = match () {
            () if found.uid() == account.uid => 0o100,
            () if found.gid() == account.gid => 0o010,
            () => 0o001,
        };
        if found.mode() & pass == 0 {
            return Err(PostgresError::Unreachable {
                folder: root.to_owned(),
                account: account.name.clone(),
                closed: closed.to_owned(),
            });
        }
    }
    Ok(())
}

/// The folder of the socket: inside `root`, or in `/tmp` where that path would be too long.
fn socket_folder(root: &Path) -> PathBuf {
    let inside = root.join("socket");
    if inside.join(SOCKET_FILE).as_os_str().len() <= SOCKET_PATH_LIMIT {
        return inside;
    }
    // FNV-1a: the same folder for the same data, and different ones for different data.
    let hash = root
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    PathBuf::from(format!("/tmp/tanglegate-{hash:016x}"))
}

/// Makes `path` a folder that only the account may enter, or finds that it is one already.
fn ours_alone(path: &Path, account: &Account) -> Result<(), PostgresError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(PostgresError::files("create", path)(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(PostgresError::files("look at", path))?;
    let us = rustix::process::geteuid().as_raw();
    if !found.is_dir() || ![us, account.uid].contains(&found.uid()) || found.mode() & 0o077 != 0 {
        return Err(not_ours(path.to_owned(), &account.name, 0o700, &found));
    }
    if found.uid() != account.uid {
        chown(path, Some(account.uid), Some(account.gid))
            .map_err(PostgresError::files("hand over", path))?;
    }
    Ok(())
}

fn not_ours(path: PathBuf, owner: &str, mode: u32, found: &fs::Metadata) -> PostgresError {
    let kind = if found.is_dir() {
        "a folder"
    } else {
        "no folder"
    };
    let found = format!(
        "{kind} of user {} with mode {:04o}",
        found.uid(),
        found.mode() & 0o7777
    );
    PostgresError::NotOurs {
        path,
        owner: owner.to_owned(),
        mode,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::testing::TestFolder;

    fn account() -> Account {
        Account::choose().expect("this machine has an account")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").mode() & 0o7777
    }

    #[test]
    fn only_the_servers_account_may_enter_the_socket_folder() {
        let outer = TestFolder::create().expect("a folder");
        let folder = Folder::prepare(&outer.path().join("a/b"), account()).expect("prepared");
        assert_eq!(mode(&folder.socket), 0o700);
        assert_eq!(
            fs::metadata(&folder.socket).expect("it exists").uid(),
            folder.account.uid
        );
        assert_eq!(mode(&folder.root) & 0o066, 0, "nobody else reads or writes");
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let outer = TestFolder::create().expect("a folder");
        let root = outer.path().join("open");
        fs::create_dir(&root).expect("mkdir");
        fs::set_permissions(&root, Permissions::from_mode(0o777)).expect("chmod");
        let error = Folder::prepare(&root, account()).expect_err("anybody may write");
        assert!(error.to_string().contains("mode 0777"), "{error}");
        assert_eq!(mode(&root), 0o777, "a refused folder is left as it was");
    }

    #[test]
    fn an_open_socket_folder_is_refused() {
        let outer = TestFolder::create().expect("a folder");
        let socket = outer.path().join("socket");
        fs::create_dir(&socket).expect("mkdir");
        fs::set_permissions(&socket, Permissions::from_mode(0o755)).expect("chmod");
        let error = Folder::prepare(outer.path(), account()).expect_err("anybody may enter");
        assert!(matches!(error, PostgresError::NotOurs { .. }), "{error}");
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let account = account();
        if !account.lent {
            return; // Whoever runs the server himself passes his own folders.
        }
        let outer = TestFolder::create().expect("a folder");
        let closed = outer.path().join("closed");
        DirBuilder::new()
            .mode(0o700)
            .create(&closed)
            .expect("mkdir");
        let error = Folder::prepare(&closed.join("pg"), account).expect_err("the way is closed");
        let PostgresError::Unreachable { closed: named, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(named, closed);
    }

    #[test]
    fn a_long_path_gets_a_short_socket_of_its_own() {
        let long = |end: &str| PathBuf::from(format!("/{}/{end}", "long".repeat(30)));
        let (one, other) = (socket_folder(&long("a")), socket_folder(&long("b")));
        assert!(one.join(SOCKET_FILE).as_os_str().len() <= SOCKET_PATH_LIMIT);
        assert_ne!(one, other);
        assert_eq!(one, socket_folder(&long("a")));
        assert_eq!(
            socket_folder(Path::new("/srv/pg")),
            Path::new("/srv/pg/socket")
        );
    }

    #[test]
    fn a_held_folder_names_its_holder() {
        let outer = TestFolder::create().expect("a folder");
        let folder = Folder::prepare(outer.path(), account()).expect("prepared");
        let held = folder.hold().expect("free");
        let error = folder.hold().expect_err("held").to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(held);
        folder.hold().expect("free again");
    }
}
