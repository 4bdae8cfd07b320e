//! The database on the disk, and how batches are written to it.

use super::batch::{Batch, Write};
use super::change::Restored;
use super::folder::Folder;
use super::form::{Key, Value, sequence_of, session_prefix, shared_key};
use super::restore::{self, Broken};
use super::shared::SharedMessages;
use super::{Safety, StoreError, StoreSettings};
use fjall::OwnedWriteBatch as WriteBatch;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, UserKey};
use std::collections::{HashMap, VecDeque};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Messages below are stored in each queue that holds them; larger ones once for all queues
/// that they enter in one batch. In bytes.
const WORTH_SHARING: usize = 256;
/// Entries of ended sessions that are removed with one batch.
const SWEPT_AT_ONCE: usize = 1_000;

/// Bytes of changes that the database holds in memory before it sorts them into a file.
pub(super) const MEMORY_TABLE: usize = 16 << 20;
/// Bytes of files that the database caches. It reads when it sorts and when a session ends.
pub(super) const CACHE: usize = 2 << 20;
/// Bytes of journals on the disk, at most by about one more journal of 64 MB.
const JOURNALS: u64 = 128 << 20;

/// An open database.
pub(super) struct Disk {
    entries: Keyspace,
    database: Database,
    safety: Safety,
    shared: SharedMessages,
    /// Ended sessions of which something may be left.
    endings: VecDeque<Ending>,
    /// Locked until the database is closed.
    folder: Folder,
}

struct Ending {
    session: u64,
    /// The last entry that was removed. The search goes on behind it: before it lie the marks
    /// of what was removed.
    after: Option<UserKey>,
}

