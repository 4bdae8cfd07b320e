//! Files that their owner alone may read, replaced as a whole.

use serde::Serialize;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// No file of ours is longer, in bytes.
const LONGEST: u64 = 16 << 20;
/// Few have more.
const USUAL: usize = 256 << 10;

/// A file with secrets in it that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It cannot be read or written.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was wanted.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "{path} holds secrets and can be read by others (mode {mode:o}): run chmod 600 {path}",
        path = path.display()
    )]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// The whole file, or nothing where there is none.
///
/// # Errors
/// When it cannot be read, or others may read it.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    let failed = |source| io_error("read", path, source);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(PrivateFileError::TooOpen { path, mode });
    }
    // Reserved at once, so that no copy of a secret is left behind by growing.
    let size = usize::try_from(metadata.len().min(LONGEST)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    Read::by_ref(&mut file)
        .take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(Some(bytes))
}

/// Replaces the file by one that holds this value as JSON; see [`write`].
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), PrivateFileError> {
    // Reserved at once, as for reading.
    let mut text = Zeroizing::new(Vec::with_capacity(USUAL));
    serde_json::to_writer_pretty(&mut *text, value).expect("texts and numbers can be written");
    write(path, &text)
}

/// Replaces the file by one with these bytes; it is on the disk when this returns. Whoever is
/// interrupted leaves the old one.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    let failed = |source| io_error("write", path, source);
    let new = beside(path);
    let mut options = OpenOptions::new();
    // One that an interrupted call has left is of no use, and may have another mode.
    let _ = std::fs::remove_file(&new);
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&new).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    File::open(folder_of(path))
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

/// Refuses a place where nothing could be written, before there is something to write.
///
/// # Errors
/// When nothing could.
pub(super) fn may_write(path: &Path) -> Result<(), PrivateFileError> {
    let failed = |source| io_error("write", path, source);
    let new = beside(path);
    let _ = std::fs::remove_file(&new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&new).map_err(failed)?;
    std::fs::remove_file(&new).map_err(failed)
}

/// A folder for its owner alone, made where there is none.
///
/// # Errors
/// When it cannot be made.
pub(super) fn folder(path: &Path) -> Result<(), PrivateFileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| io_error("make the folder", path, source))
}

/// Where a file is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn io_error(verb: &'static str, path: &Path, source: io::Error) -> PrivateFileError {
    PrivateFileError::Io {
        verb,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_where_it_was_tried_and_no_folder_is_said_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        may_write(&folder.path().join("login")).expect("it may");
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0);
        let error = may_write(&folder.path().join("none/login")).expect_err("there is no folder");
        assert!(error.to_string().contains("none/login"), "{error}");
        assert!(may_write(&folder.path().join("n".repeat(253))).is_err());
    }

    #[test]
    fn what_is_written_is_read_back_by_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("book");
        assert!(read(&path).expect("there is none").is_none());
        for text in ["first", "second"] {
            write(&path, text.as_bytes()).expect("written");
            let back = read(&path).expect("read").expect("it is there");
            assert_eq!(back.as_slice(), text.as_bytes());
        }
        let mode = |it: &Path| std::fs::metadata(it).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("opened");
        let error = read(&path).expect_err("others may read it").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
