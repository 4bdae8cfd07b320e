//! The buyer's side: an answer against his receipt, with nothing but the log's public key.

use super::wire::{PaymentProof, read_answer};
use crate::event_log::Vault;
use tanglegate_core::{Address, Confirmation, Digest, Event, IdempotencyKey, PaymentId, Timestamp};
use tanglegate_crypto::{
    HeadError, HeadVerifier, Origin, ProofError, Receipt, SignedHead, TreeHead, verify_inclusion,
};

/// An answer that proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No bytes of an answer.
    #[error("this is no answer to a question for a proof: {0}")]
    Layout(&'static str),
    /// The engine has none.
    #[error("the engine gives no proof: {0}")]
    Unproved(String),
    /// The head is signed by nobody who is trusted.
    #[error("its tree head does not hold: {0}")]
    Head(#[from] HeadError),
    /// The head is of another log.
    #[error("its tree head is of the log {found}, and the seller's is {expected}")]
    OtherLog {
        /// Whose it is.
        found: Origin,
        /// The seller's.
        expected: String,
    },
    /// The event is about something else.
    #[error("the event in it is not the receipt's: its {0} is another")]
    Differs(&'static str),
    /// The event does not stand in the log.
    #[error("the event in it does not stand in the log: {0}")]
    Proof(#[from] ProofError),
}

/// What a proof has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Place of the payment's first event.
    pub position: u64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Who paid.
    pub payer: Address,
    /// The ledger's checkpoint.
    pub checkpoint: u64,
    /// The head: whose log, and how many events it is over.
    pub head: TreeHead,
    /// The receipt is of a claim, recorded behind the payment at the position that it names.
    pub claimed: bool,
}

/// Checks that the log of a head that one of `keys` has signed holds the payment of `receipt`,
/// with the amount and the seller that it names.
///
/// # Errors
/// When it is not proved.
pub fn check(
    answer: &[u8],
    receipt: &Receipt,
    keys: &[HeadVerifier],
) -> Result<Proved, CheckError> {
    let proof = read_answer(answer).map_err(CheckError::Layout)?;
    let proof = proof.map_err(CheckError::Unproved)?;
    let head = trusted(&proof.head, keys)?;
    let paid = paid(&proof, receipt)?;
    let event = &proof.event;
    let claimed = same_place(&proof, receipt)?;
    let index = event.position.checked_sub(1);
    let index = index.ok_or(CheckError::Differs("position"))?;
    verify_inclusion(&event.leaf, index, head.size, &proof.path, &head.root)?;
    Ok(Proved {
        position: event.position,
        recorded_at: event.recorded_at,
        payer: paid.payer,
        checkpoint: paid.checkpoint,
        head,
        claimed,
    })
}

impl Proved {
    /// Refuses a proof from another log than the one that the seller's identity names as his.
    ///
    /// # Errors
    /// When it is.
    pub fn of_log(self, origin: &str) -> Result<Self, CheckError> {
        match self.head.origin.as_str() == origin {
            true => Ok(self),
            false => Err(CheckError::OtherLog {
                found: self.head.origin,
                expected: origin.to_owned(),
            }),
        }
    }
}

/// The head, signed with one of the keys.
fn trusted(note: &str, keys: &[HeadVerifier]) -> Result<TreeHead, CheckError> {
    let signed = SignedHead::parse(note)?;
    let mut refused = HeadError::Unsigned("any key: none was given".to_owned());
    for key in keys {
        match signed.verify(key) {
            Ok(head) => return Ok(head.clone()),
            Err(error) => refused = error,
        }
    }
    Err(refused.into())
}

/// What the event says, where that is what the receipt says.
fn paid(proof: &PaymentProof, receipt: &Receipt) -> Result<Confirmation, CheckError> {
    let payment = PaymentId {
        digest: Digest(receipt.digest),
        index: receipt.index,
    };
    let event = &proof.event;
    if event.kind != "payment_confirmed" {
        return Err(CheckError::Differs("kind"));
    }
    if event.stream != format!("payment/{payment}") {
        return Err(CheckError::Differs("stream"));
    }
    let key = IdempotencyKey::Payment(payment).to_bytes();
    if event.idempotency_key != Some(key) {
        return Err(CheckError::Differs("idempotency key"));
    }
    // The memo stays sealed: nobody's keys are here.
    let Ok(Event::PaymentConfirmed { confirmation }) = event.decode(&Vault::default()) else {
        return Err(CheckError::Differs("body"));
    };
    let fields = [
        ("payment", confirmation.payment == payment),
        ("seller", confirmation.seller.0 == receipt.seller),
        ("amount", confirmation.amount.0 == receipt.amount),
    ];
    match fields.into_iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(CheckError::Differs(field)),
        None => Ok(confirmation),
    }
}

/// Whether the receipt is of a claim: then it names a later event, and else this one.
fn same_place(proof: &PaymentProof, receipt: &Receipt) -> Result<bool, CheckError> {
    let (position, at) = (proof.event.position, proof.event.recorded_at.0);
    let (named, named_at) = (receipt.position, receipt.recorded_at);
    if position == named {
        return match at == named_at {
            true => Ok(false),
            false => Err(CheckError::Differs("instant")),
        };
    }
    match position < named && at <= named_at {
        true => Ok(true),
        false => Err(CheckError::Differs("position")),
    }
}
