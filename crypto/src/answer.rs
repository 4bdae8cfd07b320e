//! The sealed answer: the receipt of a payment, readable for the buyer alone, who gave the key
//! for it in his memo (`docs/PROTOCOL.md` §6).
//!
//! ```text
//! answer = suite[1] ‖ enc[32] ‖ ct
//! plain  = length[2, big-endian] ‖ signed receipt ‖ zeros          to a multiple of 512 bytes
//! ```

use crate::announcement::AnnouncementError;
use crate::identity::Identity;
use crate::memo::SealingError;
use crate::receipt::Receipt;
use crate::sealing::KeyId;
use crate::suite::{self, ENC, SUITE, TAG};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Plain texts are padded to whole blocks, so that their length says little.
const BLOCK: usize = 512;
/// Most blocks of a plain text.
const BLOCKS: usize = 8;
/// Bytes before the plain text's signed receipt.
const LENGTH: usize = 2;
/// Most bytes of an answer.
pub const LONGEST_ANSWER: usize = 1 + ENC + BLOCKS * BLOCK + TAG;
/// `info` of HPKE is this and the engine's identity.
const INFO: &[u8] = b"tanglegate/answer/v1\0";

/// An answer that cannot be opened, or is not the engine's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A length that no answer has.
    #[error("{0} bytes are no answer: it has 49 bytes and one to eight times 512")]
    Length(usize),
    /// Sealed in a way that this version does not know.
    #[error("the answer is sealed with suite {0}, this version knows suite 1")]
    Suite(u8),
    /// Changed, sealed to another reply key, by another engine, or for another key id.
    #[error("the answer does not open: changed, or not for this reply key, engine and key id")]
    DoesNotOpen,
    /// It opens, and its length or padding are wrong.
    #[error("the answer opens, but is not padded as it should be")]
    Padding,
    /// It opens, and what is in it is not the engine's receipt.
    #[error("the answer opens, but {0}")]
    Receipt(#[from] AnnouncementError),
}

/// The buyer's key that answers are sealed to: an X25519 private key. Wiped when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ReplyKey([u8; 32]);

impl ReplyKey {
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

    /// The public half, which goes into the order.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        suite::public(&suite::private(&self.0))
    }

    /// The receipt in an answer of the engine `identity` to a memo sealed to the key `key_id`.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn open_answer(
        &self,
        answer: &[u8],
        identity: &Identity,
        key_id: KeyId,
    ) -> Result<Receipt, AnswerError> {
        let signed = self.unseal(answer, identity, key_id)?;
        Ok(identity.hear(&signed)?)
    }

    /// What is sealed in an answer: the receipt under its signature, for [`Identity::hear`] and to
    /// be kept, because it proves to others what the engine promised.
    ///
    /// # Errors
    /// See [`AnswerError`]; the receipt is not looked at.
    pub fn unseal(
        &self,
        answer: &[u8],
        identity: &Identity,
        key_id: KeyId,
    ) -> Result<Zeroizing<Vec<u8>>, AnswerError> {
        let length = || AnswerError::Length(answer.len());
        let (suite, rest) = answer.split_first().ok_or_else(length)?;
        let (enc, rest) = rest.split_first_chunk::<ENC>().ok_or_else(length)?;
        let (sealed, tag) = rest.split_last_chunk::<TAG>().ok_or_else(length)?;
        if *suite != SUITE {
            return Err(AnswerError::Suite(*suite));
        }
        if sealed.is_empty() || sealed.len() % BLOCK != 0 || sealed.len() > BLOCKS * BLOCK {
            return Err(length());
        }
        let mut plain = suite::zeroed(sealed.len());
        plain.copy_from_slice(sealed);
        let (private, info) = (suite::private(&self.0), info(identity));
        suite::open(&private, enc, &info, key_id.as_bytes(), &mut plain, tag)
            .ok_or(AnswerError::DoesNotOpen)?;
        let signed = unpadded(&plain).ok_or(AnswerError::Padding)?;
        Ok(Zeroizing::new(signed.to_vec()))
    }
}

impl fmt::Debug for ReplyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyKey(..)")
    }
}

/// Seals a signed receipt ([`crate::IdentityKey::announce`]) of the engine `identity` to the reply
/// key of the order that came sealed to `key_id`. `entropy` is random, secret, and used once.
///
/// # Errors
/// When nothing can be sealed to the reply key, or the receipt has more than 4,094 bytes.
pub fn seal_answer(
    entropy: &[u8; 32],
    reply_key: &[u8; 32],
    identity: &Identity,
    key_id: KeyId,
    signed: &[u8],
) -> Result<Vec<u8>, SealingError> {
    let mut plain = padded(signed)?;
    let (enc, tag) = suite::seal(
        entropy,
        reply_key,
        &info(identity),
        key_id.as_bytes(),
        &mut plain,
    )
    .ok_or(SealingError::ReplyKey)?;
    Ok([&[SUITE], enc.as_slice(), &plain, &tag].concat())
}

fn padded(signed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let blocks = (LENGTH + signed.len()).div_ceil(BLOCK);
    let length = u16::try_from(signed.len())
        .ok()
        .filter(|_| blocks <= BLOCKS)
        .ok_or(SealingError::Receipt(signed.len()))?;
    let mut plain = suite::zeroed(blocks * BLOCK);
    plain[..LENGTH].copy_from_slice(&length.to_be_bytes());
    plain[LENGTH..LENGTH + signed.len()].copy_from_slice(signed);
    Ok(plain)
}

/// What was padded, where the padding is the only one that it could have had.
fn unpadded(plain: &[u8]) -> Option<&[u8]> {
    let (length, rest) = plain.split_first_chunk::<LENGTH>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (signed, padding) = rest.split_at_checked(length)?;
    let whole = padding.iter().all(|byte| *byte == 0) && padding.len() < BLOCK;
    whole.then_some(signed)
}

fn info(identity: &Identity) -> Vec<u8> {
    [INFO, identity.as_bytes()].concat()
}
