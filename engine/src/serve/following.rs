//! From the ledger into the log: payments are handed to the writer, and the ledger's follower
//! moves on only when they are committed.

use crate::buyers::{Keyring, Reply};
use crate::config::LedgerConfig;
use crate::event_log::{Entropy, Origin};
use crate::ledger::{FollowError, FollowSettings, FollowState, FollowStatus, Follower, Node};
use crate::writer::{Recording, Started, SubmitError, WriterHandle};
use std::time::Duration;
use tanglegate_core::{Address, Command, Confirmation, IdempotencyKey, MemoReading};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// A quiet ledger's progress is noted in the log at most so often: it saves the next start a
/// longer scan, and 24 small events a day cost nothing.
const NOTE_SCAN_EVERY: Duration = Duration::from_secs(3_600);

/// How long a payment that the database refuses waits for the next try.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A follower at work.
pub(super) struct Following {
    pub(super) status: watch::Receiver<FollowStatus>,
    seller: Address,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Following {
    pub(super) fn start(
        node: Node,
        config: &LedgerConfig,
        writer: &Started,
        keyring: Keyring,
    ) -> Self {
        let seller = config.seller;
        let checkpoint = writer.checkpoint(seller);
        let settings = FollowSettings {
            chain: writer.chain.clone(),
            poll: Duration::from_millis(config.poll_ms),
            ..FollowSettings::new(seller, checkpoint)
        };
        info!(node = node.host(), %seller, from = checkpoint, "following the ledger");
        let follower = Follower::new(node, settings);
        let status = follower.status();
        let recorder = Recorder {
            writer: writer.handle.clone(),
            keyring,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut feed = Feed {
                follower,
                seller,
                recorder,
                noted: checkpoint,
            };
            tokio::select! {
                ended = feed.run() => match ended {
                    Ok(()) => info!("the ledger is no longer followed: the engine stops"),
                    Err(error) => error!(%error, "the ledger is no longer followed"),
                },
                _ = stopped => {}
            }
        });
        Self {
            status,
            seller,
            stop,
            task,
        }
    }

    /// Stops following, and notes how far it came.
    pub(super) async fn stop(self, writer: &WriterHandle) {
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            error!(%error, "the ledger's follower ended abnormally");
        }
        let status = self.status.borrow().clone();
        if status.state != FollowState::Following {
            return;
        }
        // A scan that was noted before, or a database that is away, costs nothing but a longer
        // scan at the next start.
        let noted = note_scan(writer, self.seller, &status, 0);
        drop(tokio::time::timeout(Duration::from_secs(2), noted).await);
    }
}

/// Notes in the log how far the ledger was scanned, if that is beyond `noted`; gives back up to
/// where it is noted now. The log is bound to the ledger first: checkpoints of one mean nothing
/// on another.
async fn note_scan(
    writer: &WriterHandle,
    seller: Address,
    status: &FollowStatus,
    noted: u64,
) -> Result<u64, SubmitError> {
    let scanned = status.watermark.checked_sub(1).filter(|it| *it > noted);
    let (Some(checkpoint), Some(chain)) = (scanned, status.chain.clone()) else {
        return Ok(noted);
    };
    let bind = Command::BindChain(chain);
    writer.submit(Origin::Ledger, None, bind).await?;
    let note = Command::RecordScan { seller, checkpoint };
    writer.submit(Origin::Engine, None, note).await?;
    Ok(checkpoint)
}

struct Feed {
    follower: Follower,
    seller: Address,
    recorder: Recorder,
    /// The checkpoint that the log knows.
    noted: u64,
}

/// Takes payments that the ledger confirmed.
pub(super) struct Recorder {
    pub(super) writer: WriterHandle,
    /// Opens what is sealed.
    pub(super) keyring: Keyring,
}

/// What became of the payments that were handed over together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// All of them are in the log.
    Recorded,
    /// Some are not: they have to be handed over again.
    Refused,
    /// The engine stops.
    Stopped,
}

