//! Whether the database answers, for whoever wants to know without asking it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the database answered when the writer last asked it something.
#[derive(Debug, Clone)]
pub struct Contact(Arc<AtomicBool>);

impl Contact {
    /// Of a database that has just answered.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn set(&self, up: bool) {
        self.0.store(up, Ordering::Relaxed);
    }

    /// True while it answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
