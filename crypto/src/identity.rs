//! The engine's identity: an Ed25519 key under which everything it announces is signed, with a
//! label for each kind, so that no signature of one kind passes for another.

use ed25519_dalek::{SIGNATURE_LENGTH, Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What a signature is for. The bytes signed are the label and then the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// Who the engine is: `$SYS/access/identity`.
    Identity,
    /// What is for sale: `$SYS/access/offers`.
    Offers,
    /// A sealing key for one client: `$SYS/access/me/key`.
    Key,
    /// What became of a payment: inside the sealed answer.
    Receipt,
}

impl Label {
    /// Every label there is.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Offers, Self::Key, Self::Receipt];

    /// The bytes before the body. The NUL byte at their end makes none the beginning of another.
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Identity => b"tanglegate/identity/v1\0",
            Self::Offers => b"tanglegate/offers/v1\0",
            Self::Key => b"tanglegate/key/v1\0",
            Self::Receipt => b"tanglegate/receipt/v1\0",
        }
    }

    /// What it is called in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Offers => "list of offers",
            Self::Key => "key",
            Self::Receipt => "receipt",
        }
    }
}

/// Something signed that does not hold, or an identity that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a public key.
    #[error("'{0}' is no identity: it has 64 hexadecimal digits, as the seller shows it")]
    NotAnIdentity(String),
    /// Fewer bytes than a signature.
    #[error("{bytes} bytes are too few for a signed {what}")]
    TooShort {
        /// What it should have been.
        what: &'static str,
        /// How many there are.
        bytes: usize,
    },
    /// Signed by somebody else, for something else, or changed.
    #[error("the signature is not that of {identity} over this {what}")]
    Forged {
        /// What it should have been.
        what: &'static str,
        /// Who should have signed it, in hexadecimal digits.
        identity: String,
    },
}

/// The public half: what buyers know the engine by. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity(VerifyingKey);

impl Identity {
    /// An identity by its 32 bytes.
    ///
    /// # Errors
    /// When they are no point of the curve, or one of small order, under which signatures mean
    /// nothing.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, IdentityError> {
        VerifyingKey::from_bytes(bytes)
            .ok()
            .filter(|key| !key.is_weak())
            .map(Self)
            .ok_or_else(|| IdentityError::NotAnIdentity(hex::encode(bytes)))
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The body of what [`IdentityKey::sign`] signed under the same label.
    ///
    /// # Errors
    /// When this identity has not signed exactly this, for exactly this use (`verify_strict`:
    /// also when the signature could be given another form).
    pub fn open<'a>(&self, label: Label, signed: &'a [u8]) -> Result<&'a [u8], IdentityError> {
        let what = label.name();
        let (signature, body) =
            signed
                .split_first_chunk::<SIGNATURE_LENGTH>()
                .ok_or(IdentityError::TooShort {
                    what,
                    bytes: signed.len(),
                })?;
        let message = Zeroizing::new([label.as_bytes(), body].concat());
        self.0
            .verify_strict(&message, &Signature::from_bytes(signature))
            .map_err(|_| IdentityError::Forged {
                what,
                identity: self.to_string(),
            })?;
        Ok(body)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| IdentityError::NotAnIdentity(text.chars().take(80).collect()))?;
        Self::from_bytes(&bytes)
    }
}

/// The secret half. Wiped when it is dropped.
pub struct IdentityKey(SigningKey);

impl IdentityKey {
    /// A key from 32 random bytes, or as it was kept.
    #[must_use]
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The key itself, to be kept.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity(self.0.verifying_key())
    }

    /// `signature[64] ‖ body`; the signature is over `label ‖ body`.
    #[must_use]
    pub fn sign(&self, label: Label, body: &[u8]) -> Vec<u8> {
        let message = Zeroizing::new([label.as_bytes(), body].concat());
        let signature = self.0.sign(&message).to_bytes();
        [signature.as_slice(), body].concat()
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({})", self.identity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> IdentityKey {
        IdentityKey::from_bytes(&[seed; 32])
    }

    #[test]
    fn what_is_signed_opens_under_its_own_label_and_key_only() {
        let signed = key(1).sign(Label::Offers, b"body");
        let identity = key(1).identity();
        assert_eq!(identity.open(Label::Offers, &signed), Ok(&b"body"[..]));
        for label in Label::ALL {
            let opens = identity.open(label, &signed).is_ok();
            assert_eq!(opens, label == Label::Offers, "{label:?}");
        }
        assert!(key(2).identity().open(Label::Offers, &signed).is_err());
        for at in 0..signed.len() {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            assert!(identity.open(Label::Offers, &changed).is_err(), "byte {at}");
        }
        for cut in 0..signed.len() {
            assert!(identity.open(Label::Offers, &signed[..cut]).is_err());
        }
    }

    #[test]
    fn no_label_begins_another() {
        for label in Label::ALL {
            assert_eq!(label.as_bytes().last(), Some(&0));
            let begun = |it: &&Label| it.as_bytes().starts_with(label.as_bytes());
            assert_eq!(Label::ALL.iter().filter(begun).count(), 1, "{label:?}");
        }
    }

    #[test]
    fn an_identity_is_read_back_from_its_text() {
        let identity = key(3).identity();
        assert_eq!(identity.to_string().parse(), Ok(identity));
        let text = identity.to_string();
        for wrong in ["", &text[1..], &format!("{text}00"), &"zz".repeat(32)] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_identity_of_small_order_is_none() {
        // The neutral element, and the point of order 2: under them any signature can be made.
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        for weak in [one, minus_one] {
            assert!(Identity::from_bytes(&weak).is_err());
        }
    }

    #[test]
    fn a_secret_key_shows_only_its_public_half() {
        let kept = IdentityKey::from_bytes(key(171).expose());
        let shown = format!("{kept:?}");
        assert_eq!(shown, format!("IdentityKey({})", key(171).identity()));
        assert!(!shown.contains(&hex::encode([171; 32])));
    }
}
