//! Reading the log from some position to its end: decoded, and checked against its hash tree.

use super::{EventLog, EventLogError, Head, StoredEvent, Vault, copy, decode};
use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use std::ops::Range;
use tanglegate_core::{Event, Position, Recorded, Timestamp};
use tanglegate_crypto::{Frontier, Hash};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// An event as replay gives it out.
#[derive(Debug)]
pub struct Replayed {
    position: Position,
    recorded_at: Timestamp,
    /// What it says.
    pub event: Event,
}

impl Replayed {
    /// The event with its place and time.
    #[must_use]
    pub fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: self.position,
            recorded_at: self.recorded_at,
            event: &self.event,
        }
    }
}

/// What a replay went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Events.
    pub events: u64,
    /// Bytes of their rows as the database sent them.
    pub bytes: u64,
}

/// Messages that are checked and folded at a time. With some rows each, they make up for the
/// hand-over between threads; and a few hundred kilobytes still fit a processor's cache.
pub(crate) const CHUNK: usize = 512;
/// Chunks that may be under way.
const UNDER_WAY: usize = 4;

impl EventLog {
    /// Reads every event after the frontier, grows the frontier over them and compares its root
    /// with the recorded one. Constant memory; neither clock nor network but the database. An
    /// event is given to `each` only when its leaf was checked and it was decoded, which a thread
    /// of its own does meanwhile for those behind it.
    ///
    /// # Errors
    /// When the database or `each` fails, an event does not read, or the log is not what was
    /// hashed. What `each` made of the events before is worth nothing then, and `frontier` is as it was.
    ///
    /// # Panics
    /// When `each` does, or the process is shutting down and cannot start a thread.
    pub async fn replay(
        &mut self,
        frontier: &mut Frontier,
        vault: &Vault,
        each: impl FnMut(Replayed) -> Result<(), EventLogError>,
    ) -> Result<Tally, EventLogError> {
        self.replay_past(frontier, vault, None, each).await
    }

    /// The same, and the log has to continue the one that had the head `mark`.
    ///
    /// # Errors
    /// As for [`EventLog::replay`], and when the log has not that head.
    ///
    /// # Panics
    /// As for [`EventLog::replay`].
    pub async fn replay_past(
        &mut self,
        frontier: &mut Frontier,
        vault: &Vault,
        mark: Option<Head>,
        each: impl FnMut(Replayed) -> Result<(), EventLogError>,
    ) -> Result<Tally, EventLogError> {
        self.replay_tree(Tree::of(frontier), vault, mark, each)
            .await
            .map(|(grown, tally)| {
                *frontier = grown.frontier;
                tally
            })
    }

    /// The same, and `complete` gets what [`tanglegate_crypto::Subtrees`] keeps of those events.
    ///
    /// # Errors
    /// As for [`EventLog::replay_past`]; `complete` is as it was then.
    ///
    /// # Panics
    /// As for [`EventLog::replay`].
    pub(crate) async fn replay_noting(
        &mut self,
        frontier: &mut Frontier,
        complete: &mut Vec<Hash>,
        vault: &Vault,
        mark: Option<Head>,
        each: impl FnMut(Replayed) -> Result<(), EventLogError>,
    ) -> Result<Tally, EventLogError> {
        let mut tree = Tree::of(frontier);
        tree.complete = Some(Vec::new());
        let (grown, tally) = self.replay_tree(tree, vault, mark, each).await?;
        *frontier = grown.frontier;
        complete.extend(grown.complete.unwrap_or_default());
        Ok(tally)
    }

    async fn replay_tree(
        &mut self,
        tree: Tree,
        vault: &Vault,
        mark: Option<Head>,
        each: impl FnMut(Replayed) -> Result<(), EventLogError>,
    ) -> Result<(Tree, Tally), EventLogError> {
        let head = self.head().await?;
        if let Some(mark) = mark.filter(|it| it.size > head.size) {
            return Err(EventLogError::Older {
                size: head.size,
                signed: mark.size,
            });
        }
        let first = tree.frontier.size() + 1;
        let checking = Checking::start(tree, mark, vault);
        let (grown, tally) = self.check(checking, first, head.size, each).await?;
        let frontier = &grown.frontier;
        if frontier.size() != head.size || frontier.root() != head.root {
            return Err(EventLogError::RootDiffers { size: head.size });
        }
        Ok((grown, tally))
    }

