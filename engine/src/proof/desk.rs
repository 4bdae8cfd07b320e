//! Makes proofs: one look-up by key, and at most 511 leaves, whatever the log's size.

use super::wire::{Ask, PaymentProof, Unproved, answer};
use crate::event_log::{EventLog, EventLogError, OwnedEvent};
use crate::heads::Heads;
use parking_lot::RwLock;
use sqlx::postgres::PgConnectOptions;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tanglegate_core::{IdempotencyKey, PaymentId};
use tanglegate_crypto::{Hash, Inclusion, SignedHead, Subtrees, verify_inclusion};
use tokio::time::timeout;
use tracing::{error, warn};

/// How long the database may take for one proof.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers who asks for a proof, one after another.
pub struct ProofDesk {
    options: PgConnectOptions,
    subtrees: Arc<RwLock<Subtrees>>,
    heads: Option<Heads>,
    /// `None` before the first question, and after a fault.
    log: Option<EventLog>,
}

impl ProofDesk {
    /// Over the log of a writer, as of the heads that are signed here.
    #[must_use]
    pub fn new(
        options: &PgConnectOptions,
        subtrees: Arc<RwLock<Subtrees>>,
        heads: Option<Heads>,
    ) -> Self {
        Self {
            options: options.clone(),
            subtrees,
            heads,
            log: None,
        }
    }

    /// What the buyer is told.
    pub async fn answer(&mut self, question: &[u8]) -> Vec<u8> {
        answer(self.prove(question).await)
    }

    async fn prove(&mut self, question: &[u8]) -> Result<PaymentProof, Unproved> {
        let payment = Ask::read(question)?;
        let heads = self.heads.as_ref().ok_or(Unproved::NoHeads)?;
        let note = heads.latest();
        let head = note.as_deref().map(SignedHead::parse).transpose();
        let head = head.map_err(|error| {
            error!(%error, "the newest tree head cannot be read");
            Unproved::Unavailable
        })?;
        let size = head.as_ref().map_or(0, |it| it.head.size);
        let Found {
            event,
            plan,
            near,
            tail,
        } = self.find(payment, size).await?;
        let path = plan.path(&self.subtrees.read(), &near, &tail);
        // Another engine has signed it, and we have not read so far.
        let path = path.ok_or(Unproved::NotYet)?;
        let (note, head) = note.zip(head).ok_or(Unproved::NotYet)?;
        let (index, head) = (event.position - 1, head.head);
        if let Err(error) = verify_inclusion(&event.leaf, index, head.size, &path, &head.root) {
            error!(
                %error, position = event.position, size = head.size,
                "THE LOG IS NOT THE ONE THAT WAS SIGNED: `tanglegate audit verify` tells where it \
                 differs"
            );
            return Err(Unproved::Unavailable);
        }
        let head = note;
        Ok(PaymentProof { head, event, path })
    }

    async fn find(&mut self, payment: PaymentId, size: u64) -> Result<Found, Unproved> {
        // A connection that was given up in the middle of an answer is of no use.
        let (log, options) = (self.log.take(), &self.options);
        match timeout(PATIENCE, look_up(log, options, payment, size)).await {
            Ok(Ok((log, found))) => {
                self.log = Some(log);
                found
            }
            Ok(Err(error)) => {
                warn!(%error, "no proof can be made");
                Err(Unproved::Unavailable)
            }
            Err(_) => {
                warn!("no proof can be made: the database takes too long");
                Err(Unproved::Unavailable)
            }
        }
    }
}

/// What a proof is made from.
struct Found {
    event: OwnedEvent,
    plan: Inclusion,
    near: Vec<Hash>,
    tail: Vec<Hash>,
}

/// Reads it; gives back the connection for the next time.
async fn look_up(
    log: Option<EventLog>,
    options: &PgConnectOptions,
    payment: PaymentId,
    size: u64,
) -> Result<(EventLog, Result<Found, Unproved>), EventLogError> {
    let mut log = match log {
        Some(log) => log,
        None => EventLog::open_to_look_up(options).await?,
    };
    let key = IdempotencyKey::Payment(payment);
    let Some(event) = log.event_with_key(key).await? else {
        return Ok((log, Err(Unproved::Unknown)));
    };
    // Positions begin with 1.
    let Ok(plan) = Inclusion::of(event.position.saturating_sub(1), size) else {
        return Ok((log, Err(Unproved::NotYet)));
    };
    let near = all_leaves(&mut log, plan.near()).await?;
    let tail = all_leaves(&mut log, plan.tail()).await?;
    let found = Found {
        event,
        plan,
        near,
        tail,
    };
    Ok((log, Ok(found)))
}

/// Those of a head's events are there, or the log has lost them.
async fn all_leaves(log: &mut EventLog, range: Range<u64>) -> Result<Vec<Hash>, EventLogError> {
    let leaves = log.leaves_at(range.clone()).await?;
    match leaves.len() as u64 == range.end - range.start {
        true => Ok(leaves),
        false => Err(EventLogError::Missing {
            position: range.start + leaves.len() as u64 + 1,
        }),
    }
}
