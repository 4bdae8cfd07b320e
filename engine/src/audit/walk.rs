//! A whole log passing by: its events, the commits that they came in, and the heads over them.

use super::Archive;
use super::finding::Finding;
use super::verify::{Verifier, Whole};
use crate::event_log::{CHUNK, EventLogError, each_row_or};
use crate::ledger::NodeError;
use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::Row;
use std::collections::BTreeMap;
use tanglegate_crypto::Hash;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Events that are read at a time, so that commits and heads can be read in between.
const WINDOW: u64 = 100_000;
/// Runs of rows that may wait to be checked.
const UNDER_WAY: usize = 4;

/// Why a log was not found whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not.
    #[error(transparent)]
    Finding(#[from] Finding),
    /// It could not be read.
    #[error(transparent)]
    Log(#[from] EventLogError),
    /// The ledger could not be asked.
    #[error("the anchors cannot be looked up: {0}")]
    Node(#[from] NodeError),
}

/// A commit as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) previous: u64,
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// What stands behind an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) batch: Option<Batch>,
    pub(super) note: Option<String>,
}

impl Archive {
    /// Checks every event, commit and head of the database, in a thread of its own and in constant
    /// memory. `progress` is told the number of events from time to time.
    ///
    /// # Errors
    /// With the first thing that does not fit, or when the database cannot be read.
    pub async fn verify(
        &mut self,
        verifier: Verifier,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Whole, VerifyError> {
        let (head, last) = (self.head().await?, self.last_event().await?);
        let checking = Checking::start(verifier);
        let mut first = 1;
        while first <= last {
            let end = (first + WINDOW - 1).min(last);
            let behind = self.behind(first, end).await?;
            if !(checking.give(Step::Behind(behind)).await
                && self.give(&checking, first, end).await?)
            {
                break;
            }
            progress(end, last);
            first = end + 1;
        }
        let mut verifier = checking.finish().await?;
        // Commits and heads of events that are not there.
        for (size, behind) in self.behind(last + 1, i64::MAX.unsigned_abs()).await? {
            if let Some(note) = &behind.note {
                verifier.head(size, note)?;
            }
            check(&mut verifier, Some(behind))?;
        }
        if verifier.size() != head.size {
            let (events, announced) = (verifier.size(), head.size);
            return Err(Finding::Length { events, announced }.into());
        }
        Ok(verifier.finish()?)
    }

    /// Hands events over to be checked. False when something before them does not fit.
    async fn give(
        &mut self,
        checking: &Checking,
        first: u64,
        end: u64,
    ) -> Result<bool, EventLogError> {
        let mut messages = self.log.copy_out(first, end).await?;
        let mut rows = Vec::with_capacity(CHUNK);
        while let Some(message) = messages.try_next().await? {
            rows.push(message);
            if rows.len() == CHUNK {
                let full = std::mem::replace(&mut rows, Vec::with_capacity(CHUNK));
                if !checking.give(Step::Rows(full)).await {
                    return Ok(false);
                }
            }
        }
        Ok(checking.give(Step::Rows(rows)).await)
    }

    /// The greatest position that there is, whatever the commits say.
    async fn last_event(&mut self) -> Result<u64, EventLogError> {
        let last: Option<i64> = sqlx::query_scalar("select max(position) from event_log.event")
            .fetch_one(self.log.connection())
            .await?;
        Ok(last.unwrap_or(0).unsigned_abs())
    }

    /// Commits that end, and heads that stand, behind events `first` to `end`.
    pub(super) async fn behind(
        &mut self,
        first: u64,
        end: u64,
    ) -> Result<BTreeMap<u64, Behind>, EventLogError> {
        let (first, end) = (signed(first), signed(end));
        let mut all: BTreeMap<u64, Behind> = BTreeMap::new();
        let batches = "select coalesce(previous_size, 0), size, root from event_log.batch \
             where size between $1 and $2";
        let rows = sqlx::query(batches).bind(first).bind(end);
        for row in rows.fetch_all(self.log.connection()).await? {
            let (previous, size): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let root: Vec<u8> = row.try_get(2)?;
            let (previous, size) = (previous.unsigned_abs(), size.unsigned_abs());
            // A root of another length is none: it cannot be that of the events.
            let root = root.try_into().unwrap_or([0; 32]);
            all.entry(size).or_default().batch = Some(Batch {
                previous,
                size,
                root,
            });
        }
        let heads = "select size, note from event_log.tree_head where size between $1 and $2";
        let rows = sqlx::query(heads).bind(first).bind(end);
        for row in rows.fetch_all(self.log.connection()).await? {
            let (size, note): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            all.entry(size.unsigned_abs()).or_default().note = Some(note);
        }
        Ok(all)
    }
}

/// What the checking thread is given, in the order of the log.
enum Step {
    /// Commits and heads behind the events that come next.
    Behind(BTreeMap<u64, Behind>),
    /// Events, as COPY sends them.
    Rows(Vec<Bytes>),
}

/// A thread that checks what passes by, while the next is read.
struct Checking {
    steps: mpsc::Sender<Step>,
    thread: JoinHandle<Result<Verifier, VerifyError>>,
}

impl Checking {
    fn start(mut verifier: Verifier) -> Self {
        let (steps, mut given) = mpsc::channel(UNDER_WAY);
        let thread = tokio::task::spawn_blocking(move || {
            let mut behind = BTreeMap::new();
            while let Some(step) = given.blocking_recv() {
                match step {
                    Step::Behind(next) => behind = next,
                    Step::Rows(rows) => check_rows(&mut verifier, &rows, &mut behind)?,
                }
            }
            Ok(verifier)
        });
        Self { steps, thread }
    }

    /// Hands the next step over. False when nothing more is wanted: something does not fit.
    async fn give(&self, step: Step) -> bool {
        self.steps.send(step).await.is_ok()
    }

    /// The verifier after everything that was given.
    async fn finish(self) -> Result<Verifier, VerifyError> {
        drop(self.steps);
        match self.thread.await {
            Ok(checked) => checked,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => panic!("no thread checks the log: {error}"),
            },
        }
    }
}

fn check_rows(
    verifier: &mut Verifier,
    rows: &[Bytes],
    behind: &mut BTreeMap<u64, Behind>,
) -> Result<(), VerifyError> {
    for message in rows {
        each_row_or::<VerifyError>(message, |stored, leaf| {
            verifier.event(&stored, Some(leaf))?;
            Ok(check(verifier, behind.remove(&stored.position))?)
        })?;
    }
    Ok(())
}

/// What stands behind the event that has just passed by.
pub(super) fn check(verifier: &mut Verifier, behind: Option<Behind>) -> Result<(), Finding> {
    let Some(Behind { batch, note }) = behind else {
        return Ok(());
    };
    let size = verifier.size();
    if let Some(Batch {
        previous,
        size,
        root,
    }) = batch
    {
        verifier.batch(previous, size, &root)?;
    }
    match note {
        Some(note) => verifier.head(size, &note),
        None => Ok(()),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