impl Disk {
    /// Opens the store and reads everything in it.
    pub(super) fn open(settings: &StoreSettings) -> Result<(Self, Restored), StoreError> {
        let folder = Folder::open(&settings.folder)?;
        let at = folder.path().to_owned();
        let damaged = |reason: String| StoreError::Damaged {
            folder: at.clone(),
            reason,
        };
        // The database asserts some things about its files.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let (database, entries) = open_database(&folder)?;
            let found = restore::read(&entries)?;
            Ok((database, entries, found))
        }));
        let (database, entries, found) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(Broken::Database(fjall::Error::Io(error)))) => {
                return Err(StoreError::Folder {
                    folder: at,
                    reason: error.to_string(),
                });
            }
            Ok(Err(broken)) => return Err(damaged(broken.to_string())),
            Err(_) => return Err(damaged("the database does not open".to_owned())),
        };
        let mut disk = Self {
            entries,
            database,
            safety: settings.safety,
            shared: found.shared,
            endings: VecDeque::new(),
            folder,
        };
        disk.clean(found.unused, found.dead)
            .map_err(|error| disk.failed(&error))?;
        Ok((disk, found.restored))
    }

    /// Removes what an interrupted removal left, before numbers are used again.
    fn clean(&mut self, unused: Vec<UserKey>, dead: Vec<u64>) -> fjall::Result<()> {
        if !dead.is_empty() {
            tracing::info!(sessions = dead.len(), "ended sessions are removed");
        }
        for keys in unused.chunks(SWEPT_AT_ONCE) {
            let mut writes = self.database.batch();
            for key in keys {
                writes.remove(&self.entries, key.clone());
            }
            writes.commit()?;
        }
        self.endings.extend(dead.into_iter().map(Ending::of));
        while self.has_work() {
            let mut writes = self.database.batch();
            self.sweep(&mut writes)?;
            writes.commit()?;
        }
        Ok(())
    }

    /// True when an ended session is still to be removed.
    pub(super) fn has_work(&self) -> bool {
        !self.endings.is_empty()
    }

    /// Writes a batch, as safely as the settings promise, and some of the work left over.
    ///
    /// # Errors
    /// When the disk does not take it. Nothing can be written any more then.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.commit(batch).map_err(|error| self.failed(&error))
    }

    fn commit(&mut self, batch: &Batch) -> fjall::Result<()> {
        let mode = match self.safety {
            Safety::Disk if batch.must_last() => PersistMode::SyncData,
            Safety::Disk | Safety::System => PersistMode::Buffer,
        };
        let mut writes = self.database.batch().durability(Some(mode));
        let ids = self.share(batch, &mut writes);
        for (key, write) in batch.writes() {
            let entry = match key {
                Key::Queue(session, sequence) => Some((*session, *sequence)),
                _ => None,
            };
            if let Some(unused) = entry.and_then(|it| self.shared.leave(it)) {
                writes.remove(&self.entries, shared_key(unused));
            }
            match write {
                Write::Put { value, .. } => {
                    let id = address(value).and_then(|it| ids.get(&it).copied());
                    if let (Some(id), Some(entry)) = (id, entry) {
                        self.shared.join(id, entry);
                    }
                    writes.insert(&self.entries, key.bytes(), value.bytes(key, id));
                }
                Write::Remove => writes.remove(&self.entries, key.bytes()),
            }
        }
        self.sweep(&mut writes)?;
        writes.commit()?;
        self.endings.extend(batch.ended().map(Ending::of));
        Ok(())
    }

    /// Stores the messages that enter several queues, each once. Their ids by their addresses.
    fn share(&mut self, batch: &Batch, writes: &mut WriteBatch) -> HashMap<usize, u64> {
        let mut queues = HashMap::<usize, (u32, &[u8])>::new();
        for (_, write) in batch.writes() {
            if let Write::Put { value, .. } = write
                && let (Some(address), Value::Queued(queued)) = (address(value), value)
            {
                let bytes = queued.message.bytes();
                queues.entry(address).or_insert((0, bytes)).0 += 1;
            }
        }
        queues.retain(|_, (count, _)| *count > 1);
        let mut store = |(address, (_, bytes)): (usize, (u32, &[u8]))| {
            let id = self.shared.new_id();
            writes.insert(&self.entries, shared_key(id), bytes);
            (address, id)
        };
        queues.into_iter().map(&mut store).collect()
    }

    /// Removes some entries of ended sessions.
    fn sweep(&mut self, writes: &mut WriteBatch) -> fjall::Result<()> {
        let mut budget = SWEPT_AT_ONCE;
        while let Some(ending) = self.endings.front_mut() {
            let prefix = session_prefix(ending.session);
            let from = match &ending.after {
                Some(after) => Bound::Excluded(after.to_vec()),
                None => Bound::Included(prefix.clone()),
            };
            for entry in self.entries.range((from, Bound::Unbounded)) {
                if budget == 0 {
                    return Ok(());
                }
                let key = entry.key()?;
                if !key.starts_with(&prefix) {
                    break;
                }
                budget -= 1;
                let unused = sequence_of(&key)
                    .and_then(|sequence| self.shared.leave((ending.session, sequence)));
                if let Some(id) = unused {
                    writes.remove(&self.entries, shared_key(id));
                }
                writes.remove(&self.entries, key.clone());
                ending.after = Some(key);
            }
            writes.remove(&self.entries, Key::Ended(ending.session).bytes());
            self.endings.pop_front();
            if budget == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes everything to the disk and closes the store.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.database
            .persist(PersistMode::SyncAll)
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &fjall::Error) -> StoreError {
        let reason = match error {
            fjall::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        write_error(&self.folder, reason)
    }

    /// The error of a writer that is gone.
    pub(super) fn lost(&self) -> StoreError {
        write_error(&self.folder, "its thread has panicked".to_owned())
    }
}

impl Ending {
    fn of(session: u64) -> Self {
        Self {
            session,
            after: None,
        }
    }
}

fn write_error(folder: &Folder, reason: String) -> StoreError {
    StoreError::Write {
        folder: folder.path().to_owned(),
        reason,
    }
}

fn open_database(folder: &Folder) -> Result<(Database, Keyspace), Broken> {
    let database = Database::builder(folder.entries())
        .worker_threads(1)
        .cache_size(CACHE as u64)
        .max_journaling_size(JOURNALS)
        .open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMORY_TABLE as u64);
    let entries = database.keyspace("entries", options)?;
    Ok((database, entries))
}

/// Where a message lies that may be worth sharing: the same message, the same address, as long
/// as the batch holds it.
fn address(value: &Value) -> Option<usize> {
    match value {
        Value::Queued(queued) if queued.message.len() >= WORTH_SHARING => {
            Some(queued.message.bytes().as_ptr().addr())
        }
        _ => None,
    }
}
