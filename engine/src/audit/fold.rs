//! The tables as of a moment, folded from the log alone.

use super::Archive;
use super::verify::Finding;
use super::walk::VerifyError;
use crate::event_log::{EventLogError, Vault};
use crate::projections::{self, Changes, Columns, TableDigest};
use serde::Serialize;
use tanglegate_core::{Position, State};

/// Events that are folded before somebody is told how far it is.
const STEP: u64 = 50_000;
/// Events after which what was folded is settled: until then the changes of one key collapse.
const SETTLED: u64 = 1_024;

/// The state of everything after some event.
pub struct Folded {
    /// The last event.
    pub position: Position,
    pub(super) changes: Changes,
}

/// A comparison of the tables with the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The last event of both.
    pub position: u64,
    /// What each table holds, and what the log makes of it.
    pub tables: Vec<Compared>,
    /// True when all are the same.
    pub same: bool,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// As it stands in the database.
    pub live: TableDigest,
    /// As the log makes it.
    pub folded: TableDigest,
    /// True when they are the same.
    pub same: bool,
}

impl Archive {
    /// Folds the log up to a position, checking each leaf and the root. Memory grows with what the
    /// tables hold, not with the events.
    ///
    /// # Errors
    /// When the log cannot be read, or is not what was written.
    pub async fn fold(
        &mut self,
        up_to: Position,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Folded, VerifyError> {
        let (mut state, mut scratch) = (State::default(), Vec::new());
        let (mut changes, vault) = (Changes::default(), Vault::default());
        let each = self.log.replay_to(up_to.0, &vault, |replayed| {
            let recorded = replayed.recorded();
            state.evolve(recorded, &mut scratch);
            changes.extend(scratch.drain(..));
            let position = recorded.position.0;
            if position.is_multiple_of(SETTLED) {
                state.settle();
            }
            if position.is_multiple_of(STEP) {
                progress(position, up_to.0);
            }
        });
        let frontier = each.await?;
        if frontier.size() != up_to.0 {
            let (events, announced) = (frontier.size(), up_to.0);
            return Err(Finding::Length { events, announced }.into());
        }
        let behind = self.behind(up_to.0, up_to.0).await?;
        let batch = behind.into_values().find_map(|it| it.batch);
        if let Some(batch) = batch.filter(|it| it.root != frontier.root()) {
            let (from, size) = (batch.previous + 1, batch.size);
            return Err(Finding::BatchRoot { from, size }.into());
        }
        Ok(Folded {
            position: state.position(),
            changes,
        })
    }

    /// Rebuilds every table in memory and compares it with the one in the database, as of the same
    /// event. Names are left out: the reader's role has no keys.
    ///
    /// # Errors
    /// As for [`Archive::fold`].
    pub async fn compare(
        &mut self,
        progress: impl FnMut(u64, u64),
    ) -> Result<Comparison, VerifyError> {
        let last = self.last().await?;
        let folded = self.fold(last, progress).await?;
        let live = projections::digests(self.log.connection(), Columns::Impersonal)
            .await
            .map_err(EventLogError::from)?;
        let made = projections::digests_of(&folded.changes, last, Columns::Impersonal);
        let pairs = live.into_iter().zip(made);
        let tables: Vec<Compared> = pairs
            .map(|(live, folded)| Compared {
                same: live == folded,
                live,
                folded,
            })
            .collect();
        Ok(Comparison {
            position: last.0,
            same: tables.iter().all(|it| it.same),
            tables,
        })
    }
}
