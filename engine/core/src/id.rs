//! Names of things: each is a type of its own, so that none stands in for another.

use std::fmt;
use std::sync::Arc;

/// A text that is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not the right number of hexadecimal digits.
    #[error("{what} '{text}' is not {expected} hexadecimal digits")]
    NotHex {
        /// What was expected.
        what: &'static str,
        /// What was given, shortened.
        text: String,
        /// How many digits it takes.
        expected: usize,
    },
    /// Not 32 bytes in base58.
    #[error("'{0}' is not a transaction digest: 32 bytes in base58, as wallets show it")]
    NotADigest(String),
    /// Not a name made of lower-case letters, digits and hyphens.
    #[error(
        "'{0}' is not an offer's name: use 1 to 32 lower-case letters, digits and hyphens, \
         for example plug-hour"
    )]
    NotAnOfferName(String),
}

/// Place of an event in the log: from 1, without gaps. 0 stands before the first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 32 bytes that name a ledger transaction (BLAKE2b-256 of its signed data).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// An account on the ledger: BLAKE2b-256 of its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 32]);

/// Opaque identity of a subscriber. Says nothing about the person, so it may stand anywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub [u8; 16]);

/// Identity of a rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub [u8; 16]);

/// A payment: the transaction, and which of its payments it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentId {
    /// The transaction's digest.
    pub digest: Digest,
    /// Rank among the transaction's positive changes of the native coin, by address bytes.
    pub index: u16,
}

macro_rules! hex_identity {
    ($type:ident, $bytes:literal, $what:literal, $prefix:literal) => {
        impl $type {
            /// Reads the form that `Display` writes.
            ///
            /// # Errors
            /// When the text is anything else.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let digits = text.strip_prefix($prefix).unwrap_or(text);
                from_hex::<$bytes>(digits)
                    .map(Self)
                    .ok_or_else(|| IdError::NotHex {
                        what: $what,
                        text: text.chars().take(80).collect(),
                        expected: $bytes * 2,
                    })
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }
    };
}

hex_identity!(Address, 32, "address", "0x");
hex_identity!(SubscriberId, 16, "subscriber", "");
hex_identity!(RuleId, 16, "rule", "");

impl Digest {
    /// Reads the form that wallets and explorers show: base58 of the 32 bytes.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let not_a_digest = || IdError::NotADigest(text.chars().take(80).collect());
        let mut bytes = [0; 32];
        match bs58::decode(text).onto(&mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            _ => Err(not_a_digest()),
        }
    }
}

/// As wallets and explorers show it: base58.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, length) = base58(&self.0);
        let text = std::str::from_utf8(&text[text.len() - length..]);
        f.write_str(text.expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.digest, self.index)
    }
}

/// 32 bytes in base58, at the end of the text, and how many characters: 32 to 44. Every row of a
/// payment and its streams carry one, so it is divided by 58⁵ at a time, which fits 32 bits.
fn base58(bytes: &[u8; 32]) -> ([u8; 45], usize) {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    const CHUNK: u64 = 58 * 58 * 58 * 58 * 58;
    let mut number: [u64; 8] = std::array::from_fn(|at| {
        bytes[4 * at..4 * at + 4]
            .iter()
            .fold(0, |limb, byte| limb << 8 | u64::from(*byte))
    });
    let mut digits = [0_u8; 45];
    for chunk in digits.rchunks_exact_mut(5) {
        let mut rest = 0;
        for limb in &mut number {
            let dividend = rest << 32 | *limb;
            (*limb, rest) = (dividend / CHUNK, dividend % CHUNK);
        }
        for digit in chunk.iter_mut().rev() {
            *digit = u8::try_from(rest % 58).expect("below 58");
            rest /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|it| **it == 0).count();
    let significant = digits
        .iter()
        .position(|it| *it != 0)
        .map_or(0, |first| digits.len() - first);
    (
        digits.map(|it| ALPHABET[usize::from(it)]),
        zeros + significant,
    )
}

fn from_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let nibble = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|it| u8::try_from(it).ok())
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// Name of an offer: 1 to 32 lower-case letters, digits and hyphens, chosen by the seller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(Arc<str>);

impl OfferId {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, longer than 32 bytes, or has other characters.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fits = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
        if !fits {
            return Err(IdError::NotAnOfferName(text.chars().take(64).collect()));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A ledger's own name for itself, e.g. `6364aad5`: two ledgers are never mixed in one log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub Arc<str>);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public key of signed tree heads as its text stands in logs and configurations
/// (c2sp.org/signed-note): `name+id+base64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey(pub Arc<str>);

impl VerifierKey {
    /// The name of the log, which all of its keys carry.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.0.split('+').next().unwrap_or_default()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_back_from_what_they_write() {
        let address = Address([0xab; 32]);
        assert_eq!(Address::parse(&address.to_string()), Ok(address));
        assert_eq!(
            Address::parse(&"ab".repeat(32)),
            Ok(address),
            "the prefix may be missing"
        );
        for digest in [Digest([0; 32]), Digest([0xff; 32]), Digest([7; 32])] {
            assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
        }
        for text in ["", "0OIl", "abc", &"z".repeat(45), &"1".repeat(33)] {
            assert!(Digest::parse(text).is_err(), "{text}");
        }
        let subscriber = SubscriberId([7; 16]);
        assert_eq!(SubscriberId::parse(&subscriber.to_string()), Ok(subscriber));
    }

    #[test]
    fn digests_are_written_as_every_other_base58_writes_them() {
        let mut digests: Vec<[u8; 32]> = (0..=32_usize)
            .map(|zeros| std::array::from_fn(|at| if at < zeros { 0 } else { 0xff }))
            .collect();
        digests.extend((0..=255_u8).map(|seed| {
            std::array::from_fn(|at| {
                seed.wrapping_mul(31)
                    .wrapping_add(u8::try_from(at * at % 251).expect("small"))
            })
        }));
        for digest in digests {
            let expected = bs58::encode(digest).into_string();
            assert_eq!(Digest(digest).to_string(), expected);
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_would_be_right() {
        for text in ["", "0x12", "0xzz", &"é".repeat(32), &"g".repeat(64)] {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
        for text in ["", "Plug", "plug hour", "plug/hour", &"a".repeat(33)] {
            assert!(OfferId::parse(text).is_err(), "{text}");
        }
    }
}
