//! The engine's identity and its sealing secrets, in memory.

use super::reply::Reply;
use crate::event_log::Entropy;
use parking_lot::RwLock;
use std::sync::Arc;
use tanglegate_broker::KeyNews;
use tanglegate_broker::login::{Cost, make_verifier};
use tanglegate_core::{
    Confirmation, MemoReading, OfferId, Order, PasswordVerifier, PasswordWish, SubscriberId,
    Timestamp, UnmatchedReason, Username,
};
use tanglegate_crypto::{
    self as crypto, Announcement, Identity, IdentityKey, KeyBody, KeyId, OpenError, SealedMemo,
    SealingSecret,
};
use zeroize::Zeroizing;

/// A sealing secret and how long it serves.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) secret: SealingSecret,
    /// Keys are made from it until then.
    pub(super) offered_until: Timestamp,
    /// Memos in transactions that the ledger confirmed before are opened with it.
    pub(super) valid_until: Timestamp,
}

/// Signs, makes keys and opens memos. Cheap to clone.
#[derive(Clone)]
pub struct Keyring(Arc<Shared>);

struct Shared {
    key: IdentityKey,
    identity: Identity,
    /// The newest last; never empty.
    secrets: RwLock<Vec<Live>>,
}

impl Keyring {
    pub(super) fn new(key: IdentityKey, secrets: Vec<Live>) -> Self {
        let identity = key.identity();
        Self(Arc::new(Shared {
            key,
            identity,
            secrets: RwLock::new(secrets),
        }))
    }

    /// Who signs.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.0.identity
    }

    /// What is announced, signed.
    #[must_use]
    pub fn announce<A: Announcement>(&self, announcement: &A) -> Vec<u8> {
        self.0.key.announce(announcement)
    }

    pub(super) fn replace(&self, secrets: Vec<Live>) {
        *self.0.secrets.write() = secrets;
    }

    pub(super) fn live(&self) -> Vec<Live> {
        self.0.secrets.read().clone()
    }

    /// True when a secret serves no longer that could be destroyed.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        let secrets = self.0.secrets.read();
        let newest = secrets.len() - 1;
        secrets[..newest].iter().any(|it| it.valid_until <= now)
    }

    /// A key for one client, from the newest secret.
    ///
    /// # Panics
    /// Never: there is always a secret.
    #[must_use]
    pub fn make_key(&self, random: [u8; 12], now: Timestamp) -> KeyNews {
        let secrets = self.0.secrets.read();
        let newest = secrets.last().expect("there is always a secret");
        let (key_id, public) = newest.secret.make_key(random);
        let body = KeyBody {
            key_id,
            public,
            issued_at: now.0,
            valid_until: newest.valid_until.0,
        };
        KeyNews {
            key_id: *key_id.as_bytes(),
            payload: self.announce(&body).into(),
            valid_until: newest.valid_until,
        }
    }

    /// Opens a sealed memo, in its place: the confirmation says afterwards what was ordered, or why
    /// nothing can be. What is given back is the way to answer, where the memo could be opened.
    pub fn open(&self, paid: &mut Confirmation, entropy: &mut Entropy) -> Option<Reply> {
        if paid.reading != MemoReading::Sealed {
            return None;
        }
        let (reading, reply) = self.read(paid, entropy);
        paid.reading = reading;
        reply
    }

    fn read(&self, paid: &Confirmation, entropy: &mut Entropy) -> (MemoReading, Option<Reply>) {
        let refused = |reason| (MemoReading::Refused(reason), None);
        let Ok(sealed) = SealedMemo::parse(&paid.memo) else {
            return refused(UnmatchedReason::UnreadableMemo);
        };
        // Whose secret is gone cannot be answered either: what was sealed to it is lost for ever.
        let Some(live) = self.secret_of(sealed.key_id()) else {
            return refused(UnmatchedReason::KeyExpired);
        };
        let opened = live
            .secret
            .open_memo(&sealed, &self.0.identity, &paid.payer.0);
        let opened = match opened {
            Ok(opened) => opened,
            Err(OpenError::OtherSecret { .. } | OpenError::DoesNotOpen) => {
                return refused(UnmatchedReason::DoesNotOpen);
            }
            Err(OpenError::Layout(_) | OpenError::Padding | OpenError::ReplyKey) => {
                return refused(UnmatchedReason::UnfitOrder);
            }
        };
        let (made, verifier) = fresh_password(entropy);
        let order = fitting(&opened, verifier.clone(), SubscriberId(entropy.bytes()));
        let reading = match order {
            _ if live.valid_until <= paid.confirmed_at => {
                MemoReading::Refused(UnmatchedReason::KeyExpired)
            }
            Some(order) => MemoReading::Order(Box::new(order)),
            None => MemoReading::Refused(UnmatchedReason::UnfitOrder),
        };
        let reply = Reply {
            keyring: self.clone(),
            key_id: sealed.key_id(),
            reply_key: opened.reply_key,
            offer: opened.offer,
            username: opened.username,
            made,
            verifier,
            payment: paid.payment,
            seller: paid.seller,
            amount: paid.amount,
        };
        (reading, Some(reply))
    }

    fn secret_of(&self, key: KeyId) -> Option<Live> {
        let secrets = self.0.secrets.read();
        let secret = secrets.iter().find(|it| it.secret.id() == key.secret());
        secret.cloned()
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({})", self.0.identity)
    }
}

