//! The master key: under it the engine keeps its other secrets in the database, so that a stolen
//! database or backup without this key opens nothing.
//!
//! ```text
//! wrapped = form[1] = 01 ‖ master key's id[8] ‖ nonce[24] ‖ XChaCha20-Poly1305 text and tag
//! aad     = "tanglegate/wrapped/v1\0" ‖ form ‖ id ‖ what is wrapped
//! ```

use crate::at_rest::{SealError, SubjectKey};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// The form byte of what [`MasterKey::wrap`] writes.
const FORM: u8 = 1;
/// Bytes before the nonce.
const HEAD: usize = 1 + 8;
/// Before what is wrapped, in the additional data.
const LABEL: &[u8] = b"tanglegate/wrapped/v1\0";
/// Before the key, where its id is made.
const ID: &[u8] = b"tanglegate/master/v1\0";

/// A text that is no master key, or something wrapped that does not unwrap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MasterError {
    /// The text is of another form. It is not repeated: it may be nearly right.
    #[error(
        "this is no master key: it is one line of 64 hexadecimal digits, as `openssl rand -hex 32` \
         writes it"
    )]
    NotAKey,
    /// Written by something newer, or no wrapped secret at all.
    #[error("the wrapped {what} is of form {form}, this version reads form 1")]
    Form {
        /// What is wrapped.
        what: String,
        /// Its first byte.
        form: u8,
    },
    /// Too short.
    #[error("the wrapped {what} has {bytes} bytes, too few")]
    TooShort {
        /// What is wrapped.
        what: String,
        /// How many there are.
        bytes: usize,
    },
    /// Another key is needed.
    #[error(
        "the {what} is wrapped under master key {wanted}, and this is master key {given}: give the \
         right one"
    )]
    OtherKey {
        /// What is wrapped.
        what: String,
        /// The key that wrapped it.
        wanted: MasterKeyId,
        /// The key that was tried.
        given: MasterKeyId,
    },
    /// The right key, but not what it wrapped.
    #[error("the wrapped {what} does not open under master key {key}: it was changed or swapped")]
    Changed {
        /// What is wrapped.
        what: String,
        /// The key that was tried.
        key: MasterKeyId,
    },
}

/// Which master key: the first 8 bytes of SHA-256 over a label and the key. Tells nothing else
/// about the key; shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MasterKeyId([u8; 8]);

impl MasterKeyId {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeyId({self})")
    }
}

/// The key itself. Wiped when it is dropped.
#[derive(Clone)]
pub struct MasterKey {
    key: SubjectKey,
    id: MasterKeyId,
}

