//! Personal data at rest: sealed under a key per subject, so that destroying the key erases
//! the person, and nothing else, from a log that cannot be rewritten.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): its 24-byte nonces may be random.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const NONCE: usize = 24;
const TAG: usize = 16;

/// Something sealed cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Fewer bytes than a nonce and a tag.
    #[error("{0} bytes are too few for anything sealed")]
    TooShort(usize),
    /// Other key, other context, or changed bytes.
    #[error("the sealed bytes do not open under this key and context")]
    DoesNotOpen,
}

/// The key under which the personal data of one subject is sealed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SubjectKey([u8; 32]);

impl SubjectKey {
    /// A key from random bytes, or as it was kept.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself, to be kept.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `plain`. `nonce` is random and used once; `context` says what is sealed and must
    /// be the same for opening.
    #[must_use]
    pub fn seal(&self, nonce: [u8; NONCE], context: &[u8], plain: &[u8]) -> Sealed {
        let payload = Payload {
            msg: plain,
            aad: context,
        };
        let cipher = XChaCha20Poly1305::new((&self.0).into());
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a field of an event is far below the cipher's limit of 256 GiB");
        Sealed([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`SubjectKey::seal`] sealed in the same context.
    ///
    /// # Errors
    /// When key, context or bytes are not the same.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, msg) = sealed
            .split_first_chunk::<NONCE>()
            .filter(|(_, rest)| rest.len() >= TAG)
            .ok_or(SealError::TooShort(sealed.len()))?;
        let payload = Payload { msg, aad: context };
        XChaCha20Poly1305::new((&self.0).into())
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| SealError::DoesNotOpen)
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

/// `nonce[24] ‖ ciphertext ‖ tag[16]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_the_same_key_and_context_only() {
        let key = SubjectKey::from_bytes([1; 32]);
        let sealed = key.seal([2; 24], b"username", b"ana");
        assert!(!sealed.as_bytes().windows(3).any(|it| it == b"ana"));
        let opened = key
            .open(b"username", sealed.as_bytes())
            .expect("same key and context");
        assert_eq!(opened.as_slice(), b"ana");
        let other = SubjectKey::from_bytes([3; 32]);
        assert!(other.open(b"username", sealed.as_bytes()).is_err());
        assert!(key.open(b"memo", sealed.as_bytes()).is_err());
        for at in 0..sealed.as_bytes().len() {
            let mut changed = sealed.as_bytes().to_vec();
            changed[at] ^= 1;
            assert_eq!(key.open(b"username", &changed), Err(SealError::DoesNotOpen));
        }
        for cut in [0, 39] {
            let short = &sealed.as_bytes()[..cut];
            assert_eq!(key.open(b"username", short), Err(SealError::TooShort(cut)));
        }
    }

    #[test]
    fn a_key_shows_nothing_of_itself() {
        assert_eq!(
            format!("{:?}", SubjectKey::from_bytes([171; 32])),
            "SubjectKey(..)"
        );
    }
}