/// The order, if its texts can be what they stand for.
fn fitting(
    opened: &crypto::Order,
    made: PasswordVerifier,
    subscriber: SubscriberId,
) -> Option<Order> {
    let password = match &opened.password {
        crypto::PasswordWish::Verifier { salt, tag } => PasswordWish::Set(PasswordVerifier {
            memory_kib: Cost::OWASP.memory_kib,
            passes: Cost::OWASP.passes,
            lanes: Cost::OWASP.lanes,
            salt: *salt,
            tag: *tag,
        }),
        crypto::PasswordWish::Make => PasswordWish::Make,
        crypto::PasswordWish::Keep => PasswordWish::Keep,
    };
    Some(Order {
        offer: OfferId::parse(&opened.offer).ok()?,
        username: Username::parse(&opened.username).ok()?,
        password,
        subscriber,
        made,
    })
}

/// A password of 128 random bits, and what is kept of it. Nobody can guess that many, so that
/// Argon2id need not slow him down: it has its least cost.
fn fresh_password(entropy: &mut Entropy) -> (Zeroizing<String>, PasswordVerifier) {
    let password = base32(&Zeroizing::new(entropy.bytes()));
    let verifier = make_verifier(password.as_bytes(), entropy.bytes(), Cost::LEAST);
    (password, verifier.expect("the least cost is one"))
}

/// RFC 4648 §6 in lower case, without padding: 26 characters that can be read aloud.
fn base32(bytes: &[u8; 16]) -> Zeroizing<String> {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let number = u128::from_be_bytes(*bytes);
    // 26 digits have 130 bits: the last one has two zeros behind it.
    let digit = |place: u32| {
        let shifted = match 123_u32.checked_sub(5 * place) {
            Some(right) => number >> right,
            None => number << 2,
        };
        let index = usize::try_from(shifted & 31).expect("five bits");
        char::from(DIGITS[index])
    };
    Zeroizing::new((0..26).map(digit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_base32() {
        // RFC 4648 §10 has no vector of 16 bytes; these were made with Python's base64.b32encode.
        assert_eq!(*base32(&[0; 16]), "a".repeat(26));
        assert_eq!(*base32(&[0xff; 16]), format!("{}4", "7".repeat(25)));
        assert_eq!(*base32(b"tanglegate buyer"), "orqw4z3mmvtwc5dfebrhk6lfoi");
    }
}
