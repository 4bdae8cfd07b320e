//! The tables as of a moment, folded from the log alone.

use super::Archive;
use super::finding::Finding;
use super::walk::VerifyError;
use crate::event_log::{EventLogError, Vault};
use crate::projections::{self, Changes, Columns, Fold, TableDigest};
use crate::snapshot::{self, Applied, Opened, Refused};
use serde::Serialize;
use tanglegate_core::Position;

/// Events that are folded before somebody is told how far it is.
const STEP: u64 = 50_000;

/// The state of everything after some event.
pub struct Folded {
    /// The last event.
    pub position: Position,
    /// The snapshot that it was folded from; 0: from the first event on.
    pub from: Position,
    /// Snapshots that could not be used.
    pub refused: Vec<Refused>,
    pub(super) changes: Changes,
}

/// A comparison of the tables with the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The last event of both.
    pub position: u64,
    /// What each table holds, and what the log makes of it.
    pub tables: Vec<Compared>,
    /// Logins that were not erased and have no name in the table. The log has names sealed, and
    /// the reader's role no keys: that they are there is all that can be told.
    pub nameless: u64,
    /// True when all are the same, and nobody's name is missing.
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
        progress: impl FnMut(u64, u64),
    ) -> Result<Folded, VerifyError> {
        self.go_on(Opened::at_the_beginning(), up_to, progress)
            .await
    }

    /// The same, from the newest snapshot on that can be used: what it says of the events before
    /// is believed.
    ///
    /// # Errors
    /// As for [`Archive::fold`].
    pub async fn fold_on(
        &mut self,
        up_to: Position,
        progress: impl FnMut(u64, u64),
    ) -> Result<Folded, VerifyError> {
        let opened = snapshot::newest(self.log.connection(), up_to, Applied::Wanted).await;
        let opened = opened.map_err(EventLogError::from)?;
        self.go_on(opened, up_to, progress).await
    }

    async fn go_on(
        &mut self,
        Opened {
            mut fold, refused, ..
        }: Opened,
        up_to: Position,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Folded, VerifyError> {
        let (from, vault) = (fold.state.position(), Vault::default());
        let each = fold.catch_up(&mut self.log, &vault, up_to.0, |position| {
            if position.is_multiple_of(STEP) {
                progress(position, up_to.0);
            }
        });
        each.await?;
        let Fold {
            state,
            frontier,
            changes,
        } = fold;
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
            from,
            refused,
            changes,
        })
    }

    /// Rebuilds every table in memory and compares it with the one in the database, as of the same
    /// event. Of names it is told whether they are there: the reader's role has no keys.
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
        let nameless = self.nameless().await?;
        Ok(Comparison {
            position: last.0,
            same: nameless == 0 && tables.iter().all(|it| it.same),
            tables,
            nameless,
        })
    }

    async fn nameless(&mut self) -> Result<u64, EventLogError> {
        let query = "select count(*) from projection.subscriber \
             where username is null and not erased";
        let count: i64 = sqlx::query_scalar(query)
            .fetch_one(self.log.connection())
            .await?;
        Ok(count.unsigned_abs())
    }
}
