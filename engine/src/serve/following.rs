//! From the ledger into the log: payments are handed to the writer, and the ledger's follower
//! moves on only when they are committed.

use crate::config::LedgerConfig;
use crate::event_log::Origin;
use crate::ledger::{FollowError, FollowSettings, FollowState, FollowStatus, Follower, Node};
use crate::writer::{Recording, Started, SubmitError, WriterHandle};
use std::time::Duration;
use tanglegate_core::{ChainId, Command, Confirmation, IdempotencyKey};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// A quiet ledger's progress is noted in the log at most so often: it saves the next start a
/// longer scan, and 24 small events a day cost nothing.
const NOTE_SCAN_EVERY: Duration = Duration::from_secs(3_600);

/// A follower at work.
pub(super) struct Following {
    pub(super) status: watch::Receiver<FollowStatus>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Following {
    pub(super) fn start(node: Node, config: &LedgerConfig, writer: &Started) -> Self {
        let settings = FollowSettings {
            chain: writer.chain.clone(),
            poll: Duration::from_millis(config.poll_ms),
            ..FollowSettings::new(config.seller, writer.checkpoint)
        };
        info!(node = node.host(), seller = %config.seller, from = writer.checkpoint,
            "following the ledger");
        let follower = Follower::new(node, settings);
        let (status, handle) = (follower.status(), writer.handle.clone());
        let (stop, stopped) = oneshot::channel();
        let checkpoint = writer.checkpoint;
        let task = tokio::spawn(async move {
            let mut feed = Feed {
                follower,
                writer: handle,
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
        Self { status, stop, task }
    }

    /// Stops following, and notes how far it came.
    pub(super) async fn stop(self, writer: &WriterHandle) {
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            error!(%error, "the ledger's follower ended abnormally");
        }
        let status = self.status.borrow().clone();
        let scanned = status.watermark.checked_sub(1);
        if let (Some(checkpoint), FollowState::Following) = (scanned, status.state) {
            let command = Command::RecordScan { checkpoint };
            let noted = writer.submit(Origin::Engine, None, command);
            // A scan that was noted before, or a database that is away, costs nothing but a
            // longer scan at the next start.
            drop(tokio::time::timeout(Duration::from_secs(2), noted).await);
        }
    }
}

struct Feed {
    follower: Follower,
    writer: WriterHandle,
    /// The checkpoint that the log knows.
    noted: u64,
}

impl Feed {
    async fn run(&mut self) -> Result<(), FollowError> {
        let mut note = tokio::time::interval(NOTE_SCAN_EVERY);
        note.tick().await;
        loop {
            tokio::select! {
                payments = self.follower.next() => {
                    let payments = payments?;
                    if let Some(chain) = self.follower.chain().cloned()
                        && !self.bind(chain).await
                    {
                        return Ok(());
                    }
                    if !self.record(payments).await {
                        return Ok(());
                    }
                    self.follower.recorded();
                }
                _ = note.tick() => self.note_scan().await,
            }
        }
    }

    /// Binds the log to the chain before its first payment; false when the engine stops.
    async fn bind(&self, chain: ChainId) -> bool {
        match self
            .writer
            .submit(Origin::Ledger, None, Command::BindChain(chain))
            .await
        {
            Ok(_) => true,
            Err(error) => {
                error!(%error, "the ledger's payments are not recorded");
                false
            }
        }
    }

    /// Records payments; false when the engine stops. They are submitted together, so that they
    /// share commits, and answered one by one.
    async fn record(&mut self, payments: Vec<Confirmation>) -> bool {
        let mut answers = Vec::with_capacity(payments.len());
        for confirmation in payments {
            let payment = confirmation.payment;
            self.noted = self.noted.max(confirmation.checkpoint);
            let key = Some(IdempotencyKey::Payment(payment));
            let command = Command::ConfirmPayment(confirmation);
            match self.writer.enqueue(Origin::Ledger, key, command).await {
                Ok(answer) => answers.push((payment, answer)),
                Err(_) => return false,
            }
        }
        for (payment, answer) in answers {
            match answer.await {
                Ok(Ok(Recording::Recorded { first, events })) => {
                    let what = events
                        .last()
                        .map(crate::event_log::describe)
                        .unwrap_or_default();
                    info!(%payment, position = %first, what, "a payment is recorded");
                }
                Ok(Ok(Recording::Before { .. } | Recording::Nothing)) => {}
                Ok(Err(SubmitError::Stopped)) | Err(_) => return false,
                Ok(Err(error)) => {
                    // Not acknowledged: the follower hands it over again after the pause.
                    error!(%payment, %error, "a payment could not be recorded; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return Box::pin(self.again()).await;
                }
            }
        }
        true
    }

    async fn again(&mut self) -> bool {
        match self.follower.next().await {
            Ok(payments) => self.record(payments).await,
            Err(error) => {
                error!(%error, "the ledger is no longer followed");
                false
            }
        }
    }

    async fn note_scan(&mut self) {
        let status = self.follower.status().borrow().clone();
        let Some(checkpoint) = status
            .watermark
            .checked_sub(1)
            .filter(|it| *it > self.noted)
        else {
            return;
        };
        let command = Command::RecordScan { checkpoint };
        match self.writer.submit(Origin::Engine, None, command).await {
            Ok(_) => self.noted = checkpoint,
            Err(error) => warn!(%error, checkpoint, "the progress of the scan was not noted"),
        }
    }
}
