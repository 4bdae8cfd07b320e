//! Sealing keys: a key pair for every client that asks, derived from one secret and the key's
//! name, so that nothing is kept for clients that never pay. Destroying the secret makes
//! everything sealed to its keys unreadable for ever.

use crate::suite::{self, Private};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Salt of the derivation: what the secret is used for here.
const SALT: &[u8] = b"tanglegate/sealing/v1\0";

/// A text that names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no key id: it has 32 hexadecimal digits")]
pub struct NotAKeyId(String);

/// The name of a sealing key: which secret it comes from (4 bytes), and 12 random bytes. Shown as
/// 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// A name as it stands in a memo.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The sealing secret that the key comes from.
    #[must_use]
    pub fn secret(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0;
        [a, b, c, d]
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    /// Only what `Display` writes: the name stands in topics, which are compared byte by byte.
    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let mut bytes = [0; 16];
        let read = hex::decode_to_slice(text, &mut bytes).is_ok();
        let id = Self(bytes);
        (read && id.to_string() == text)
            .then_some(id)
            .ok_or_else(|| NotAKeyId(text.chars().take(40).collect()))
    }
}

/// The secret from which sealing keys are derived. Wiped when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealingSecret {
    id: [u8; 4],
    secret: [u8; 32],
}

impl SealingSecret {
    /// A secret from random bytes, or as it was kept. `id` is random and not secret.
    #[must_use]
    pub fn from_bytes(id: [u8; 4], secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// Its name, with which its keys' names begin.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The secret itself, to be kept.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.secret
    }

    /// A key for one client: its name and the public key. `random` is used once.
    #[must_use]
    pub fn make_key(&self, random: [u8; 12]) -> (KeyId, [u8; 32]) {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.id);
        id[4..].copy_from_slice(&random);
        let id = KeyId(id);
        (id, self.derive(id).1)
    }

    /// The key pair of this name, or nothing when it comes from another secret.
    pub(crate) fn key_pair(&self, id: KeyId) -> Option<(Private, [u8; 32])> {
        (id.secret() == self.id).then(|| self.derive(id))
    }

    /// DeriveKeyPair (RFC 9180 §7.1.3) of HKDF-SHA256(salt, the secret, the name, 32 bytes).
    fn derive(&self, id: KeyId) -> (Private, [u8; 32]) {
        let mut ikm = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(SALT), &self.secret)
            .expand(&id.0, ikm.as_mut_slice())
            .expect("32 bytes are one block of SHA-256");
        suite::derive(&ikm)
    }
}

impl fmt::Debug for SealingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingSecret({})", hex::encode(self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_from_its_secret_and_its_name_alone() {
        let secret = SealingSecret::from_bytes([1; 4], [2; 32]);
        let (id, public) = secret.make_key([3; 12]);
        assert_eq!((id.secret(), secret.id()), ([1; 4], [1; 4]));
        assert_eq!(secret.make_key([3; 12]), (id, public));
        assert_ne!(secret.make_key([4; 12]).1, public);
        let other = SealingSecret::from_bytes([1; 4], [5; 32]);
        assert_ne!(other.make_key([3; 12]).1, public);
        let foreign = SealingSecret::from_bytes([9; 4], [2; 32]);
        assert!(foreign.key_pair(id).is_none());
        assert_eq!(secret.key_pair(id).map(|it| it.1), Some(public));
    }

    #[test]
    fn a_name_is_read_back_from_its_text_and_from_nothing_else() {
        let id = KeyId::from_bytes(*b"jklmnopqrstuvwxy");
        assert_eq!(id.to_string(), "6a6b6c6d6e6f70717273747576777879");
        assert_eq!(id.to_string().parse(), Ok(id));
        let text = id.to_string();
        for wrong in ["", &text[2..], &text.to_uppercase(), &format!("{text}00")] {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_shows_only_its_name() {
        let secret = SealingSecret::from_bytes([0xab; 4], [0xcd; 32]);
        assert_eq!(format!("{secret:?}"), "SealingSecret(abababab)");
    }
}