    /// The events after the frontier up to `last` in the same way. Its root is compared with
    /// nothing.
    ///
    /// # Errors
    /// As for [`EventLog::replay`].
    ///
    /// # Panics
    /// As for [`EventLog::replay`].
    pub(crate) async fn replay_to(
        &mut self,
        frontier: &mut Frontier,
        last: u64,
        vault: &Vault,
        each: impl FnMut(Replayed) -> Result<(), EventLogError>,
    ) -> Result<(), EventLogError> {
        let checking = Checking::start(Tree::of(frontier), None, vault);
        let first = frontier.size() + 1;
        let (grown, _) = self.check(checking, first, last, each).await?;
        *frontier = grown.frontier;
        Ok(())
    }

    async fn check(
        &mut self,
        mut checking: Checking,
        first: u64,
        last: u64,
        mut each: impl FnMut(Replayed) -> Result<(), EventLogError>,
    ) -> Result<(Tree, Tally), EventLogError> {
        let mut tally = Tally::default();
        let mut give = |events: Vec<Replayed>| {
            tally.events += events.len() as u64;
            events.into_iter().try_for_each(&mut each)
        };
        let mut messages = self.copy_out(first, last).await?;
        let (mut chunk, mut bytes) = (Chunk::with_capacity(CHUNK), 0);
        while let Some(message) = messages.try_next().await? {
            bytes += message.len() as u64;
            chunk.push(message);
            if chunk.len() == CHUNK {
                let full = std::mem::replace(&mut chunk, Chunk::with_capacity(CHUNK));
                if let Some(checked) = checking.exchange(full).await? {
                    give(checked)?;
                }
            }
        }
        drop(messages);
        if let Some(checked) = checking.exchange(chunk).await? {
            give(checked)?;
        }
        while let Some(checked) = checking.next().await? {
            give(checked)?;
        }
        tally.bytes = bytes;
        Ok((checking.finish().await, tally))
    }

    /// The rows of some positions, in messages for [`copy::each_row_or`].
    pub(crate) async fn copy_out(
        &mut self,
        first: u64,
        last: u64,
    ) -> Result<BoxStream<'_, Result<Bytes, sqlx::Error>>, sqlx::Error> {
        let statement = format!(
            "copy (select {} from event_log.event where position between {first} and {last} \
             order by position) to stdout (format binary)",
            copy::COLUMNS
        );
        self.connection().copy_out_raw(&statement).await
    }

    /// Reads the rows of some positions as they are, unchecked.
    ///
    /// # Errors
    /// When the database fails or `each` does.
    pub async fn read(
        &mut self,
        first: u64,
        last: u64,
        mut each: impl FnMut(StoredEvent<'_>, Hash) -> Result<(), EventLogError>,
    ) -> Result<Tally, EventLogError> {
        let mut tally = Tally::default();
        if last < first {
            return Ok(tally);
        }
        let mut messages = self.copy_out(first, last).await?;
        while let Some(message) = messages.try_next().await? {
            tally.bytes += message.len() as u64;
            copy::each_row(&message, |stored, leaf| {
                tally.events += 1;
                each(stored, leaf)
            })?;
        }
        Ok(tally)
    }
}

impl EventLog {
    /// Gives the recorded leaves of the first `size` events to `each`, unchecked.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn leaves(
        &mut self,
        size: u64,
        mut each: impl FnMut(u64, Hash),
    ) -> Result<(), EventLogError> {
        let statement = format!(
            "copy (select leaf from event_log.event where position <= {size} order by position) \
             to stdout (format binary)"
        );
        let (mut messages, mut position) = (self.connection().copy_out_raw(&statement).await?, 0);
        while let Some(message) = messages.try_next().await? {
            copy::each_leaf(&message, |leaf| {
                position += 1;
                each(position, leaf);
            })?;
        }
        Ok(())
    }
}

impl EventLog {
    /// The recorded leaves with these indices (from 0), unchecked; those that are there.
    pub(crate) async fn leaves_at(
        &mut self,
        range: Range<u64>,
    ) -> Result<Vec<Hash>, EventLogError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let edge = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
        let query = "select leaf from event_log.event where position > $1 and position <= $2 \
             order by position";
        let leaves: Vec<Vec<u8>> = sqlx::query_scalar(query)
            .bind(edge(range.start))
            .bind(edge(range.end))
            .fetch_all(self.connection())
            .await?;
        let hash = |it: Vec<u8>| it.try_into();
        let hashes: Result<Vec<Hash>, _> = leaves.into_iter().map(hash).collect();
        hashes.map_err(|_| EventLogError::Copy("a leaf is not of 32 bytes"))
    }
}

