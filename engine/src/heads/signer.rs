//! Signs the newest head whenever enough has happened, or enough time has passed.

use super::{KeyError, KeyFolder};
use crate::event_log::{Head, Origin as Who};
use crate::writer::{Started, SubmitError, WriterHandle};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::time::Duration;
use tanglegate_core::{
    Access, Audience, Command, Rejection, Rule, RuleId, Timestamp, TopicFilter, VerifierKey,
};
use tanglegate_crypto::{HeadError, HeadKey, Origin, TreeHead};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

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
        let keys = Keys::settle(&folder, settings, &handle, writer.head_key.as_ref()).await?;
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
        let (orders, ordered) = mpsc::channel(4);
        let (key, shown) = watch::channel(public(&keys.current));
        let (latest, newest) = watch::channel(None);
        let signing = Signing {
            every_events: settings.every_events,
            every: settings.every,
            folder,
            keys,
            handle,
            pool,
            head: writer.head.clone(),
            signed: None,
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

    /// Signs what happened since the last head, and stops.
    pub async fn stop(self) {
        let _ = self.orders.send(Order::Stop).await;
        if let Err(error) = self.task.await {
            error!(%error, "the signing of tree heads failed");
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

/// The key that signs, and the one before until its last head.
struct Keys {
    current: HeadKey,
    before: Option<HeadKey>,
}

impl Keys {
    /// Brings the folder and the log together.
    async fn settle(
        folder: &KeyFolder,
        settings: &HeadSettings,
        writer: &WriterHandle,
        adopted: Option<&VerifierKey>,
    ) -> Result<Self, SignerError> {
        let (key, next) = (folder.key()?, folder.next_key()?);
        let is_adopted = |it: &HeadKey| adopted == Some(&public(it));
        match (key, next) {
            // A change of keys that was adopted and not finished.
            (before, Some(next)) if is_adopted(&next) => Ok(Self {
                current: next,
                before,
            }),
            (Some(key), _) if is_adopted(&key) => {
                folder.drop_next_key()?;
                Ok(Self {
                    current: key,
                    before: None,
                })
            }
            (key, _) => match adopted {
                Some(adopted) => Err(SignerError::OtherKey {
                    adopted: adopted.clone(),
                    folder: key.map_or_else(|| "none".to_owned(), |it| public(&it).to_string()),
                }),
                None => {
                    let key = match key {
                        Some(key) => key,
                        None => first_key(folder, settings)?,
                    };
                    adopt(writer, &key).await?;
                    show_heads(writer).await;
                    Ok(Self {
                        current: key,
                        before: None,
                    })
                }
            },
        }
    }
}

fn first_key(folder: &KeyFolder, settings: &HeadSettings) -> Result<HeadKey, SignerError> {
    let origin = match &settings.origin {
        Some(origin) => origin.clone(),
        None => Origin::parse(&format!("tanglegate-{}", hex::encode(random::<4>())))?,
    };
    Ok(folder.make_key(origin, &random())?)
}

async fn adopt(writer: &WriterHandle, key: &HeadKey) -> Result<(), SignerError> {
    let command = Command::AdoptHeadKey(public(key));
    writer.submit(Who::Engine, None, command).await?;
    Ok(())
}

/// Everybody may read the heads of a fresh log, until the operator takes that back.
async fn show_heads(writer: &WriterHandle) {
    let rule = Rule {
        id: RuleId(random()),
        audience: Audience::Everyone,
        filter: TopicFilter::parse("$SYS/access/log/#").expect("a valid filter"),
        access: Access::Read,
    };
    match writer
        .submit(Who::Engine, None, Command::GiveRule(rule))
        .await
    {
        Ok(_) | Err(SubmitError::Rejected(Rejection::RuleRepeated(_))) => {}
        Err(error) => warn!(%error, "tree heads are not shown to everybody"),
    }
}

fn public(key: &HeadKey) -> VerifierKey {
    VerifierKey(key.verifier().to_string().into())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

struct Signing {
    every_events: u64,
    every: Duration,
    folder: KeyFolder,
    keys: Keys,
    handle: WriterHandle,
    pool: PgPool,
    head: watch::Receiver<Head>,
    /// The size of the last head.
    signed: Option<u64>,
    signed_at: Instant,
    key: watch::Sender<VerifierKey>,
    latest: watch::Sender<Option<String>>,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Signing {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        self.remember().await;
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

    /// The last head that is kept, so that none is signed twice.
    async fn remember(&mut self) {
        let query = "select size, note from event_log.tree_head order by size desc limit 1";
        let last: Result<Option<(i64, String)>, _> =
            sqlx::query_as(query).fetch_optional(&self.pool).await;
        match last {
            Ok(Some((size, note))) => {
                self.signed = Some(size.unsigned_abs());
                self.latest.send_replace(Some(note));
            }
            Ok(None) => {}
            Err(error) => warn!(%error, "the last tree head cannot be read"),
        }
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
        if size == 0 || self.signed.is_some_and(|it| size <= it) {
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
        if let Err(error) = self.folder.keep_head(&note) {
            warn!(%error, size, "the tree head is not kept in the data folder");
        }
        if self.keys.before.is_some() {
            match self.folder.take_over() {
                Ok(()) => self.keys.before = None,
                Err(error) => warn!(%error, "the next key stays beside the last one"),
            }
        }
        self.signed = Some(size);
        self.latest.send_replace(Some(note));
    }

    async fn keep(&self, size: u64, note: &str) -> Result<(), sqlx::Error> {
        let (size, at) = (i64::try_from(size).unwrap_or(i64::MAX), (self.clock)().0);
        sqlx::query(
            "insert into event_log.tree_head (size, note, signed_at) values \
             ($1, $2, timestamptz 'epoch' + $3 * interval '1 millisecond') on conflict do nothing",
        )
        .bind(size)
        .bind(note)
        .bind(i64::try_from(at).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn rotate(&mut self) -> Result<VerifierKey, SignerError> {
        // A handover that is under way comes first.
        self.sign().await;
        if self.keys.before.is_some() {
            return Err(SignerError::Silent);
        }
        let origin = self.keys.current.verifier().origin().clone();
        let next = self.folder.make_next_key(origin, &random())?;
        if let Err(error) = adopt(&self.handle, &next).await {
            self.folder.drop_next_key()?;
            return Err(error);
        }
        let key = public(&next);
        self.keys.before = Some(std::mem::replace(&mut self.keys.current, next));
        self.key.send_replace(key.clone());
        info!(%key, "a new key signs tree heads");
        self.sign().await;
        Ok(key)
    }
}
