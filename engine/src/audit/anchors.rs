//! Tree heads that stand on the ledger: what the log says of them, and what the ledger does.

use super::finding::Finding;
use super::history::decoded;
use super::{Archive, VerifyError};
use crate::event_log::EventLogError;
use crate::ledger::{Anchor, AnchorError, Anchored, Node, NodeError, anchored};
use serde::Serialize;
use tanglegate_core::{Digest, Event, Stream, Timestamp};

/// An anchor as the log has recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptAnchor {
    /// The event.
    pub position: u64,
    /// When it was recorded.
    pub recorded_at: String,
    /// How many events the head covers.
    pub size: u64,
    /// Its root in hexadecimal.
    pub root: String,
    /// The ledger's transaction.
    pub transaction: String,
    /// The log's name.
    #[serde(skip)]
    origin: String,
    #[serde(skip)]
    says: (u64, [u8; 32], Digest),
}

impl KeptAnchor {
    /// The size, root and transaction that the log names.
    #[must_use]
    pub fn says(&self) -> (u64, [u8; 32], Digest) {
        self.says
    }

    /// Whether the ledger says the same.
    ///
    /// # Errors
    /// With the finding that it does not, or when the node gives no answer.
    pub async fn confirm(&self, node: &Node) -> Result<Anchored, VerifyError> {
        let (size, root, transaction) = self.says;
        let found = look_up(node, transaction).await?;
        if found.anchor != Anchor::of(&self.origin, size, root) {
            let (position, said) = (self.position, found.anchor.size);
            return Err(VerifyError::Finding(Finding::AnchorDiffers {
                position,
                size,
                transaction,
                said,
            }));
        }
        Ok(found)
    }
}

/// Looks an anchor up on the ledger.
///
/// # Errors
/// With the finding that there is none, or when the node gives no answer.
pub async fn look_up(node: &Node, transaction: Digest) -> Result<Anchored, VerifyError> {
    anchored(node, transaction)
        .await
        .map_err(|error| match error {
            // A refusal is an answer: the node does not know that transaction.
            AnchorError::Node(error) if error.is_transient() => VerifyError::Node(error),
            AnchorError::Node(error) if !matches!(error, NodeError::Rpc { .. }) => {
                VerifyError::Node(error)
            }
            error => Finding::AnchorMissing(transaction, error.to_string()).into(),
        })
}

/// The anchors among events that pass by in their order.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    origin: String,
    pub(super) kept: Vec<KeptAnchor>,
}

impl Anchors {
    pub(super) fn add(&mut self, position: u64, recorded_at: Timestamp, event: &Event) {
        match event {
            Event::HeadKeyAdopted { key } => self.origin = key.origin().to_owned(),
            Event::HeadAnchored {
                size,
                root,
                transaction,
            } => self.kept.push(KeptAnchor {
                position,
                recorded_at: recorded_at.to_string(),
                size: *size,
                root: hex::encode(root),
                transaction: transaction.to_string(),
                origin: self.origin.clone(),
                says: (*size, *root, *transaction),
            }),
            _ => {}
        }
    }
}

impl Archive {
    /// Every anchor that the log names, oldest first.
    ///
    /// # Errors
    /// When one of its events is not the one that was written, or the log cannot be read.
    pub async fn anchors(&mut self) -> Result<Vec<KeptAnchor>, VerifyError> {
        let last = self.last().await?;
        let rows = self.log.events_of(&[Stream::Log], last).await;
        let entries = rows.and_then(decoded).map_err(|error| match error {
            EventLogError::LeafDiffers { position } => Finding::EventChanged(position).into(),
            EventLogError::Body { position, source } => {
                Finding::Unreadable { position, source }.into()
            }
            error => VerifyError::Log(error),
        })?;
        let mut anchors = Anchors::default();
        for entry in entries {
            anchors.add(entry.row.position, entry.row.recorded_at, &entry.event);
        }
        Ok(anchors.kept)
    }
}