impl Feed {
    async fn run(&mut self) -> Result<(), FollowError> {
        let mut note = tokio::time::interval(NOTE_SCAN_EVERY);
        note.tick().await;
        loop {
            tokio::select! {
                payments = self.follower.next() => match self.feed(payments?).await {
                    Fed::Recorded => self.follower.recorded(),
                    // Not acknowledged, so the follower hands them over again.
                    Fed::Refused => tokio::time::sleep(TRY_AGAIN_AFTER).await,
                    Fed::Stopped => return Ok(()),
                },
                _ = note.tick() => {
                    let status = self.follower.status().borrow().clone();
                    match note_scan(&self.recorder.writer, self.seller, &status, self.noted).await {
                        Ok(noted) => self.noted = noted,
                        Err(error) => warn!(%error, "the progress of the scan was not noted"),
                    }
                }
            }
        }
    }

    /// Binds the log to the ledger before its first payment, then records.
    async fn feed(&mut self, payments: Vec<Confirmation>) -> Fed {
        if let Some(chain) = self.follower.chain().cloned() {
            let bind = Command::BindChain(chain);
            let writer = &self.recorder.writer;
            if let Err(error) = writer.submit(Origin::Ledger, None, bind).await {
                error!(%error, "the ledger's payments are not recorded");
                return Fed::Stopped;
            }
        }
        self.recorder.record(payments, &mut self.noted).await
    }
}

impl Recorder {
    /// Records payments. They are submitted together, so that they share commits, and answered
    /// one by one. `noted` becomes the newest checkpoint of what is recorded.
    pub(super) async fn record(&self, payments: Vec<Confirmation>, noted: &mut u64) -> Fed {
        let mut answers = Vec::with_capacity(payments.len());
        for (confirmation, reply) in open(&self.keyring, payments).await {
            let (payment, checkpoint) = (confirmation.payment, confirmation.checkpoint);
            let key = Some(IdempotencyKey::Payment(payment));
            let command = Command::ConfirmPayment(confirmation);
            match self
                .writer
                .enqueue(Origin::Ledger, key, command, reply)
                .await
            {
                Ok(answer) => answers.push((payment, checkpoint, answer)),
                Err(_) => return Fed::Stopped,
            }
        }
        let mut fed = Fed::Recorded;
        for (payment, checkpoint, answer) in answers {
            match answer.await {
                Ok(Ok(Recording::Recorded { first, events })) => {
                    *noted = (*noted).max(checkpoint);
                    let what = events
                        .last()
                        .map(crate::event_log::describe)
                        .unwrap_or_default();
                    info!(%payment, position = %first, what, "a payment is recorded");
                }
                Ok(Ok(Recording::Before { .. } | Recording::Nothing)) => {}
                Ok(Err(SubmitError::Stopped)) | Err(_) => return Fed::Stopped,
                Ok(Err(error)) => {
                    error!(%payment, %error, "a payment could not be recorded; trying again");
                    fed = Fed::Refused;
                }
            }
        }
        fed
    }
}

/// Opens the sealed memos of payments, on a thread that has the time for it: each takes a tenth of
/// a millisecond.
async fn open(
    keyring: &Keyring,
    mut payments: Vec<Confirmation>,
) -> Vec<(Confirmation, Option<Reply>)> {
    let sealed = |it: &Confirmation| it.reading == MemoReading::Sealed;
    if !payments.iter().any(sealed) {
        return payments.into_iter().map(|it| (it, None)).collect();
    }
    let keyring = keyring.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let mut entropy = Entropy::system();
        let mut replies = Vec::with_capacity(payments.len());
        for payment in &mut payments {
            replies.push(keyring.open(payment, &mut entropy));
        }
        payments.into_iter().zip(replies).collect()
    });
    match opening.await {
        Ok(opened) => opened,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
