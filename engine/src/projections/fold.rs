//! What the log amounts to, in memory: the tables as its events make them.

use super::rows::Changes;
use crate::event_log::{EventLog, EventLogError, Vault};
use tanglegate_core::State;
use tanglegate_crypto::Frontier;

/// A fold of the log's first events. Memory grows with what the tables hold, not with the events.
pub(crate) struct Fold {
    pub(crate) state: State,
    /// Over everything that was folded.
    pub(crate) frontier: Frontier,
    pub(crate) changes: Changes,
}

impl Default for Fold {
    fn default() -> Self {
        Self {
            state: State::at_once(),
            frontier: Frontier::default(),
            changes: Changes::default(),
        }
    }
}

impl Fold {
    /// Folds what follows, up to event `last`, checking each leaf; `progress` is told each
    /// position. The root is compared with nothing.
    ///
    /// # Errors
    /// When the log cannot be read, or a leaf is not that of its event. The fold is worth nothing
    /// then.
    pub(crate) async fn catch_up(
        &mut self,
        log: &mut EventLog,
        vault: &Vault,
        last: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<(), EventLogError> {
        let (state, changes, mut scratch) = (&mut self.state, &mut self.changes, Vec::new());
        let each = log.replay_to(&mut self.frontier, last, vault, |replayed| {
            let recorded = replayed.recorded();
            state.evolve(recorded, &mut scratch)?;
            changes.extend(scratch.drain(..));
            progress(recorded.position.0);
            Ok(())
        });
        each.await
    }
}
