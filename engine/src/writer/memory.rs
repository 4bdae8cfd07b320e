//! What a start folds the log into.

use tanglegate_core::{Acl, Change, Contradiction, Recorded, State};

/// The deciding state and the access table.
pub(crate) struct Memory {
    state: State,
    acl: Acl,
    rows: Vec<Change>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            state: State::at_once(),
            acl: Acl::default(),
            rows: Vec::new(),
        }
    }
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
        Ok(())
    }

    /// Everything that was folded, settled.
    pub(crate) fn finish(mut self) -> (State, Acl) {
        self.state.settle();
        (self.state, self.acl)
    }
}
