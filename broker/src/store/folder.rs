//! The store's folder: for this user alone, for one process at a time, of one version.
//!
//! ```text
//! format      a line that names the version
//! lock        locked while a process has the store open
//! entries/    the database
//! ```

use super::StoreError;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What the file `format` says in this version.
const FORMAT: &str = "tanglegate store 1\n";

/// A folder that is open. Dropping it lets others in.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens the folder, and makes it when it is missing.
    ///
    /// # Errors
    /// When it is in use, is not ours, is of another version, or cannot be made.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::Folder {
            folder: path.to_owned(),
            reason: error.to_string(),
        };
        make(path).map_err(failed)?;
        let format = read_format(path).map_err(failed)?;
        match &format {
            None if !is_new(path).map_err(failed)? => {
                return Err(StoreError::Foreign {
                    folder: path.to_owned(),
                });
            }
            Some(found) if found != FORMAT => {
                return Err(StoreError::Version {
                    folder: path.to_owned(),
                    found: found.trim().chars().take(60).collect(),
                });
            }
            _ => {}
        }
        let lock = private(&path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse {
                    folder: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if format.is_none() {
            write_format(path).map_err(failed)?;
        }
        make(&path.join("entries")).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder of the database. Whatever the database makes inside is closed to others by
    /// this folder's mode, 0700.
    pub(super) fn entries(&self) -> PathBuf {
        self.path.join("entries")
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn read_format(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path.join("format")) {
        Ok(found) => Ok(Some(String::from_utf8_lossy(&found).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// True when there is nothing but what an interrupted first start leaves.
fn is_new(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != "lock" && name != "format.new" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_format(path: &Path) -> io::Result<()> {
    let new = path.join("format.new");
    let mut file = private(&new)?;
    file.write_all(FORMAT.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path.join("format"))?;
    File::open(path)?.sync_all()
}