/// The tree over what was checked.
struct Tree {
    frontier: Frontier,
    /// The roots of large subtrees that became complete, for who wants them.
    complete: Option<Vec<Hash>>,
}

impl Tree {
    /// Nobody wants more of it than its right edge.
    fn of(frontier: &Frontier) -> Self {
        Self {
            frontier: frontier.clone(),
            complete: None,
        }
    }

    fn push(&mut self, leaf: Hash) {
        match &mut self.complete {
            Some(complete) => self.frontier.push_noting(leaf, complete),
            None => self.frontier.push(leaf),
        }
    }
}

/// Some messages of COPY, as they came.
type Chunk = Vec<Bytes>;
type Checked = Result<Vec<Replayed>, EventLogError>;

/// A thread that checks chunks, in their order, and gives back what they say.
struct Checking {
    /// `None`: there is nothing more to check.
    chunks: Option<mpsc::Sender<Chunk>>,
    checked: mpsc::Receiver<Checked>,
    under_way: usize,
    thread: JoinHandle<Tree>,
}

impl Checking {
    fn start(mut tree: Tree, mark: Option<Head>, vault: &Vault) -> Self {
        let vault = vault.reading();
        let (chunks, mut received) = mpsc::channel::<Chunk>(UNDER_WAY);
        let (give, checked) = mpsc::channel(UNDER_WAY);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = received.blocking_recv() {
                let outcome = check(&chunk, &mut tree, mark, &vault);
                let failed = outcome.is_err();
                if give.blocking_send(outcome).is_err() || failed {
                    break;
                }
            }
            tree
        });
        Self {
            chunks: Some(chunks),
            checked,
            under_way: 0,
            thread,
        }
    }

    /// Hands a chunk over, and takes a checked one when enough are under way.
    async fn exchange(&mut self, chunk: Chunk) -> Result<Option<Vec<Replayed>>, EventLogError> {
        let checked = match self.under_way {
            UNDER_WAY => self.checked().await?,
            _ => None,
        };
        let sent = match &self.chunks {
            Some(chunks) => chunks.send(chunk).await.is_ok(),
            None => false,
        };
        self.under_way += usize::from(sent);
        match checked {
            // The thread has ended: behind what it checked is its refusal.
            None if !sent => self.checked().await,
            checked => Ok(checked),
        }
    }

    /// The next checked chunk; no other may be handed over after it.
    async fn next(&mut self) -> Result<Option<Vec<Replayed>>, EventLogError> {
        self.chunks = None;
        self.checked().await
    }

    async fn checked(&mut self) -> Result<Option<Vec<Replayed>>, EventLogError> {
        let checked = self.checked.recv().await.transpose()?;
        self.under_way -= usize::from(checked.is_some());
        Ok(checked)
    }

    /// The tree over everything that was checked.
    async fn finish(self) -> Tree {
        drop(self.chunks);
        match self.thread.await {
            Ok(tree) => tree,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => panic!("no thread checks the log: {error}"),
            },
        }
    }
}

/// Grows the tree over the events in a chunk, and decodes them.
fn check(chunk: &Chunk, tree: &mut Tree, mark: Option<Head>, vault: &Vault) -> Checked {
    let mut events = Vec::with_capacity(chunk.len());
    for message in chunk {
        copy::each_row(message, |stored, leaf| {
            let (after, found) = (tree.frontier.size(), stored.position);
            if found != after + 1 {
                return Err(EventLogError::Gap { after, found });
            }
            if stored.leaf() != leaf {
                return Err(EventLogError::LeafDiffers { position: found });
            }
            tree.push(leaf);
            if let Some(mark) = mark.filter(|it| it.size == found)
                && mark.root != tree.frontier.root()
            {
                return Err(EventLogError::OtherPast { signed: found });
            }
            let event = decode(stored.kind, stored.schema_version, stored.body, vault);
            let unreadable = |source| EventLogError::Body {
                position: found,
                source,
            };
            events.push(Replayed {
                position: Position(found),
                recorded_at: stored.recorded_at,
                event: event.map_err(unreadable)?,
            });
            Ok(())
        })?;
    }
    Ok(events)
}
