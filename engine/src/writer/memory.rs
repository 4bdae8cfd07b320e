//! What a start folds the log into.

use tanglegate_core::{Acl, Change, Contradiction, Recorded, State};

/// Events after which what was folded is settled. Until then the changes of one key collapse,
/// which is cheaper than to settle each.
const SETTLED: u64 = 1_024;

/// The deciding state and the access table.
#[derive(Default)]
pub(crate) struct Memory {
    state: State,
    acl: Acl,
    rows: Vec<Change>,
}

impl Memory {
    /// Folds the next event. The rows it changes are written already.
    ///
    /// # Errors
    /// When the event contradicts those before.
    pub(crate) fn fold(&mut self, recorded: Recorded<'_>) -> Result<(), Contradiction> {
        self.state.evolve(recorded, &mut self.rows)?;
        self.rows.clear();
        self.acl.apply(recorded);
        if recorded.position.0.is_multiple_of(SETTLED) {
            self.state.settle();
        }
        Ok(())
    }

    /// Everything that was folded, settled.
    pub(crate) fn finish(mut self) -> (State, Acl) {
        self.state.settle();
        (self.state, self.acl)
    }
}
