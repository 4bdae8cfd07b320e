//! The sealed memo, form 1: what a buyer orders, readable for the engine alone, bound to the
//! address that pays with it (`docs/PROTOCOL.md` §5).
//!
//! ```text
//! memo  = "TGLM" ‖ 01 ‖ suite[1] ‖ key id[16] ‖ enc[32] ‖ ct[202]
//! plain = [offer, username, password, reply key] ‖ zeros           186 bytes
//! ```

use crate::announcement::{KeyBody, LONGEST_OFFER, LONGEST_USERNAME};
use crate::cbor::{LayoutError, Reader, Writer};
use crate::identity::Identity;
use crate::sealing::{KeyId, SealingSecret};
use crate::suite::{self, ENC, SUITE, TAG};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a sealed memo: all of them look alike.
pub const SEALED_MEMO: usize = 256;

const MAGIC: &[u8; 4] = b"TGLM";
/// The form byte of sealed memos.
const FORM: u8 = 1;
/// What stands before enc, and is bound to the sealed text: magic, form, suite and key id.
const HEAD: usize = 22;
/// Bytes of the plain text: the longest order has 185.
const PLAIN: usize = SEALED_MEMO - HEAD - ENC - TAG;
/// `info` of HPKE is this and the engine's identity.
const INFO: &[u8] = b"tanglegate/memo/v1\0";

/// Bytes that are no sealed memo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoError {
    /// Not ours at all.
    #[error("the bytes do not begin with TGLM")]
    NotOurs,
    /// Another form.
    #[error("the memo is of form {0}, a sealed one of form 1")]
    Form(u8),
    /// Shorter or longer.
    #[error("the sealed memo has {0} bytes instead of 256")]
    Length(usize),
    /// Sealed in a way that this version does not know.
    #[error("the memo is sealed with suite {0}, this version knows suite 1")]
    Suite(u8),
}

/// A sealed memo that cannot be opened, or says nothing that could be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its key comes from another sealing secret.
    #[error("the memo is sealed to key {key}, which another sealing secret than {secret} made")]
    OtherSecret {
        /// The key it is sealed to.
        key: KeyId,
        /// The secret that was tried, in hexadecimal digits.
        secret: String,
    },
    /// Changed, made for another engine, paid by another address, or never sealed to this key.
    #[error("the memo does not open: changed, for another engine, or paid by another address")]
    DoesNotOpen,
    /// It opens, and what it says is laid out otherwise.
    #[error("the memo opens, but the order in it cannot be read: {0}")]
    Layout(#[from] LayoutError),
    /// Something else than zeros follows the order.
    #[error("the memo opens, but its padding is not all zeros")]
    Padding,
    /// Nothing could be sealed to the buyer.
    #[error("the memo opens, but its reply key is a point of small order")]
    ReplyKey,
}

/// An order that cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// The offer's name.
    #[error("an offer's name has 1 to 32 bytes, this one has {0}")]
    Offer(usize),
    /// The username.
    #[error("a username has 1 to 64 bytes, this one has {0}")]
    Username(usize),
    /// The key it should be sealed to.
    #[error("nothing can be sealed to this public key: it is a point of small order")]
    PublicKey,
    /// The key it should be answered to.
    #[error("nothing could be sealed to this reply key: it is a point of small order")]
    ReplyKey,
    /// What should be answered.
    #[error("the receipt has {0} bytes, at most 4,094 are sealed")]
    Receipt(usize),
}

/// What the login's password should be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PasswordWish {
    /// The one with this verifier, which the buyer made: Argon2id version 0x13 (RFC 9106) with
    /// m = 19,456 KiB, t = 2, p = 1. The engine never sees the password.
    Verifier {
        /// Random salt.
        salt: [u8; 16],
        /// The tag that the password gives.
        tag: [u8; 32],
    },
    /// One that the engine makes and tells in its answer.
    Make,
    /// The one that the login has; for a new login as [`PasswordWish::Make`].
    Keep,
}

/// Which wish it is; salt and tag are what a thief needs to guess at leisure.
impl fmt::Debug for PasswordWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verifier { .. } => "Verifier(..)",
            Self::Make => "Make",
            Self::Keep => "Keep",
        })
    }
}

/// What a buyer wants for his payment.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    /// The name of the offer: 1 to 32 bytes; whether it can name one is not looked at here.
    pub offer: String,
    /// The login that gets the time: 1 to 64 bytes of UTF-8. Personal data.
    pub username: String,
    /// Its password.
    pub password: PasswordWish,
    /// The X25519 public key that the answer is sealed to.
    pub reply_key: [u8; 32],
}

/// Not the username.
impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("offer", &self.offer)
            .field("password", &self.password)
            .finish_non_exhaustive()
    }
}

impl Order {
    fn check(&self) -> Result<(), SealingError> {
        if !(1..=LONGEST_OFFER).contains(&self.offer.len()) {
            return Err(SealingError::Offer(self.offer.len()));
        }
        if !(1..=LONGEST_USERNAME).contains(&self.username.len()) {
            return Err(SealingError::Username(self.username.len()));
        }
        if suite::is_small(&self.reply_key) {
            return Err(SealingError::ReplyKey);
        }
        Ok(())
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let to = Writer::new(PLAIN)
            .array(4)
            .text(&self.offer)
            .text(&self.username);
        let to = match &self.password {
            PasswordWish::Verifier { salt, tag } => {
                let mut verifier = Zeroizing::new([0; 48]);
                verifier[..16].copy_from_slice(salt);
                verifier[16..].copy_from_slice(tag);
                to.bytes(&*verifier)
            }
            PasswordWish::Make => to.yes(),
            PasswordWish::Keep => to.null(),
        };
        Zeroizing::new(to.bytes(&self.reply_key).finish())
    }

