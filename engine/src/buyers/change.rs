//! Changes: the address that bought a login changes its password or its name, without paying.
//!
//! ```text
//! change  = [memo bstr256, memo bstr256 or null, signature bstr97]    deterministic CBOR
//! answer  = [accepted, text]
//! message = "Change a Tanglegate login\nengine HEX\nmemo HEX\nname HEX\n"
//! ```
//! The first memo names the login and what shall open it, the second one its new name. Both are
//! sealed as for a payment; nothing else in them counts.

use super::claim::ClaimError;
use super::keyring::Keyring;
use crate::event_log::Entropy;
use crate::wallet::{PERSONAL_SIGNATURE, signer_of_personal};
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use tanglegate_core::{
    Address, Command, Confirmation, Digest, MemoReading, Nanos, Order, PasswordWish, PaymentId,
    Timestamp, UnmatchedReason,
};
use tanglegate_crypto::{Identity, SEALED_MEMO};

/// A change, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    #[cbor(n(0), with = "minicbor::bytes")]
    memo: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    name: Option<Vec<u8>>,
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: Vec<u8>,
}

impl Change {
    /// What the owner signs as a personal message.
    #[must_use]
    pub fn message(identity: &Identity, memo: &[u8], name: Option<&[u8]>) -> String {
        let memo = hex::encode(Sha256::digest(memo));
        let name = name.map_or_else(|| "-".to_owned(), |it| hex::encode(Sha256::digest(it)));
        format!("Change a Tanglegate login\nengine {identity}\nmemo {memo}\nname {name}\n")
    }

    /// A change with its proof.
    #[must_use]
    pub fn new(
        memo: &[u8; SEALED_MEMO],
        name: Option<&[u8; SEALED_MEMO]>,
        signature: &[u8; PERSONAL_SIGNATURE],
    ) -> Self {
        Self {
            memo: memo.to_vec(),
            name: name.map(|it| it.to_vec()),
            signature: signature.to_vec(),
        }
    }

    /// Its bytes.
    ///
    /// # Panics
    /// Never: a vector takes every byte.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes every byte")
    }

    fn read(bytes: &[u8]) -> Result<Self, ClaimError> {
        let change: Self = minicbor::decode(bytes)
            .map_err(|_| ClaimError::Layout("an array of two memos and a signature"))?;
        match change.to_bytes() == bytes {
            true => Ok(change),
            false => Err(ClaimError::Layout(
                "its CBOR is not deterministic, or goes on",
            )),
        }
    }
}

impl Keyring {
    /// What a change asks for, if its proof holds and its memos open.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub fn open_change(
        &self,
        bytes: &[u8],
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> Result<Command, ClaimError> {
        let change = Change::read(bytes)?;
        let message = Change::message(&self.identity(), &change.memo, change.name.as_deref());
        let owner = signer_of_personal(message.as_bytes(), &change.signature)?;
        let mut order = |memo| self.order(memo, owner, now, entropy);
        let login = order(change.memo)?;
        let renamed = change.name.map(order).transpose()?;
        let verifier = match login.password {
            PasswordWish::Set(verifier) => Some(verifier),
            PasswordWish::Keep => None,
            PasswordWish::Make => {
                return Err(ClaimError::Layout(
                    "a password that the engine makes comes with a payment only: choose one",
                ));
            }
        };
        Ok(Command::ChangeOwned {
            owner,
            username: login.username,
            verifier,
            renamed: renamed.map(|it| it.username),
        })
    }

    fn order(
        &self,
        memo: Vec<u8>,
        owner: Address,
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> Result<Order, ClaimError> {
        let mut paid = Confirmation {
            payment: PaymentId {
                digest: Digest([0; 32]),
                index: 0,
            },
            seller: Address([0; 32]),
            payer: owner,
            amount: Nanos::ZERO,
            checkpoint: 0,
            confirmed_at: now,
            memo,
            reading: MemoReading::Sealed,
        };
        drop(self.open(&mut paid, entropy));
        match paid.reading {
            MemoReading::Order(order) => Ok(*order),
            MemoReading::Refused(reason) => Err(ClaimError::Refused(reason)),
            _ => Err(ClaimError::Refused(UnmatchedReason::DoesNotOpen)),
        }
    }
}
