//! Where the master key comes from: an environment variable, a systemd credential, or a file that
//! is made at the first start.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tanglegate_crypto::{MasterError, MasterKey};
use zeroize::Zeroizing;

/// The variable that may hold the key.
const VARIABLE: &str = "TANGLEGATE_MASTER_KEY";
/// The name of the systemd credential (systemd.exec(5), `LoadCredential=`).
const CREDENTIAL: &str = "tanglegate.master-key";

/// A master key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Its file cannot be read or written.
    #[error("cannot use the master key {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error(
        "the master key {0} may be read by others than its owner: chmod 600 {0}, and think about a \
         new one"
    )]
    Open(PathBuf),
    /// It holds something else.
    #[error("the master key from {place} cannot be used: {source}")]
    Content {
        /// Where it comes from.
        place: String,
        /// Why.
        source: MasterError,
    },
}

/// Where the master key comes from.
#[derive(Debug, Clone)]
pub enum MasterKeySource {
    /// Out of the environment, in hexadecimal.
    Given(Zeroizing<String>),
    /// A file that somebody provides.
    Provided(PathBuf),
    /// The file of a data folder, made where there is none.
    Own(PathBuf),
}

impl MasterKeySource {
    /// The environment before a systemd credential before `keys/master.key` in the data folder.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        if let Ok(text) = std::env::var(VARIABLE) {
            return Self::Given(Zeroizing::new(text));
        }
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|it| PathBuf::from(it).join(CREDENTIAL))
            .filter(|it| it.exists());
        match credential {
            Some(path) => Self::Provided(path),
            None => Self::Own(data_dir.join("keys").join("master.key")),
        }
    }

    /// The key. `fresh` are random bytes for a first one; without them there has to be one.
    ///
    /// # Errors
    /// When there is none where one must be, it is no key, or others may read its file.
    pub fn load(&self, fresh: Option<&Zeroizing<[u8; 32]>>) -> Result<MasterKey, MasterKeyError> {
        let content = |place: String| move |source| MasterKeyError::Content { place, source };
        match self {
            Self::Given(text) => MasterKey::from_text(text).map_err(content(VARIABLE.to_owned())),
            Self::Provided(path) => {
                let text = read(path).map_err(|source| file(path, source))?;
                MasterKey::from_text(&text).map_err(content(path.display().to_string()))
            }
            Self::Own(path) => match read(path) {
                Ok(text) => {
                    is_private(path)?;
                    MasterKey::from_text(&text).map_err(content(path.display().to_string()))
                }
                Err(source) => match fresh.filter(|_| source.kind() == ErrorKind::NotFound) {
                    None => Err(file(path, source)),
                    Some(fresh) => {
                        let key = MasterKey::from_bytes(**fresh);
                        let text = key.to_text();
                        write(path, text.as_bytes()).map_err(|source| file(path, source))?;
                        Ok(key)
                    }
                },
            },
        }
    }
}

impl MasterKeySource {
    /// The key that is about to take the place of the one in the data folder, if a change is
    /// under way.
    ///
    /// # Errors
    /// As for [`MasterKeySource::load`].
    pub fn load_next(&self) -> Result<Option<MasterKey>, MasterKeyError> {
        let Self::Own(path) = self else {
            return Ok(None);
        };
        let path = next(path);
        match read(&path) {
            Ok(text) => {
                is_private(&path)?;
                let place = path.display().to_string();
                let key = MasterKey::from_text(&text);
                key.map(Some)
                    .map_err(|source| MasterKeyError::Content { place, source })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(file(&path, source)),
        }
    }

    /// Keeps the key that is about to take the place of the one in the data folder. False where
    /// the key comes from elsewhere.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_next(&self, key: &MasterKey) -> Result<bool, MasterKeyError> {
        let Self::Own(path) = self else {
            return Ok(false);
        };
        let path = next(path);
        write(&path, key.to_text().as_bytes()).map_err(|source| file(&path, source))?;
        Ok(true)
    }

    /// Forgets a change that came to nothing.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn drop_next(&self) -> Result<(), MasterKeyError> {
        let Self::Own(path) = self else {
            return Ok(());
        };
        let path = next(path);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(file(&path, source)),
            _ => Ok(()),
        }
    }

    /// The next key takes the place of the one in the data folder, which is gone from here.
    ///
    /// # Errors
    /// When the files cannot be renamed.
    pub fn take_over(&self) -> Result<(), MasterKeyError> {
        let Self::Own(path) = self else {
            return Ok(());
        };
        let renamed = std::fs::rename(next(path), path).and_then(|()| {
            let folder = path.parent().unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        });
        renamed.map_err(|source| file(path, source))
    }
}

fn next(path: &Path) -> PathBuf {
    path.with_extension("key.next")
}

fn file(path: &Path, source: std::io::Error) -> MasterKeyError {
    MasterKeyError::File {
        path: path.to_owned(),
        source,
    }
}

fn is_private(path: &Path) -> Result<(), MasterKeyError> {
    let metadata = std::fs::metadata(path).map_err(|source| file(path, source))?;
    match metadata.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => Err(MasterKeyError::Open(path.to_owned())),
    }
}

fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    // What is longer is no key.
    File::open(path)?.take(1_024).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes the whole file or none, and makes sure that it stays.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn fresh() -> Zeroizing<[u8; 32]> {
        Zeroizing::new([7; 32])
    }

    #[test]
    fn a_first_key_is_made_and_found_again() {
        let folder = TempDir::new().expect("a folder");
        let source = MasterKeySource::of(folder.path());
        assert!(source.load(None).is_err(), "none is made unasked");
        let made = source.load(Some(&fresh())).expect("made");
        let again = source.load(Some(&Zeroizing::new([8; 32]))).expect("found");
        assert_eq!(made.id(), again.id());
        let path = folder.path().join("keys/master.key");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        let refused = source.load(Some(&fresh())).expect_err("others may read it");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }

    #[test]
    fn what_is_no_key_is_not_repeated() {
        let given = MasterKeySource::Given(Zeroizing::new("hunter2".to_owned()));
        let refused = given.load(Some(&fresh())).expect_err("no key").to_string();
        assert!(
            refused.contains(VARIABLE) && !refused.contains("hunter2"),
            "{refused}"
        );
        let missing = MasterKeySource::Provided(PathBuf::from("/nowhere/master"));
        let refused = missing
            .load(Some(&fresh()))
            .expect_err("not there")
            .to_string();
        assert!(refused.contains("/nowhere/master"), "{refused}");
    }
}