impl MasterKey {
    /// A key from 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let key = SubjectKey::from_bytes(bytes);
        let mut hasher = Sha256::new();
        hasher.update(ID);
        hasher.update(key.expose());
        let mut id = [0; 8];
        id.copy_from_slice(&hasher.finalize()[..8]);
        let id = MasterKeyId(id);
        Self { key, id }
    }

    /// A key as it stands in its file: 64 hexadecimal digits, white space around them.
    ///
    /// # Errors
    /// When it is anything else. The message does not repeat it.
    pub fn from_text(text: &str) -> Result<Self, MasterError> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut_slice())
            .map_err(|_| MasterError::NotAKey)?;
        Ok(Self::from_bytes(*bytes))
    }

    /// The key as it is kept: 64 hexadecimal digits and the end of the line.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new([0; 65]);
        hex::encode_to_slice(self.key.expose(), &mut text[..64]).expect("64 digits for 32 bytes");
        text[64] = b'\n';
        let digits = std::str::from_utf8(text.as_slice()).expect("digits are ASCII");
        Zeroizing::new(digits.to_owned())
    }

    /// Which key this is.
    #[must_use]
    pub fn id(&self) -> MasterKeyId {
        self.id
    }

    /// Wraps `secret`. `what` says which secret it is, so that none can be put in another's place
    /// ("identity key", "sealing secret 0a1b2c3d"); `nonce` is random and used once.
    #[must_use]
    pub fn wrap(&self, nonce: [u8; 24], what: &str, secret: &[u8]) -> Vec<u8> {
        let context = self.context(what);
        let sealed = self.key.seal(nonce, &context, secret);
        [&[FORM], self.id.as_bytes().as_slice(), sealed.as_bytes()].concat()
    }

    /// The secret that was wrapped as `what`.
    ///
    /// # Errors
    /// When another key wrapped it, or these are not the bytes that this one wrote for it.
    pub fn unwrap(&self, what: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, MasterError> {
        let wanted = Self::wrapped_under(what, wrapped)?;
        if wanted != self.id {
            return Err(MasterError::OtherKey {
                what: what.to_owned(),
                wanted,
                given: self.id,
            });
        }
        let sealed = &wrapped[HEAD..];
        self.key
            .open(&self.context(what), sealed)
            .map_err(|error| match error {
                SealError::TooShort(_) => too_short(what, wrapped),
                SealError::DoesNotOpen => MasterError::Changed {
                    what: what.to_owned(),
                    key: self.id,
                },
            })
    }

    /// Which key wrapped this, as it says itself: after a change of keys, what is still wrapped
    /// under the old one is found by it.
    ///
    /// # Errors
    /// When it is no wrapped secret of this form.
    pub fn wrapped_under(what: &str, wrapped: &[u8]) -> Result<MasterKeyId, MasterError> {
        if let Some(form) = wrapped.first().filter(|form| **form != FORM) {
            return Err(MasterError::Form {
                what: what.to_owned(),
                form: *form,
            });
        }
        let id = wrapped.get(1..HEAD).and_then(|it| it.try_into().ok());
        id.map(MasterKeyId).ok_or_else(|| too_short(what, wrapped))
    }

    fn context(&self, what: &str) -> Vec<u8> {
        [
            LABEL,
            &[FORM],
            self.id.as_bytes().as_slice(),
            what.as_bytes(),
        ]
        .concat()
    }
}

fn too_short(what: &str, wrapped: &[u8]) -> MasterError {
    MasterError::TooShort {
        what: what.to_owned(),
        bytes: wrapped.len(),
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(seed: u8) -> MasterKey {
        MasterKey::from_bytes([seed; 32])
    }

    #[test]
    fn what_is_wrapped_opens_under_its_key_and_name_only() {
        let wrapped = master(1).wrap([2; 24], "identity key", b"secret");
        let opened = master(1).unwrap("identity key", &wrapped);
        assert_eq!(opened.expect("same key and name").as_slice(), b"secret");

        let other = master(3).unwrap("identity key", &wrapped);
        let error = other.expect_err("another key").to_string();
        for id in [master(1).id(), master(3).id()] {
            assert!(error.contains(&id.to_string()), "{error}");
        }
        let swapped = master(1).unwrap("sealing secret 0a1b2c3d", &wrapped);
        assert!(matches!(swapped, Err(MasterError::Changed { .. })));
    }

    #[test]
    fn no_byte_of_it_can_be_changed_and_none_left_out() {
        let wrapped = master(1).wrap([2; 24], "identity key", b"secret");
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(
                master(1).unwrap("identity key", &changed).is_err(),
                "byte {at}"
            );
            let cut = master(1).unwrap("identity key", &wrapped[..at]);
            assert!(cut.is_err(), "{at} bytes");
        }
        let empty = master(1).unwrap("identity key", &[]);
        assert!(matches!(empty, Err(MasterError::TooShort { bytes: 0, .. })));
        let newer = master(1).unwrap("identity key", &[2; 80]);
        assert!(matches!(newer, Err(MasterError::Form { form: 2, .. })));
    }

    #[test]
    fn a_master_key_is_read_back_from_its_file_and_shown_nowhere() {
        let text = master(0xab).to_text();
        assert_eq!(*text, format!("{}\n", "ab".repeat(32)));
        let read = MasterKey::from_text(&text).expect("as it was written");
        assert_eq!(read.id(), master(0xab).id());
        assert!(!format!("{read:?}").contains("abab"));
        for wrong in [
            "",
            "ab",
            &text[2..],
            &"zz".repeat(32),
            &format!("{}ab", text.trim()),
        ] {
            let error = MasterKey::from_text(wrong).expect_err("not 64 digits");
            assert_eq!(error, MasterError::NotAKey);
        }
    }
}
