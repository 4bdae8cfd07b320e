//! The store: sessions that outlive their connection, QoS 1 and 2 messages queued for them, and
//! retained messages, kept so that they survive the server.
//!
//! Whoever changes something records the [`Change`], which costs no more than a look at a table,
//! and gets a [`Mark`]. A thread of the store's own writes what was recorded, in order and many
//! changes at a time; once a change is as safe as the [`Safety`] promises, its mark is safe.
//! What must not be acknowledged before waits for its mark.
//!
//! ```text
//! session, shard ── record ──▶ open batch ──┐          (what cancels out goes no further)
//!        ◀──────── mark ───────────         ├─ writer ─▶ journal ─▶ sorted files
//!        ◀──────── when_safe ───────────────┘
//! ```
//!
//! The database is an LSM tree: a change is one append to its journal, and nothing is read again
//! before the next start. What the server needs while it runs, it has in memory.

mod batch;
mod change;
mod disk;
mod error;
mod folder;
mod form;
mod intake;
mod restore;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use change::{
    Change, GroupRecord, Restored, RestoredMessage, RestoredSession, SessionRecord, StoredWill,
};
pub use error::StoreError;

use disk::Disk;
use intake::{Intake, Life};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// Bytes of memory that a store takes at most besides the messages, which it shares with those
/// who wait for them: changes that wait to be written and are being written, and what the database
/// holds before it is sorted into files, some tables of it at a time.
pub(crate) const MEMORY: usize = 4 * intake::ROOM + 4 * disk::MEMORY_TABLE + disk::CACHE;

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
    /// It is on the disk (`fdatasync`): it survives a power cut. What a power cut may undo is
    /// that a message was acknowledged by its reader, who then gets it twice with QoS 1.
    Disk,
    /// The operating system has it: it survives the end of the server, also by `kill -9`, but
    /// not a power cut.
    System,
}

/// A place in the sequence of changes. The later the larger; the default is safe from the
/// beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark(u64);

impl Mark {
    /// What needs not wait.
    pub(crate) const NONE: Self = Self(0);
    /// What is recorded when nothing is written any more.
    const NEVER: Self = Self(u64::MAX);
}

/// Keeps sessions and messages. Cheap to clone; clones are the same store. When the last one is
/// dropped, what was recorded is still written.
#[derive(Clone)]
pub(crate) struct Store(Option<Arc<Handle>>);

/// Tells how much a store has still to write, without keeping it open.
#[derive(Clone)]
pub(crate) struct Backlog(Option<Weak<Handle>>);

impl Backlog {
    /// Changes that are not written, and their bytes; none of a store that is closed.
    pub(crate) fn read(&self) -> (usize, usize) {
        let handle = self.0.as_ref().and_then(Weak::upgrade);
        handle.map_or((0, 0), |it| it.0.backlog())
    }
}

/// Closes the store when it is dropped.
struct Handle(Arc<Intake>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Store {
    /// Opens the store in a folder, and reads what is there. Blocks while it reads.
    ///
    /// # Errors
    /// When the folder cannot be used, is in use, or holds something that cannot be read.
    pub(crate) fn open(settings: &StoreSettings) -> Result<(Self, Restored), StoreError> {
        let (disk, restored) = Disk::open(settings)?;
        let intake = Arc::new(Intake::new());
        writer::start(disk, Arc::clone(&intake)).map_err(|error| StoreError::Folder {
            folder: settings.folder.clone(),
            reason: format!("no thread can be started: {error}"),
        })?;
        Ok((Self(Some(Arc::new(Handle(intake)))), restored))
    }

    /// A store that keeps nothing: every mark is safe at once.
    pub(crate) fn memory() -> Self {
        Self(None)
    }

    /// False when nothing survives the server.
    pub(crate) fn is_durable(&self) -> bool {
        self.0.is_some()
    }

    /// Tells what it has still to write.
    pub(crate) fn backlog(&self) -> Backlog {
        Backlog(self.0.as_ref().map(Arc::downgrade))
    }

    /// Records a change. Never blocks, and may be called under locks. After the store has failed
    /// or was closed, the change is forgotten and its mark never safe.
    pub(crate) fn record(&self, change: Change) -> Mark {
        self.intake()
            .map_or(Mark::default(), |it| it.record(change))
    }

    /// The same for changes of which the disk is to have all or none.
    pub(crate) fn record_together<const N: usize>(&self, changes: [Change; N]) -> Mark {
        self.intake()
            .map_or(Mark::default(), |it| it.record_together(changes))
    }

    /// What has to be safe before everything is that was recorded up to now.
    pub(crate) fn latest(&self) -> Mark {
        self.intake().map_or(Mark::default(), |it| it.latest())
    }

    /// True when everything up to `mark` is as safe as promised.
    pub(crate) fn is_safe(&self, mark: Mark) -> bool {
        self.intake().is_none_or(|it| it.is_safe(mark))
    }

    /// Calls `then` when everything up to `mark` is safe: at once when it is, else on the
    /// store's thread, without any lock. It must not block. Never, when the store fails before.
    pub(crate) fn when_safe(&self, mark: Mark, then: impl FnOnce() + Send + 'static) {
        match self.intake() {
            Some(intake) if !intake.is_safe(mark) => intake.when_safe(mark, Box::new(then)),
            _ => then(),
        }
    }

    /// Waits while more than 8 MiB of changes are still to be written. Who brings messages waits
    /// here before he reads more. Returns when the store has failed, too.
    pub(crate) async fn room(&self) {
        if let Some(intake) = self.intake() {
            intake.room().await;
        }
    }

    /// Returns when the disk has given up: nothing becomes safe from then on.
    pub(crate) async fn failed(&self) -> StoreError {
        if let Some(intake) = self.intake() {
            let mut life = intake.life.subscribe();
            let failed = life.wait_for(|it| matches!(it, Life::Failed(_))).await;
            if let Ok(Life::Failed(error)) = failed.as_deref() {
                return error.clone();
            }
        }
        std::future::pending().await
    }

    /// Writes what was recorded, and lets go of the folder. All clones are closed by it.
    ///
    /// # Errors
    /// When the store has failed before or does now.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        let Some(intake) = self.intake() else {
            return Ok(());
        };
        let mut life = intake.life.subscribe();
        intake.close();
        let end = life.wait_for(|it| !matches!(it, Life::Running)).await;
        match end.as_deref() {
            Ok(Life::Failed(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn intake(&self) -> Option<&Intake> {
        self.0.as_ref().map(|it| &*it.0)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_durable() { "disk" } else { "memory" };
        write!(f, "Store({kind})")
    }
}
