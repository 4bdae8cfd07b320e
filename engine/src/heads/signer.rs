//! Signs the newest head whenever enough has happened, or enough time has passed.

use super::keys::{Keys, adopt, is_last, other_key, public, random};
use super::{KeyError, KeyFolder};
use crate::event_log::Head;
use crate::writer::{Started, SubmitError, WriterHandle};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::time::Duration;
use tanglegate_core::{Timestamp, VerifierKey};
use tanglegate_crypto::{HeadError, HeadKey, Origin, SignedHead, TreeHead};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tracing::{error, info, warn};

/// How long the database may take to keep a head, or to show the last one.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a shutdown waits for the last head.
const FAREWELL: Duration = Duration::from_secs(8);

/// When heads are signed, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSettings {
    /// The log's name; without one, a fresh log gets one by lot. It cannot be changed later.
    pub origin: Option<Origin>,
    /// After so many events at the latest,
    pub every_events: u64,
    /// and after so much time, if there were any.
    pub every: Duration,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self {
            origin: None,
            every_events: 10_000,
            every: Duration::from_secs(10),
        }
    }
}

/// Heads cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A file of the keys' folder.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The log's name.
    #[error(transparent)]
    Name(#[from] HeadError),
    /// The key was not adopted.
    #[error("the key of tree heads was not adopted: {0}")]
    NotAdopted(#[from] SubmitError),
    /// It is not known whether it was.
    #[error(
        "it is not known yet whether the log has adopted the next key of tree heads, which is kept \
         as keys/log.key.next: if it has, that signs; look with `tanglegate audit key`"
    )]
    Unanswered,
    /// The change before is not finished.
    #[error(
        "the change of keys before this one is not finished, because its tree head cannot be kept \
         in the database or in the folder keys: the engine's log says why; try again then"
    )]
    HandingOver,
    /// The rule by which everybody may read heads was not recorded.
    #[error("the rule that shows tree heads to everybody was not recorded: {0}")]
    NotShown(#[source] SubmitError),
    /// Another engine signs.
    #[error(
        "tree heads of this log are signed with {adopted}, which is not the key in {folder}: copy \
         keys/log.key from the engine that signs"
    )]
    OtherKey {
        /// The key that the log has adopted.
        adopted: VerifierKey,
        /// What is here.
        folder: String,
    },
    /// Nobody signs here.
    #[error("this engine signs no tree heads; its log says why")]
    Silent,
}

/// The task that signs.
pub struct Signer {
    key: watch::Receiver<VerifierKey>,
    latest: watch::Receiver<Option<String>>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

enum Order {
    Rotate(oneshot::Sender<Result<VerifierKey, SignerError>>),
    Stop,
}

impl Signer {
    /// Adopts the key in `folder`, making a first one where the log has none, and starts signing.
    ///
    /// # Errors
    /// When there is no key that the log knows.
    pub async fn start(
        settings: &HeadSettings,
        folder: KeyFolder,
        options: &PgConnectOptions,
        writer: &Started,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, SignerError> {
        let handle = writer.handle.clone();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    sqlx::query("set role tanglegate_writer")
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone());
        let last = newest(&pool).await;
        let newest_head = last.as_ref().and_then(|it| SignedHead::parse(&it.1).ok());
        let adopted = writer.head_key.borrow().clone();
        let settled = Keys::settle(
            &folder,
            settings,
            &handle,
            adopted.as_ref(),
            newest_head.as_ref(),
        );
        let keys = settled.await?;
        let (orders, ordered) = mpsc::channel(4);
        let (key, shown) = watch::channel(public(&keys.current));
        let (signed, note) = last.unzip();
        let (latest, newest) = watch::channel(note);
        let signing = Signing {
            every_events: settings.every_events,
            every: settings.every,
            folder,
            keys,
            handle,
            pool,
            head: writer.head.clone(),
            adopted: writer.head_key.clone(),
            foreign: None,
            signed,
            signed_at: Instant::now(),
            key,
            latest,
            clock: Box::new(clock),
        };
        let task = tokio::spawn(signing.run(ordered));
        Ok(Self {
            key: shown,
            latest: newest,
            orders,
            task,
        })
    }

    /// What others may know of it and ask of it.
    #[must_use]
    pub fn heads(&self) -> Heads {
        Heads {
            key: self.key.clone(),
            latest: self.latest.clone(),
            orders: self.orders.clone(),
        }
    }

