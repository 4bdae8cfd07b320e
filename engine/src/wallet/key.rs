//! The wallet's key and its file.
//!
//! The file holds one line, the form in which IOTA's own tools export keys: Bech32 with prefix
//! `iotaprivkey` over 33 bytes, the scheme flag `00` (Ed25519) and the 32-byte secret seed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use ed25519_dalek::{Signer, SigningKey};
use iota_sdk_types::{
    Ed25519PublicKey, Ed25519Signature, SimpleSignature, Transaction, UserSignature,
};
use tanglegate_core::Address;
use zeroize::Zeroizing;

const PREFIX: Hrp = Hrp::parse_unchecked("iotaprivkey");
const ED25519_FLAG: u8 = 0x00;
/// The export form has 71 characters.
const MAX_FILE_BYTES: u64 = 256;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the key file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new key must not overwrite an old one.
    #[error("the key file {0} exists already: use it, or name another file")]
    Exists(PathBuf),
    /// Others may read the secret.
    #[error("the key file {path} can be read by others (mode {mode:o}): run chmod 600 {path}")]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is no key.
    #[error("{0} does not hold an Ed25519 key as iotaprivkey1…: {1}")]
    Malformed(PathBuf, &'static str),
    /// The system gives no randomness.
    #[error("no randomness for a new key: {0}")]
    Random(getrandom::Error),
}

/// An Ed25519 key. The secret is wiped from memory at the end and never shown.
pub struct Key(SigningKey);

/// Shows the address alone.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.address())
    }
}

impl Key {
    /// The key whose secret seed is `seed`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// A new random key.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(KeyError::Random)?;
        Ok(Self::from_seed(&seed))
    }

    /// Writes the key to a new file that only its owner may read.
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn save_new(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
            _ => KeyError::Io {
                path: path.to_owned(),
                source,
            },
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        let mut line = self.export();
        line.push('\n');
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)
    }

    /// Reads the key from its file.
    ///
    /// # Errors
    /// Where the file cannot be read, others may read it, or it holds no Ed25519 key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        refuse_open_permissions(path, &file)?;
        let mut text = Zeroizing::new(String::with_capacity(256));
        file.take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .map_err(failed)?;
        Self::import(text.trim()).map_err(|what| KeyError::Malformed(path.to_owned(), what))
    }

    /// The key in `path`, which is made with a new key where there is none.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::save_new`].
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate()?;
                key.save_new(path)?;
                Ok(key)
            }
            outcome => outcome,
        }
    }

    /// The address that this key controls: BLAKE2b-256 of the public key.
    pub fn address(&self) -> Address {
        Address(self.public_key().derive_address().into_bytes())
    }

    /// Signs a transaction in the way that the ledger checks.
    pub(super) fn sign(&self, transaction: &Transaction) -> UserSignature {
        let signature = self.sign_digest(&transaction.signing_digest());
        UserSignature::Simple(SimpleSignature::Ed25519 {
            signature: Ed25519Signature::new(signature),
            public_key: self.public_key(),
        })
    }

    pub(super) fn sign_digest(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }

    fn public_key(&self) -> Ed25519PublicKey {
        Ed25519PublicKey::new(self.verifying_bytes())
    }

    pub(super) fn verifying_bytes(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn export(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([ED25519_FLAG; 33]);
        bytes[1..].copy_from_slice(self.0.as_bytes());
        // Reserved at once, so that no copy of the secret is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(128));
        bech32::encode_lower_to_fmt::<Bech32, _>(&mut *text, PREFIX, &*bytes)
            .expect("33 bytes fit into Bech32");
        text
    }

    fn import(text: &str) -> Result<Self, &'static str> {
        let checked =
            CheckedHrpstring::new::<Bech32>(text).map_err(|_| "it is not valid Bech32")?;
        if checked.hrp() != PREFIX {
            return Err("it has another prefix");
        }
        let mut bytes = Zeroizing::new([0; 33]);
        let mut decoded = checked.byte_iter();
        for byte in bytes.iter_mut() {
            *byte = decoded.next().ok_or("it is too short")?;
        }
        if decoded.next().is_some() {
            return Err("it is too long");
        }
        if bytes[0] != ED25519_FLAG {
            return Err("it is of another signature scheme");
        }
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&bytes[1..]);
        Ok(Self::from_seed(&seed))
    }
}

#[cfg(unix)]
fn refuse_open_permissions(path: &Path, file: &File) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(KeyError::TooOpen {
            path: path.to_owned(),
            mode,
        }),
    }
}

#[cfg(not(unix))]
fn refuse_open_permissions(_: &Path, _: &File) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of the seed of 32 times 7, and its export as IOTA's own tools write it.
    const ADDRESS: &str = "0x8d2d1c260127c74476b27136c5e38c003b66b889f5c80032fb81ebc3f44f45a3";
    const EXPORT: &str = "iotaprivkey1qqrswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qursw6y8fr7";

    #[test]
    fn address_and_export_are_those_of_iotas_own_tools() {
        let key = Key::from_seed(&[7; 32]);
        assert_eq!(key.address().to_string(), ADDRESS);
        assert_eq!(*key.export(), EXPORT);
        assert_eq!(Key::import(EXPORT).unwrap().address(), key.address());
    }

    #[test]
    fn other_texts_are_no_keys() {
        let flipped = EXPORT.replace('q', "p");
        let other_prefix = EXPORT.replace("iotaprivkey", "iotapubkey0");
        for text in ["", "iotaprivkey1", &flipped, &other_prefix, &EXPORT[..40]] {
            assert!(Key::import(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_secret_never_shows() {
        let shown = format!("{:?}", Key::from_seed(&[7; 32]));
        assert_eq!(shown, format!("Key({ADDRESS})"));
    }

    #[test]
    fn a_key_survives_its_file_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallet.key");
        let key = Key::load_or_create(&path).unwrap();
        assert_eq!(Key::load_or_create(&path).unwrap().address(), key.address());
        let error = Key::from_seed(&[7; 32]).save_new(&path).unwrap_err();
        assert!(matches!(error, KeyError::Exists(_)), "{error}");
        assert_eq!(Key::load(&path).unwrap().address(), key.address());
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallet.key");
        Key::from_seed(&[7; 32]).save_new(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Key::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
