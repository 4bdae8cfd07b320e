//! A log in memory that refuses what the real one refuses.

use crate::broken::{ensure, ensure_same};
use crate::{Auditor, Broken, Tables};
use std::collections::{BTreeMap, BTreeSet};
use tanglegate_core::{Change, Command, Event, Position, Recorded, State, Stream, Timestamp};
use tanglegate_crypto::{Frontier, Hash, leaf_hash};

/// One event as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub position: Position,
    /// Its time.
    pub recorded_at: Timestamp,
    /// What it belongs to.
    pub stream: Stream,
    /// Its number there.
    pub version: u64,
    /// What makes its command recorded once; only the first event of a command has one.
    pub key: Option<Vec<u8>>,
    /// What happened.
    pub event: Event,
}

impl Entry {
    /// The event with its place and time.
    #[must_use]
    pub fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: self.position,
            recorded_at: self.recorded_at,
            event: &self.event,
        }
    }

    /// The hash that covers it all.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        leaf_hash(&[format!("{self:?}").as_bytes()])
    }
}

/// What a command led to: its entries in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Number of the wish.
    pub(crate) wish: usize,
    pub(crate) command: Command,
    pub(crate) entries: Vec<Entry>,
}

/// Everything that one commit makes true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) previous: Position,
    pub(crate) groups: Vec<Group>,
    pub(crate) changes: Vec<Change>,
    pub(crate) frontier: Frontier,
}

impl Batch {
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.groups.iter().flat_map(|it| &it.entries)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }
}

/// Why a batch was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Another writer has extended the log.
    StaleHead,
    /// One of the commands stands in the log already.
    KnownKey,
}

/// The log with its tables, and the auditor who reads along.
#[derive(Debug)]
pub struct Journal {
    pub(crate) entries: Vec<Entry>,
    keys: BTreeMap<Vec<u8>, Position>,
    versions: BTreeSet<(Stream, u64)>,
    pub(crate) frontier: Frontier,
    /// The rows that were written with the events.
    pub tables: Tables,
    /// Who believes only what he reads.
    pub auditor: Auditor,
}

impl Journal {
    pub(crate) fn new(auditor: Auditor) -> Self {
        Self {
            entries: Vec::new(),
            keys: BTreeMap::new(),
            versions: BTreeSet::new(),
            frontier: Frontier::default(),
            tables: Tables::default(),
            auditor,
        }
    }

    /// Every event, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the command of that key stands.
    #[must_use]
    pub fn known(&self, key: &[u8]) -> Option<Position> {
        self.keys.get(key).copied()
    }

    pub(crate) fn head(&self) -> Position {
        self.entries.last().map_or(Position(0), |it| it.position)
    }

    /// Appends a batch with its rows, or refuses it, as the constraints of the tables do.
    ///
    /// # Errors
    /// When no log should ever have been offered such a batch, or the auditor objects.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<Result<(), Fault>, Broken> {
        if batch.previous != self.head() {
            return Ok(Err(Fault::StaleHead));
        }
        let mut keys = batch.entries().filter_map(|it| it.key.as_ref());
        if keys.any(|it| self.keys.contains_key(it)) {
            return Ok(Err(Fault::KnownKey));
        }
        for entry in batch.entries() {
            self.insert(entry)?;
        }
        ensure_same!(batch.frontier, self.frontier, "the tree with the batch");
        for group in &batch.groups {
            self.auditor.admit(&group.command, &group.entries)?;
        }
        for change in &batch.changes {
            self.tables.write(change.clone())?;
        }
        self.tables.check(self.auditor.book())?;
        Ok(Ok(()))
    }

    fn insert(&mut self, entry: &Entry) -> Result<(), Broken> {
        ensure_same!(entry.position, self.head().next(), "positions have no gaps");
        let before = self.entries.last().map(|it| it.recorded_at);
        ensure!(
            before.is_none_or(|it| it <= entry.recorded_at),
            "the log's clock ran backwards, from {before:?} to {}",
            entry.recorded_at
        );
        let place = (entry.stream.clone(), entry.version);
        ensure!(
            self.versions.insert(place),
            "version {} of {} is written twice",
            entry.version,
            entry.stream
        );
        if let Some(key) = &entry.key {
            let twice = self.keys.insert(key.clone(), entry.position);
            ensure!(
                twice.is_none(),
                "key {key:x?} stands twice in one batch, at {twice:?} and {}",
                entry.position
            );
        }
        self.frontier.push(entry.leaf());
        self.entries.push(entry.clone());
        Ok(())
    }

    /// Folds every event up to `last` into an empty state, and its rows into empty tables.
    pub(crate) fn replay(&self, last: Position) -> Result<(State, Tables), Broken> {
        let (mut state, mut tables) = (State::default(), Tables::default());
        let mut changes = Vec::new();
        for entry in self.entries.iter().take_while(|it| it.position <= last) {
            state.evolve(entry.recorded(), &mut changes)?;
            state.settle();
            for change in changes.drain(..) {
                tables.write(change)?;
            }
        }
        Ok((state, tables))
    }
}