    /// Signs what happened since the last head, and stops: at once when the database is away, with
    /// which that waits until the next start.
    pub async fn stop(mut self) {
        let task = &mut self.task;
        let stopped = timeout(FAREWELL, async {
            let _ = self.orders.send(Order::Stop).await;
            task.await
        });
        match stopped.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "the signing of tree heads failed"),
            Err(_) => {
                self.task.abort();
                warn!("the last events are under no tree head: the database does not answer");
            }
        }
    }
}

/// The newest head, and the way to a new key. Cheap to clone.
#[derive(Clone)]
pub struct Heads {
    key: watch::Receiver<VerifierKey>,
    latest: watch::Receiver<Option<String>>,
    orders: mpsc::Sender<Order>,
}

impl Heads {
    /// The public key that signs now.
    #[must_use]
    pub fn key(&self) -> VerifierKey {
        self.key.borrow().clone()
    }

    /// The newest head, signed; `None` before the first.
    #[must_use]
    pub fn latest(&self) -> Option<String> {
        self.latest.borrow().clone()
    }

    /// Waits for a newer head, and marks it as seen. `None` when no more are signed.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            self.latest.changed().await.ok()?;
            if let Some(note) = self.latest.borrow_and_update().clone() {
                return Some(note);
            }
        }
    }

    /// Makes a new key, has the log adopt it, and signs the next head with both.
    ///
    /// # Errors
    /// When it cannot be kept or adopted; the last key then signs on.
    pub async fn rotate(&self) -> Result<VerifierKey, SignerError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.orders.send(Order::Rotate(answer)).await;
        sent.map_err(|_| SignerError::Silent)?;
        answered.await.map_err(|_| SignerError::Silent)?
    }
}