    /// Reads the plain text of a memo.
    fn decode(plain: &[u8]) -> Result<Self, OpenError> {
        let mut from = Reader::new(plain);
        from.array(4, "order", "an array of 4 fields")?;
        let offer = from.text(1, LONGEST_OFFER, "offer", "a text of 1 to 32 bytes")?;
        let username = from.text(1, LONGEST_USERNAME, "username", "a text of 1 to 64 bytes")?;
        let this = Self {
            offer: offer.to_owned(),
            username: username.to_owned(),
            password: PasswordWish::read(&mut from)?,
            reply_key: from.bytes("reply key", "32 bytes")?,
        };
        let (order, padding) = plain.split_at(from.position());
        if this.encode().as_slice() != order {
            return Err(LayoutError::Loose.into());
        }
        if padding.iter().any(|byte| *byte != 0) {
            return Err(OpenError::Padding);
        }
        if suite::is_small(&this.reply_key) {
            return Err(OpenError::ReplyKey);
        }
        Ok(this)
    }
}

impl PasswordWish {
    fn read(from: &mut Reader<'_>) -> Result<Self, LayoutError> {
        if from.null() {
            return Ok(Self::Keep);
        }
        if from.yes() {
            return Ok(Self::Make);
        }
        let verifier: Zeroizing<[u8; 48]> =
            Zeroizing::new(from.bytes("password", "48 bytes, true or null")?);
        let (mut salt, mut tag) = ([0; 16], [0; 32]);
        salt.copy_from_slice(&verifier[..16]);
        tag.copy_from_slice(&verifier[16..]);
        Ok(Self::Verifier { salt, tag })
    }
}

/// A sealed memo as it came: whole, of a known suite, and not yet opened.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedMemo([u8; SEALED_MEMO]);

impl SealedMemo {
    /// Seals `order` to a key that the engine `identity` announced, for a payment by the address
    /// `payer`. `entropy` is random, secret, and used once.
    ///
    /// # Errors
    /// When a name has a length that it may not have, or a key is none.
    pub fn seal(
        entropy: &[u8; 32],
        key: &KeyBody,
        identity: &Identity,
        payer: &[u8; 32],
        order: &Order,
    ) -> Result<Self, SealingError> {
        order.check()?;
        let encoded = order.encode();
        let mut plain = suite::zeroed(PLAIN);
        plain[..encoded.len()].copy_from_slice(&encoded);
        let mut memo = [0; SEALED_MEMO];
        memo[..4].copy_from_slice(MAGIC);
        (memo[4], memo[5]) = (FORM, SUITE);
        memo[6..HEAD].copy_from_slice(key.key_id.as_bytes());
        let aad = bound_to(&memo[..HEAD], payer);
        let (enc, tag) = suite::seal(entropy, &key.public, &info(identity), &aad, &mut plain)
            .ok_or(SealingError::PublicKey)?;
        memo[HEAD..HEAD + ENC].copy_from_slice(&enc);
        memo[HEAD + ENC..SEALED_MEMO - TAG].copy_from_slice(&plain);
        memo[SEALED_MEMO - TAG..].copy_from_slice(&tag);
        Ok(Self(memo))
    }

    /// Reads what can be read without a key.
    ///
    /// # Errors
    /// When the bytes are no sealed memo, or of a suite that this version does not know.
    pub fn parse(memo: &[u8]) -> Result<Self, MemoError> {
        if !memo.starts_with(MAGIC) {
            return Err(MemoError::NotOurs);
        }
        if let Some(form) = memo.get(4).filter(|form| **form != FORM) {
            return Err(MemoError::Form(*form));
        }
        let memo: [u8; SEALED_MEMO] = memo.try_into().map_err(|_| MemoError::Length(memo.len()))?;
        match memo[5] {
            SUITE => Ok(Self(memo)),
            other => Err(MemoError::Suite(other)),
        }
    }

    /// The bytes, as they stand in the payment.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; SEALED_MEMO] {
        &self.0
    }

    /// The key that it says it is sealed to.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[6..HEAD]);
        KeyId::from_bytes(id)
    }
}

impl fmt::Debug for SealedMemo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedMemo(to {})", self.key_id())
    }
}

impl SealingSecret {
    /// What the memo orders, as the engine `identity` reads it in a payment by `payer`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_memo(
        &self,
        memo: &SealedMemo,
        identity: &Identity,
        payer: &[u8; 32],
    ) -> Result<Order, OpenError> {
        let key = memo.key_id();
        let (private, _) = self.key_pair(key).ok_or_else(|| OpenError::OtherSecret {
            key,
            secret: hex::encode(self.id()),
        })?;
        let (head, rest) = memo.0.split_at(HEAD);
        let (enc, sealed) = rest.split_first_chunk().expect("256 bytes have enc");
        let (sealed, tag) = sealed.split_last_chunk().expect("256 bytes have a tag");
        let mut plain = suite::zeroed(PLAIN);
        plain.copy_from_slice(sealed);
        let aad = bound_to(head, payer);
        suite::open(&private, enc, &info(identity), &aad, &mut plain, tag)
            .ok_or(OpenError::DoesNotOpen)?;
        Order::decode(&plain)
    }
}

/// Additional data of the sealing: a memo that another address pays with does not open.
fn bound_to(head: &[u8], payer: &[u8; 32]) -> Vec<u8> {
    [head, payer].concat()
}

fn info(identity: &Identity) -> Vec<u8> {
    [INFO, identity.as_bytes()].concat()
}
