//! From a database to a running writer: replay is the start.

use super::contact::Contact;
use super::handle::WriterHandle;
use super::memory::Memory;
use super::task::{News, Settings, Writer};
use crate::event_log::{Entropy, EventLog, EventLogError, Head};
use crate::projections;
use parking_lot::RwLock;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tanglegate_core::{Acl, Address, Timestamp, VerifierKey};
use tanglegate_crypto::{Frontier, Subtrees};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::info;

/// How many commands may wait for the writer.
const QUEUE: usize = 4_096;

/// How long a predecessor that was just stopped or killed may keep its claim.
const PATIENCE: Duration = Duration::from_secs(5);

/// The writer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be opened or replayed.
    #[error(transparent)]
    Log(#[from] EventLogError),
    /// The projections cannot be read or rebuilt.
    #[error("the projections cannot be brought up to the log: {0}")]
    Projections(#[from] sqlx::Error),
}

/// A running writer.
pub struct Started {
    /// Takes commands.
    pub handle: WriterHandle,
    /// Whether the database answers.
    pub contact: Contact,
    /// Where the log stood at the start: what the ledger's follower needs to go on.
    pub chain: Option<tanglegate_core::ChainId>,
    checkpoints: BTreeMap<Address, u64>,
    /// The key that the log names for its tree heads, from the start on; it is told before the head
    /// that first covers its adoption.
    pub head_key: watch::Receiver<Option<VerifierKey>>,
    /// Where the log ends, from the start on.
    pub head: watch::Receiver<Head>,
    /// What proves a single event of the log as of any head that was told.
    pub subtrees: Arc<RwLock<Subtrees>>,
    /// Events replayed.
    pub replayed: u64,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Started {
    /// Where the follower of a seller's payments goes on: up to this checkpoint they are in the
    /// log, and maybe some of it. 0 for a seller whose payments were never looked for.
    #[must_use]
    pub fn checkpoint(&self, seller: Address) -> u64 {
        self.checkpoints.get(&seller).copied().unwrap_or(0)
    }

    /// Commits what was submitted, then stops; waits a few seconds for a database that is away.
    ///
    /// # Panics
    /// When the writer itself had panicked: a defect, and not to be passed over in silence.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Claims the log, replays it, brings the projections up to it, hands the access table to
/// `install`, and starts the writer.
///
/// # Errors
/// When the log is claimed, unreadable or damaged, or the database fails.
pub async fn start(
    options: &PgConnectOptions,
    settings: Settings,
    entropy: Entropy,
    clock: impl Fn() -> Timestamp + Send + 'static,
    install: impl FnOnce(Acl),
    tell: impl FnMut(News<'_>) + Send + 'static,
) -> Result<Started, StartError> {
    let options = options.clone().application_name(&settings.node);
    let mut log = EventLog::open(&options).await?;
    if settings.exclusive {
        log.claim(PATIENCE).await?;
    }
    let vault = log.vault().await?;
    let (mut memory, mut frontier) = (Memory::default(), Frontier::default());
    let mut complete = Vec::new();
    let mut progress = Progress::new(log.head().await?.size);
    let past = settings.past;
    let replay = log.replay_noting(&mut frontier, &mut complete, &vault, past, |replayed| {
        memory.fold(replayed.recorded())?;
        progress.count();
        Ok(())
    });
    let tally = replay.await?;
    let (state, acl) = memory.finish();
    if let Some(nameless) = state.nameless().min() {
        return Err(EventLogError::KeyMissing(nameless.to_string()).into());
    }
    let up_to_date = Some((projections::VERSION, state.position()));
    if state.position().0 > 0 && projections::cursor(log.connection()).await? != up_to_date {
        info!("the projections were not written by this version up to here: rebuilding them");
        let mut connection = PgConnection::connect_with(&options).await?;
        projections::rebuild(&mut log, &mut connection).await?;
    }
    install(acl);
    let (chain, checkpoints) = (state.chain().cloned(), state.checkpoints().clone());
    let (names, head_key) = watch::channel(state.head_key().cloned());
    let (head, ends) = watch::channel(Head {
        size: frontier.size(),
        root: frontier.root(),
    });
    let mut subtrees = Subtrees::default();
    subtrees.extend(&complete);
    let subtrees = Arc::new(RwLock::new(subtrees));
    let contact = Contact::new();
    let writer = Writer {
        settings,
        log,
        state,
        frontier,
        subtrees: Arc::clone(&subtrees),
        vault,
        entropy,
        clock: Box::new(clock),
        tell: Box::new(tell),
        contact: contact.clone(),
        head,
        head_key: names,
        last_contact: Instant::now(),
        stale: false,
        broken: false,
    };
    let (submissions, received) = mpsc::channel(QUEUE);
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(writer.run(received, stopped));
    let handle = WriterHandle { submissions };
    Ok(Started {
        handle,
        contact,
        chain,
        checkpoints,
        head_key,
        head: ends,
        subtrees,
        replayed: tally.events,
        stop,
        task,
    })
}

/// Tells how far a long replay is, once a second.
struct Progress {
    total: u64,
    done: u64,
    told: Instant,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self {
            total,
            done: 0,
            told: Instant::now(),
        }
    }

    fn count(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(4_096) && self.told.elapsed() >= Duration::from_secs(1) {
            self.told = Instant::now();
            info!(
                done = self.done,
                total = self.total,
                "replaying the event log"
            );
        }
    }
}
