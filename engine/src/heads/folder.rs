//! The key that signs heads, and the last head, in files of the data folder.

use crate::event_log::Head;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tanglegate_crypto::{HeadError, HeadKey, HeadVerifier, LONGEST_NOTE, Origin, SignedHead};
use zeroize::Zeroizing;

/// A file of the folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read the key.
    #[error("{0} may be read by others than its owner: chmod 600 {0}, and think about a new key")]
    Open(PathBuf),
    /// It holds something else.
    #[error("{path} cannot be read: {source}")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        source: HeadError,
    },
}

/// The folder `keys` of a data folder.
#[derive(Debug, Clone)]
pub struct KeyFolder(PathBuf);

impl KeyFolder {
    /// The one in a data folder. It is made when it is first written to.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("keys"))
    }

    /// The key that signs, if there is one.
    ///
    /// # Errors
    /// When it cannot be read, is no key, or others may read it.
    pub fn key(&self) -> Result<Option<HeadKey>, KeyError> {
        read_key(&self.0.join("log.key"))
    }

    /// The key that is about to take over, if a change of keys is under way.
    ///
    /// # Errors
    /// As for [`KeyFolder::key`].
    pub fn next_key(&self) -> Result<Option<HeadKey>, KeyError> {
        read_key(&self.0.join("log.key.next"))
    }

    /// Makes a first key from 32 random bytes.
    ///
    /// # Errors
    /// When it cannot be written, or there is one already.
    pub fn make_key(&self, origin: Origin, seed: &[u8; 32]) -> Result<HeadKey, KeyError> {
        self.write_key("log.key", HeadKey::from_seed(origin, seed))
    }

    /// Makes the key that is to take over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make_next_key(&self, origin: Origin, seed: &[u8; 32]) -> Result<HeadKey, KeyError> {
        self.drop_next_key()?;
        self.write_key("log.key.next", HeadKey::from_seed(origin, seed))
    }

    /// The next key takes over; the last one is gone from here.
    ///
    /// # Errors
    /// When the files cannot be renamed.
    pub fn take_over(&self) -> Result<(), KeyError> {
        let (next, key) = (self.0.join("log.key.next"), self.0.join("log.key"));
        let renamed = std::fs::rename(&next, &key).and_then(|()| self.sync());
        renamed.map_err(|source| KeyError::File { path: key, source })
    }

    /// Forgets a change of keys that came to nothing.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn drop_next_key(&self) -> Result<(), KeyError> {
        let path = self.0.join("log.key.next");
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(KeyError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// The last head that was signed here, if there is one.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn head(&self) -> Result<Option<SignedHead>, KeyError> {
        let path = self.0.join("log.head");
        let Some(note) = read(&path)? else {
            return Ok(None);
        };
        let head = SignedHead::parse(&note);
        head.map(Some)
            .map_err(|source| KeyError::Content { path, source })
    }

    /// The same, when the key in this folder or its successor signed it: what the log is held to.
    ///
    /// # Errors
    /// When it cannot be read, or was signed by another key.
    pub fn past(&self) -> Result<Option<Head>, KeyError> {
        let keys = [self.key()?, self.next_key()?];
        let (Some(head), true) = (self.head()?, keys.iter().any(Option::is_some)) else {
            return Ok(None);
        };
        let mut keys: Vec<HeadVerifier> = keys.iter().flatten().map(HeadKey::verifier).collect();
        let last = keys.pop();
        let signed = keys.iter().any(|it| head.verify(it).is_ok());
        if let (false, Some(key)) = (signed, last) {
            head.verify(&key).map_err(|source| KeyError::Content {
                path: self.0.join("log.head"),
                source,
            })?;
        }
        let (size, root) = (head.head.size, head.head.root);
        Ok(Some(Head { size, root }))
    }

    /// Keeps the newest head.
    ///
    /// # Errors
    /// When it cannot be written; the last one is then still there.
    pub fn keep_head(&self, note: &str) -> Result<(), KeyError> {
        let (fresh, path) = (self.0.join("log.head.new"), self.0.join("log.head"));
        let write = || {
            self.make()?;
            let mut file = File::create(&fresh)?;
            file.write_all(note.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            self.sync()
        };
        write().map_err(|source| KeyError::File {
            path: path.clone(),
            source,
        })
    }

    fn write_key(&self, name: &str, key: HeadKey) -> Result<HeadKey, KeyError> {
        let path = self.0.join(name);
        let write = || {
            self.make()?;
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(key.to_text().as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            self.sync()
        };
        match write() {
            Ok(()) => Ok(key),
            Err(source) => Err(KeyError::File { path, source }),
        }
    }

    fn make(&self) -> std::io::Result<()> {
        match std::fs::DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// A rename is safe when the folder is.
    fn sync(&self) -> std::io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

fn read_key(path: &Path) -> Result<Option<HeadKey>, KeyError> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    let mode = std::fs::metadata(path).map(|it| it.permissions());
    if mode.is_ok_and(|it: Permissions| it.mode() & 0o077 != 0) {
        return Err(KeyError::Open(path.to_owned()));
    }
    let key = HeadKey::from_text(text.trim_end());
    key.map(Some).map_err(|source| KeyError::Content {
        path: path.to_owned(),
        source,
    })
}

/// The first bytes of a file, more than a key or a head has; `None` without the file.
fn read(path: &Path) -> Result<Option<Zeroizing<String>>, KeyError> {
    let fault = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(fault)?,
    };
    let mut text = Zeroizing::new(String::with_capacity(2 * LONGEST_NOTE));
    let longest = LONGEST_NOTE as u64 + 1;
    file.take(longest)
        .read_to_string(&mut text)
        .map_err(fault)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanglegate_crypto::TreeHead;

    fn origin() -> Origin {
        Origin::parse("log.example.org").expect("valid")
    }

    fn head(key: &HeadKey) -> String {
        let (size, root) = (7, [1; 32]);
        let origin = origin();
        TreeHead { origin, size, root }.sign(&[key])
    }

    #[test]
    fn keys_and_heads_are_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = KeyFolder::of(folder.path());
        assert!(keys.key().expect("readable").is_none() && keys.past().expect("none").is_none());
        let key = keys.make_key(origin(), &[1; 32]).expect("written");
        assert!(
            keys.make_key(origin(), &[2; 32]).is_err(),
            "a key is not overwritten"
        );
        keys.keep_head(&head(&key)).expect("written");
        let past = keys.past().expect("its own").expect("kept");
        assert_eq!((past.size, past.root), (7, [1; 32]));
        let next = keys.make_next_key(origin(), &[3; 32]).expect("written");
        keys.keep_head(&head(&next)).expect("written");
        assert!(keys.past().expect("signed by the next one").is_some());
        keys.take_over().expect("renamed");
        let kept = keys.key().expect("readable").expect("there");
        assert_eq!(kept.verifier(), next.verifier());
        assert!(keys.next_key().expect("readable").is_none());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = KeyFolder::of(folder.path());
        keys.make_key(origin(), &[1; 32]).expect("written");
        let path = folder.path().join("keys/log.key");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("changed");
        assert!(matches!(keys.key(), Err(KeyError::Open(_))));
    }

    #[test]
    fn a_head_that_another_key_signed_holds_nobody_to_anything() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = KeyFolder::of(folder.path());
        keys.make_key(origin(), &[1; 32]).expect("written");
        let stranger = HeadKey::from_seed(origin(), &[9; 32]);
        keys.keep_head(&head(&stranger)).expect("written");
        assert!(matches!(keys.past(), Err(KeyError::Content { .. })));
    }
}
