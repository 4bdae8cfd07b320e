//! How the rooms of the engine ask for facts.

use crate::buyers::Reply;
use crate::event_log::Origin;
use tanglegate_core::{Command, Event, IdempotencyKey, Position, Rejection};
use tokio::sync::{mpsc, oneshot};

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recording {
    /// It is in the log now.
    Recorded {
        /// The place of its first event.
        first: Position,
        /// Its events, in order.
        events: Vec<Event>,
    },
    /// It was in the log before.
    Before {
        /// The place of its first event.
        first: Position,
    },
    /// There was nothing to record: things are as it wants them.
    Nothing,
}

/// A command was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Refused by the rules.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The writer is gone: the engine is shutting down.
    #[error(
        "the engine stops before it has answered; what was asked may still be recorded: look when \
         it runs again, or repeat it under the same idempotency key"
    )]
    Stopped,
    /// The database refuses what was decided.
    #[error("the engine could not record this: {0}. Please report it as a defect")]
    Refused(String),
}

pub(super) struct Submission {
    pub(super) command: Command,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) correlation: Option<[u8; 16]>,
    pub(super) origin: Origin,
    /// How the buyer hears what became of it.
    pub(super) reply: Option<Reply>,
    pub(super) answer: oneshot::Sender<Result<Recording, SubmitError>>,
}

/// Hands commands to the writer. Cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    pub(super) submissions: mpsc::Sender<Submission>,
}

impl WriterHandle {
    /// Submits a command and waits until it is committed, refused, or found in the log. While
    /// the database is away this waits with it; a caller who gives up may submit the same
    /// command under the same key again.
    ///
    /// # Errors
    /// When the rules refuse it, or the engine stops before it is answered.
    pub async fn submit(
        &self,
        origin: Origin,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Recording, SubmitError> {
        self.enqueue(origin, key, command, None)
            .await?
            .await
            .map_err(|_| SubmitError::Stopped)?
    }

    /// Submits a command; the answer comes later. Waits only while the queue is full, which
    /// slows the caller down to what the database can take. With a `reply` the buyer is told what
    /// became of it, in the same commit.
    ///
    /// # Errors
    /// When the engine is stopping.
    pub async fn enqueue(
        &self,
        origin: Origin,
        key: Option<IdempotencyKey>,
        command: Command,
        reply: Option<Reply>,
    ) -> Result<oneshot::Receiver<Result<Recording, SubmitError>>, SubmitError> {
        let correlation = match key {
            Some(IdempotencyKey::Person(uuid)) => Some(uuid),
            _ => None,
        };
        let (answer, answered) = oneshot::channel();
        let submission = Submission {
            command,
            key,
            correlation,
            origin,
            reply,
            answer,
        };
        self.submissions
            .send(submission)
            .await
            .map_err(|_| SubmitError::Stopped)?;
        Ok(answered)
    }
}
