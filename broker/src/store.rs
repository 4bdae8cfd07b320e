//! The store: sessions that outlive their connection, QoS 1 and 2 messages queued for them, and
//! retained messages, kept so that they survive the server.
//!
//! Whoever changes something records the [`Change`], which costs no more than a look at a table,
//! and gets a [`Mark`]. A thread of the store's own writes what was recorded, in order and many
//! changes at a time; once a change is as safe as the [`Safety`] promises, its mark is safe.
//! What must not be acknowledged before waits for its mark.

mod change;

pub(crate) use change::{
    Change, Restored, RestoredMessage, RestoredSession, SessionRecord, StoredWill,
};

use std::path::PathBuf;

/// Where sessions and messages are kept, and how safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// A folder for the store alone. It is made when it is missing.
    pub folder: PathBuf,
    /// What must have happened before a message is acknowledged.
    pub safety: Safety,
}

/// What must have happened to a message before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// It is on the disk (`fdatasync`): it survives a power cut.
    Disk,
    /// The operating system has it: it survives the end of the server, also by `kill -9`, but
    /// not a power cut.
    System,
}

/// A place in the sequence of changes. The later the larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark(u64);

/// Keeps sessions and messages. Cheap to clone; clones are the same store.
#[derive(Debug, Clone)]
pub(crate) struct Store {}

impl Store {
    /// A store that keeps nothing: every mark is safe at once.
    pub(crate) fn memory() -> Self {
        Self {}
    }

    /// False when nothing survives the server.
    pub(crate) fn is_durable(&self) -> bool {
        false
    }

    /// Records a change. Never blocks, and may be called under locks.
    pub(crate) fn record(&self, _change: Change) -> Mark {
        Mark::default()
    }

    /// True when everything up to `mark` is as safe as promised.
    pub(crate) fn is_safe(&self, mark: Mark) -> bool {
        mark == Mark::default()
    }

    /// Calls `then` when everything up to `mark` is safe: at once when it is, else on the
    /// store's thread, without any lock. It must not block. Never, when the store fails before.
    pub(crate) fn when_safe(&self, _mark: Mark, then: impl FnOnce() + Send + 'static) {
        then();
    }

    /// Waits while too many bytes of changes are still to be written. Who brings messages waits
    /// here before he reads more.
    pub(crate) async fn room(&self) {}
}