struct Signing {
    every_events: u64,
    every: Duration,
    folder: KeyFolder,
    keys: Keys,
    handle: WriterHandle,
    pool: PgPool,
    head: watch::Receiver<Head>,
    /// The key that the log names, as of that head or later.
    adopted: watch::Receiver<Option<VerifierKey>>,
    /// What it names, when that is none of ours: nothing is signed then.
    foreign: Option<VerifierKey>,
    /// The size of the last head.
    signed: Option<u64>,
    signed_at: Instant,
    key: watch::Sender<VerifierKey>,
    latest: watch::Sender<Option<String>>,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Signing {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        // What a crash left without a head.
        if self.signed.is_some() {
            self.sign().await;
        }
        let mut ticks = tokio::time::interval(self.every.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.head.changed() => match changed {
                    Ok(()) => self.sign_if_due().await,
                    Err(_) => break,
                },
                _ = ticks.tick() => self.sign_if_due().await,
                order = orders.recv() => match order {
                    Some(Order::Rotate(answer)) => {
                        let rotated = self.rotate().await;
                        let _ = answer.send(rotated);
                    }
                    Some(Order::Stop) | None => {
                        self.sign().await;
                        break;
                    }
                },
            }
        }
        self.pool.close().await;
    }

    async fn sign_if_due(&mut self) {
        let fresh = self.head.borrow().size - self.signed.unwrap_or(0).min(self.head.borrow().size);
        if fresh >= self.every_events || (fresh > 0 && self.signed_at.elapsed() >= self.every) {
            self.sign().await;
        }
    }

    /// Signs the newest head, unless that was done.
    async fn sign(&mut self) {
        let Head { size, root } = *self.head.borrow_and_update();
        if size == 0 || self.signed.is_some_and(|it| size <= it) || !self.is_ours() {
            return;
        }
        self.signed_at = Instant::now();
        let origin = self.keys.current.verifier().origin().clone();
        let mut signers = vec![&self.keys.current];
        signers.extend(&self.keys.before);
        let note = TreeHead { origin, size, root }.sign(&signers);
        if let Err(error) = self.keep(size, &note).await {
            warn!(%error, size, "the tree head is not kept; trying again");
            return;
        }
        match self.folder.keep_head(&note) {
            Ok(()) => self.finish_handover(),
            Err(error) => warn!(%error, size, "the tree head is not kept in the data folder"),
        }
        self.signed = Some(size);
        self.latest.send_replace(Some(note));
    }

    /// Whether the log names the key that signs here. A change of keys whose outcome was not told is
    /// taken up when it does.
    fn is_ours(&mut self) -> bool {
        let adopted = self.adopted.borrow_and_update().clone();
        if adopted == Some(public(&self.keys.current)) {
            self.foreign = None;
            return true;
        }
        if let Ok(Some(next)) = self.folder.next_key()
            && adopted == Some(public(&next))
            && self.keys.before.is_none()
        {
            self.foreign = None;
            self.hand_over(next);
            return true;
        }
        if self.foreign != adopted {
            let (own, named) = (public(&self.keys.current), adopted.as_ref());
            let named = named.map_or_else(|| "no key".to_owned(), ToString::to_string);
            error!(
                %own, %named,
                "NO TREE HEADS ARE SIGNED ANY MORE: the log names a key that this engine has not \
                 made. Another engine signs this log, or somebody has written into the database; \
                 `tanglegate audit verify` tells whether anything is signed with it. If nothing is, \
                 `tanglegate audit rotate-key` goes on with a new key"
            );
            self.foreign = adopted;
        }
        false
    }

    /// The next key signs from now on; the next head is signed with the last one, too.
    fn hand_over(&mut self, next: HeadKey) {
        let key = public(&next);
        self.keys.before = Some(std::mem::replace(&mut self.keys.current, next));
        self.key.send_replace(key.clone());
        info!(%key, "a new key signs tree heads");
    }

    /// The last key is destroyed when the head that both have signed is kept here: the folder could
    /// not tell whose the head before is.
    fn finish_handover(&mut self) {
        if self.keys.before.is_some() {
            match self.folder.take_over() {
                Ok(()) => self.keys.before = None,
                Err(error) => warn!(%error, "the next key stays beside the last one"),
            }
        }
    }

    async fn keep(&self, size: u64, note: &str) -> Result<(), sqlx::Error> {
        let (size, at) = (i64::try_from(size).unwrap_or(i64::MAX), (self.clock)().0);
        let insert = sqlx::query(
            "insert into event_log.tree_head (size, note, signed_at) values \
             ($1, $2, timestamptz 'epoch' + $3 * interval '1 millisecond') on conflict do nothing",
        )
        .bind(size)
        .bind(note)
        .bind(i64::try_from(at).unwrap_or(i64::MAX))
        .execute(&self.pool);
        match timeout(PATIENCE, insert).await {
            Ok(kept) => kept.map(drop),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    async fn rotate(&mut self) -> Result<VerifierKey, SignerError> {
        // A handover that is under way comes first.
        self.sign().await;
        if self.keys.before.is_some() {
            return Err(SignerError::HandingOver);
        }
        if let Some(foreign) = self.foreign.clone() {
            let note = newest(&self.pool).await.map(|it| it.1);
            let newest = note.and_then(|it| SignedHead::parse(&it).ok());
            if !is_last(&self.keys.current, &foreign, newest.as_ref()) {
                return Err(other_key(&foreign, Some(&self.keys.current)));
            }
        }
        let origin = self.keys.current.verifier().origin().clone();
        let next = self.folder.make_next_key(origin, &random())?;
        match adopt(&self.handle, &next).await {
            Ok(()) => {}
            // It may be in the log: then it is the key that signs.
            Err(SubmitError::Stopped) => return Err(SignerError::Unanswered),
            Err(error @ (SubmitError::Rejected(_) | SubmitError::Refused(_))) => {
                self.folder.drop_next_key()?;
                return Err(error.into());
            }
        }
        let key = public(&next);
        self.hand_over(next);
        self.sign().await;
        Ok(key)
    }
}

/// The last head that is kept, and its size, so that none is signed twice.
async fn newest(pool: &PgPool) -> Option<(u64, String)> {
    let query = "select size, note from event_log.tree_head order by size desc limit 1";
    let last = sqlx::query_as::<_, (i64, String)>(query).fetch_optional(pool);
    match timeout(PATIENCE, last).await {
        Ok(Ok(last)) => last.map(|(size, note)| (size.unsigned_abs(), note)),
        Ok(Err(error)) => {
            warn!(%error, "the last tree head cannot be read");
            None
        }
        Err(_) => {
            warn!("the last tree head cannot be read: the database does not answer");
            None
        }
    }
}
