//! Claims: the payer of a payment that waits proves that he paid it, and says what it is for.
//!
//! ```text
//! claim   = [digest bstr32, index, memo bstr256, signature bstr97]    deterministic CBOR
//! answer  = [accepted, text]
//! message = "Claim a Tanglegate payment\nengine HEX\npayment DIGEST:INDEX\nmemo HEX\n"
//! ```
//! The memo is sealed as for a payment; the message names its SHA-256. A wallet shows the message
//! to its owner as it stands.

use super::keyring::Keyring;
use super::reply::Reply;
use crate::event_log::Entropy;
use crate::wallet::{PERSONAL_SIGNATURE, ProofError, signer_of_personal};
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use tanglegate_core::{
    Address, Command, Confirmation, Digest, MemoReading, Nanos, PaymentId, Timestamp,
    UnmatchedReason,
};
use tanglegate_crypto::{Identity, SEALED_MEMO};

/// A claim that nothing can be done about. Nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Not the bytes of a claim.
    #[error("this cannot be read: {0}")]
    Layout(&'static str),
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The memo of a change cannot be carried out.
    #[error("{0}")]
    Refused(UnmatchedReason),
    /// The memo cannot be carried out.
    #[error("{0}; the payment goes on waiting")]
    Memo(UnmatchedReason),
}

/// A claim, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    #[cbor(n(0), with = "minicbor::bytes")]
    digest: [u8; 32],
    #[n(1)]
    index: u16,
    #[cbor(n(2), with = "minicbor::bytes")]
    memo: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    signature: Vec<u8>,
}

impl Claim {
    /// What the payer signs as a personal message.
    #[must_use]
    pub fn message(identity: &Identity, payment: PaymentId, memo: &[u8]) -> String {
        let memo = hex::encode(Sha256::digest(memo));
        format!(
            "Claim a Tanglegate payment\nengine {identity}\npayment {}:{}\nmemo {memo}\n",
            payment.digest, payment.index
        )
    }

    /// A claim with its proof.
    #[must_use]
    pub fn new(
        payment: PaymentId,
        memo: &[u8; SEALED_MEMO],
        signature: &[u8; PERSONAL_SIGNATURE],
    ) -> Self {
        Self {
            digest: payment.digest.0,
            index: payment.index,
            memo: memo.to_vec(),
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
        let claim: Self = minicbor::decode(bytes)
            .map_err(|_| ClaimError::Layout("an array of digest, index, memo and signature"))?;
        match claim.to_bytes() == bytes {
            true => Ok(claim),
            false => Err(ClaimError::Layout(
                "its CBOR is not deterministic, or goes on",
            )),
        }
    }

    fn payment(&self) -> PaymentId {
        PaymentId {
            digest: Digest(self.digest),
            index: self.index,
        }
    }
}

impl Keyring {
    /// What a claim asks for, if its proof holds and its memo opens. How much the payment was, and
    /// whether it waits, is for the log to say.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub fn open_claim(
        &self,
        bytes: &[u8],
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> Result<(Command, Reply), ClaimError> {
        let claim = Claim::read(bytes)?;
        let payment = claim.payment();
        let message = Claim::message(&self.identity(), payment, &claim.memo);
        let payer = signer_of_personal(message.as_bytes(), &claim.signature)?;
        // As if the ledger confirmed it now, with this memo: the key must be valid still.
        let mut paid = Confirmation {
            payment,
            seller: Address([0; 32]),
            payer,
            amount: Nanos::ZERO,
            checkpoint: 0,
            confirmed_at: now,
            memo: claim.memo,
            reading: MemoReading::Sealed,
        };
        let reply = self.open(&mut paid, entropy);
        match (paid.reading, reply) {
            (MemoReading::Order(order), Some(reply)) => Ok((
                Command::ClaimPayment {
                    payment,
                    payer,
                    order,
                },
                reply,
            )),
            (MemoReading::Refused(reason), _) => Err(ClaimError::Memo(reason)),
            _ => Err(ClaimError::Memo(UnmatchedReason::DoesNotOpen)),
        }
    }
}

/// What the claimant is told at once. The credential comes as for a payment.
#[must_use]
pub fn claim_answer(outcome: Result<(), String>) -> Vec<u8> {
    let (accepted, text) = match outcome {
        Ok(()) => (true, "recorded".to_owned()),
        Err(why) => (false, why),
    };
    minicbor::to_vec((accepted, text)).expect("a vector takes every byte")
}

/// Reads what [`claim_answer`] wrote.
#[must_use]
pub fn read_claim_answer(bytes: &[u8]) -> Option<Result<(), String>> {
    let (accepted, text): (bool, String) = minicbor::decode(bytes).ok()?;
    Some(if accepted { Ok(()) } else { Err(text) })
}
