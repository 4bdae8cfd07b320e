//! Anchors: tree heads of the log inside transactions of the ledger, where nobody can take them
//! back, nor date them otherwise.
//!
//! ```text
//! anchor = "TGLM" 0x02 ‖ origin[32] ‖ size u64 ‖ root[32]
//! ```
//! An anchor is a memo of form 2, 77 bytes: SHA-256 of the log's name (which is not public unless
//! its owner wants it to be), the number of events big-endian, and their root. The transaction that
//! carries it pays nobody, so that no follower takes it for a payment; its sender pays the gas.

use super::memo::{MAGIC, MemoError};
use super::transaction::{self, TransactionError};
use super::wire::Block;
use super::{Node, NodeError};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tanglegate_core::{Address, Digest};

/// The form of memos that are anchors.
const FORM: u8 = 2;

/// How long an anchor is.
const BYTES: usize = 4 + 1 + 32 + 8 + 32;

/// What an anchor says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Anchor {
    /// SHA-256 of the log's name.
    pub origin: [u8; 32],
    /// How many events the head covers.
    pub size: u64,
    /// The Merkle root over them.
    pub root: [u8; 32],
}

impl Anchor {
    /// The anchor of a head of the log named `origin`.
    #[must_use]
    pub fn of(origin: &str, size: u64, root: [u8; 32]) -> Self {
        let origin = Sha256::digest(origin.as_bytes()).into();
        Self { origin, size, root }
    }

    /// The memo that carries it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let size = self.size.to_be_bytes();
        [&MAGIC[..], &[FORM], &self.origin, &size, &self.root].concat()
    }

    /// What a memo says.
    ///
    /// # Errors
    /// When it is of another form or length.
    pub fn decode(memo: &[u8]) -> Result<Self, MemoError> {
        let rest = memo.strip_prefix(&MAGIC).ok_or(MemoError::NotOurs)?;
        let (form, rest) = rest.split_first().ok_or(MemoError::Truncated("form"))?;
        if *form != FORM {
            return Err(MemoError::UnknownForm(*form));
        }
        let parts = rest.split_first_chunk().and_then(|(origin, rest)| {
            let (size, rest) = rest.split_first_chunk()?;
            let (root, rest) = rest.split_first_chunk()?;
            Some((origin, size, root, rest))
        });
        let (origin, size, root, rest) = parts.ok_or(MemoError::Truncated("tree head"))?;
        if !rest.is_empty() {
            return Err(MemoError::Trailing(memo.len() - BYTES));
        }
        let size = u64::from_be_bytes(*size);
        let (origin, root) = (*origin, *root);
        Ok(Self { origin, size, root })
    }
}

/// An anchor as it stands on the ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Anchored {
    /// What it says.
    pub anchor: Anchor,
    /// The transaction that carries it.
    pub transaction: Digest,
    /// Who sent it.
    pub sender: Address,
    /// The checkpoint that made it final.
    pub checkpoint: u64,
}

/// A transaction that anchors nothing, as far as can be told.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The node gave no answer, or does not know the transaction.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// It is not in a checkpoint, or failed.
    #[error("transaction {0} is not final: it failed, or stands in no checkpoint yet")]
    NotFinal(Digest),
    /// Its bytes tell nothing.
    #[error("transaction {0}: {1}")]
    Transaction(Digest, TransactionError),
    /// It carries something else.
    #[error("transaction {0} carries no tree head: {1}")]
    Memo(Digest, MemoError),
}

/// Looks an anchor up. The node is believed about finality alone: the digest is computed anew from
/// the signed bytes.
///
/// # Errors
/// When there is none in that transaction, or the node does not say.
pub async fn anchored(node: &Node, transaction: Digest) -> Result<Anchored, AnchorError> {
    let method = "iota_getTransactionBlock";
    let digest = transaction.to_string();
    let parts = json!({"showRawInput": true, "showEffects": true});
    let block: Block = node.call(method, json!([digest, parts])).await?;
    let succeeded = block.effects.as_ref();
    let succeeded = succeeded.is_some_and(|it| it.status.success().is_ok());
    let checkpoint = block.checkpoint.filter(|_| succeeded);
    let checkpoint = checkpoint.ok_or(AnchorError::NotFinal(transaction))?;
    let raw = block.raw_transaction.as_deref();
    let raw = raw.ok_or_else(|| node.nonsense(method, "no raw input"))?;
    let signed = transaction::read(raw, &digest);
    let signed = signed.map_err(|it| AnchorError::Transaction(transaction, it))?;
    let anchor = Anchor::decode(&signed.memo).map_err(|it| AnchorError::Memo(transaction, it))?;
    Ok(Anchored {
        anchor,
        transaction,
        sender: signed.sender,
        checkpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::memo;

    #[test]
    fn an_anchor_is_read_as_it_was_written_and_buys_nothing() {
        let anchor = Anchor::of("log.example.org", 258, [7; 32]);
        let memo = anchor.encode();
        assert_eq!((memo.len(), &memo[..5]), (BYTES, &b"TGLM\x02"[..]));
        assert_eq!(memo[37..45], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(Anchor::decode(&memo), Ok(anchor));
        assert_eq!(memo::decode(&memo), Err(MemoError::UnknownForm(2)));
    }

    #[test]
    fn what_is_no_anchor_is_refused() {
        let memo = Anchor::of("log.example.org", 1, [7; 32]).encode();
        let cut = Anchor::decode(&memo[..BYTES - 1]);
        assert_eq!(cut, Err(MemoError::Truncated("tree head")));
        let long = Anchor::decode(&[&memo[..], b"x"].concat());
        assert_eq!(long, Err(MemoError::Trailing(1)));
        assert_eq!(Anchor::decode(b"TGLM\x00"), Err(MemoError::UnknownForm(0)));
        assert_eq!(Anchor::decode(b""), Err(MemoError::NotOurs));
    }
}
