//! The writer's loop: gather, decide, commit, tell.

use super::batch::{Batch, Mind};
use super::contact::Contact;
use super::handle::{Recording, Submission, SubmitError};
use crate::event_log::{AppendError, Entropy, EventLog, EventLogError, Head, Vault};
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tanglegate_core::{
    Event, IdempotencyKey, Position, Recorded, State, SubscriberId, Timestamp, VerifierKey,
};
use tanglegate_crypto::{Frontier, Subtrees};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

/// How the writer works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This engine's name in the log.
    pub node: String,
    /// Most commands in one commit.
    pub most_commands: usize,
    /// How long the database may be silent before what is in memory is too old to grant
    /// anything new on.
    pub stale_after: Duration,
    /// How often the log is looked at while there is nothing to write.
    pub heartbeat: Duration,
    /// Whether to insist on being the only engine that writes.
    pub exclusive: bool,
    /// A head that the log is known to have had: one that has not is refused.
    pub past: Option<Head>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "tanglegate".to_owned(),
            most_commands: 4_000,
            stale_after: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            exclusive: true,
            past: None,
        }
    }
}

/// What the writer tells the rest of the engine, in the order in which it became true.
pub enum News<'a> {
    /// These events are committed.
    Recorded(&'a [Recorded<'a>]),
    /// The database has been silent for too long.
    Stale,
    /// It answers again.
    Fresh,
}

pub(super) struct Writer {
    pub(super) settings: Settings,
    pub(super) log: EventLog,
    pub(super) state: State,
    pub(super) frontier: Frontier,
    /// What proofs are made from: never behind the head that is told.
    pub(super) subtrees: Arc<RwLock<Subtrees>>,
    pub(super) vault: Vault,
    pub(super) entropy: Entropy,
    pub(super) clock: Box<dyn Fn() -> Timestamp + Send>,
    pub(super) tell: Box<dyn FnMut(News<'_>) + Send>,
    pub(super) contact: Contact,
    /// Where the log ends.
    pub(super) head: watch::Sender<Head>,
    /// The key that the log names for its tree heads.
    pub(super) head_key: watch::Sender<Option<VerifierKey>>,
    /// When the database last answered.
    pub(super) last_contact: Instant,
    pub(super) stale: bool,
    /// The connection cannot be trusted: a new one is needed.
    pub(super) broken: bool,
}

/// First and longest pause between two tries to reach a database that is away.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long it may take to read what other engines have written meanwhile.
const RELOAD: Duration = Duration::from_secs(60);

/// Most commands in one part of a commit.
const PART: usize = 1_000;

/// Commands that are decided before the database gets a turn.
const SOME: usize = 32;

/// How long a commit may still wait for the database when the engine stops.
const GRACE: Duration = Duration::from_secs(5);

impl Writer {
    /// Runs until every handle is gone or `stop` fires; what was received before is committed.
    pub(super) async fn run(
        mut self,
        mut submissions: mpsc::Receiver<Submission>,
        mut stop: watch::Receiver<bool>,
    ) {
        let (mut received, mut closing) = (Vec::new(), false);
        loop {
            let most = self.settings.most_commands;
            tokio::select! {
                number = submissions.recv_many(&mut received, most) => {
                    if number == 0 {
                        break;
                    }
                    let commit = self.commit(std::mem::take(&mut received));
                    tokio::select! {
                        // Who was answered gets to submit again first: else only the quickest
                        // few would share the next commit, and the others wait for one more.
                        () = async { commit.await; tokio::task::yield_now().await } => {}
                        () = stopped_for(&mut stop, GRACE) => {
                            warn!("stopping without the database: unanswered commands are dropped");
                            return;
                        }
                    }
                }
                () = tokio::time::sleep(self.settings.heartbeat) => self.look().await,
                () = stopped_for(&mut stop, Duration::ZERO), if !closing => {
                    submissions.close();
                    closing = true;
                }
            }
        }
        self.log.close().await;
    }

    /// Commits submissions, however long the database takes.
    async fn commit(&mut self, submissions: Vec<Submission>) {
        let mut groups = VecDeque::from([submissions]);
        while let Some(group) = groups.pop_front() {
            for again in self.commit_group(group).await.into_iter().rev() {
                groups.push_front(again);
            }
        }
    }

    /// Tries to commit a group; gives back what has to be tried again, in order.
    async fn commit_group(&mut self, submissions: Vec<Submission>) -> Vec<Vec<Submission>> {
        let submissions = match self.look_up_people(&submissions).await {
            Ok(known) => answer_known(submissions, &known),
            Err(error) => {
                let fault = AppendError::from_log(error);
                return self.recover(fault, submissions).await;
            }
        };
        if submissions.is_empty() {
            return Vec::new();
        }
        let (batch, recorded) = self.record(&submissions).await;
        if let Err(fault) = recorded {
            self.state.forget();
            self.vault.forget();
            return self.recover(fault, submissions).await;
        }
        self.settle(&batch);
        if !batch.is_empty() {
            let recorded: Vec<Recorded<'_>> = batch.recorded().collect();
            (self.tell)(News::Recorded(&recorded));
        }
        batch.answer(submissions);
        Vec::new()
    }

    /// A person who repeats a wish should hear that it was granted, not that it is too late for
    /// it. People are few; what machines repeat is found when it is appended.
    async fn look_up_people(&mut self, submissions: &[Submission]) -> Result<Known, EventLogError> {
        let people = submissions.iter().filter_map(|it| match it.key {
            Some(key @ IdempotencyKey::Person(_)) => Some(key.to_bytes()),
            _ => None,
        });
        let keys: Vec<Vec<u8>> = people.collect();
        if keys.is_empty() {
            return Ok(Known::new());
        }
        self.known_keys(&keys).await
    }

    async fn known_keys(&mut self, keys: &[Vec<u8>]) -> Result<Known, EventLogError> {
        let patience = self.settings.stale_after;
        let known = answered(patience, self.log.known_keys(keys)).await;
        self.broken |= known.is_err();
        known
    }

    /// Decides submissions and commits their events. What that changes in memory is staged.
    async fn record(&mut self, submissions: &[Submission]) -> (Batch, Result<(), AppendError>) {
        let mut batch = Batch::new((self.clock)(), &self.state, &self.frontier);
        let patience = self.settings.stale_after;
        let recorded = match timeout(patience, self.append(submissions, &mut batch)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.broken = true;
                Err(AppendError::Silent)
            }
        };
        (batch, recorded)
    }

    /// Appends in parts, all in one transaction: while the database takes one part, the next is
    /// decided.
    async fn append(
        &mut self,
        submissions: &[Submission],
        batch: &mut Batch,
    ) -> Result<(), AppendError> {
        let Self {
            log,
            state,
            vault,
            entropy,
            settings,
            ..
        } = self;
        let mut mind = Mind {
            state,
            vault,
            entropy,
        };
        let (first, rest) = submissions.split_at(submissions.len().min(PART));
        batch.decide(first, &mut mind);
        let mut part = batch.take_part(&settings.node, &mut mind);
        if rest.is_empty() {
            return match part {
                Some(part) => log.append(part).await,
                None => Ok(()),
            };
        }
        let mut appending = log.begin().await?;
        let mut parts = rest.chunks(PART);
        loop {
            let write = async {
                match part.take() {
                    Some(part) => appending.append(part).await,
                    None => Ok(()),
                }
            };
            let decide = async {
                let next = parts.next()?;
                for some in next.chunks(SOME) {
                    batch.decide(some, &mut mind);
                    tokio::task::yield_now().await;
                }
                Some(batch.take_part(&settings.node, &mut mind))
            };
            let (written, decided) = tokio::join!(write, decide);
            written?;
            match decided {
                Some(next) => part = next,
                None => return appending.commit().await,
            }
        }
    }

    fn settle(&mut self, batch: &Batch) {
        self.state.settle();
        self.vault.settle();
        self.frontier.clone_from(&batch.frontier);
        self.subtrees.write().extend(&batch.complete);
        if !batch.is_empty() {
            self.contacted();
            self.tell_head();
        }
    }

    fn tell_head(&self) {
        let named = self.state.head_key();
        self.head_key.send_if_modified(|known| {
            let changed = known.as_ref() != named;
            if changed {
                *known = named.cloned();
            }
            changed
        });
        self.head.send_replace(Head {
            size: self.frontier.size(),
            root: self.frontier.root(),
        });
    }

    /// After a commit that failed: brings memory up to the log, answers what turns out to be in
    /// it, and gives back what has to be decided again.
    async fn recover(
        &mut self,
        fault: AppendError,
        submissions: Vec<Submission>,
    ) -> Vec<Vec<Submission>> {
        let too_much = matches!(fault, AppendError::Silent);
        match fault {
            AppendError::StaleHead => info!("another engine has extended the log; deciding again"),
            AppendError::KnownKey => {}
            AppendError::Unavailable(error) => {
                warn!(%error, "the database is not available; commands wait");
                self.note_silence();
            }
            AppendError::Silent => {
                warn!(
                    commands = submissions.len(),
                    "the database takes too long; trying halves"
                );
                self.note_silence();
            }
            AppendError::Refused(error) => return isolate(&error, submissions),
        }
        self.until_contact().await;
        loop {
            match self.sort_out(&submissions).await {
                Ok(known) => {
                    self.contacted();
                    let rest = answer_known(submissions, &known);
                    // A machine that is too slow for so many at once would never come to an end.
                    return if too_much { halves(rest) } else { vec![rest] };
                }
                Err(error) => {
                    warn!(%error, "the log cannot be read; trying again");
                    self.until_contact().await;
                }
            }
        }
    }

    async fn sort_out(&mut self, submissions: &[Submission]) -> Result<Known, EventLogError> {
        let caught_up = answered(RELOAD, self.catch_up()).await;
        self.broken |= caught_up.is_err();
        caught_up?;
        let keys: Vec<Vec<u8>> = submissions
            .iter()
            .filter_map(|it| it.key.map(|it| it.to_bytes()))
            .collect();
        self.known_keys(&keys).await
    }

    /// Waits until the database answers and, where that is asked for, the log is ours again.
    async fn until_contact(&mut self) {
        let (mut pause, longest) = PAUSE;
        loop {
            match self.contact().await {
                Ok(()) => return,
                Err(error) => {
                    self.note_silence();
                    warn!(%error, "the database is away; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }

    async fn contact(&mut self) -> Result<(), EventLogError> {
        let patience = self.settings.stale_after;
        if !self.broken && matches!(timeout(patience, self.log.head()).await, Ok(Ok(_))) {
            return Ok(());
        }
        self.broken = true;
        answered(patience, self.log.reconnect()).await?;
        if self.settings.exclusive {
            answered(patience, self.log.claim(Duration::from_secs(1))).await?;
        }
        self.broken = false;
        Ok(())
    }

    /// While there is nothing to write: is the database there, and has anybody else written?
    async fn look(&mut self) {
        let connected = match self.broken {
            true => self.contact().await,
            false => Ok(()),
        };
        let looked = match connected {
            Ok(()) => answered(self.settings.stale_after, self.catch_up()).await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(()) => self.contacted(),
            Err(error) => {
                warn!(%error, "the database does not answer; access already granted lasts");
                self.broken = true;
                self.note_silence();
            }
        }
    }

    fn contacted(&mut self) {
        self.contact.set(true);
        self.last_contact = Instant::now();
        if std::mem::take(&mut self.stale) {
            info!("the database answers again");
            (self.tell)(News::Fresh);
        }
    }

    fn note_silence(&mut self) {
        self.contact.set(false);
        if !self.stale && self.last_contact.elapsed() >= self.settings.stale_after {
            self.stale = true;
            warn!("the database has been away too long: nothing new is granted until it is back");
            (self.tell)(News::Stale);
        }
    }

    /// Folds what others have written.
    pub(super) async fn catch_up(&mut self) -> Result<(), EventLogError> {
        let head = self.log.head().await?;
        if head.size == self.frontier.size() {
            return Ok(());
        }
        self.learn_keys().await?;
        let mut events: Vec<(Position, Timestamp, Event)> = Vec::new();
        let (mut frontier, mut complete) = (self.frontier.clone(), Vec::new());
        let (log, vault) = (&mut self.log, &self.vault);
        let reading = log.replay_noting(&mut frontier, &mut complete, vault, None, |replayed| {
            let recorded = replayed.recorded();
            events.push((recorded.position, recorded.recorded_at, replayed.event));
            Ok(())
        });
        reading.await?;
        if let Some(nameless) = nameless(&events) {
            return Err(EventLogError::KeyMissing(nameless.to_string()));
        }
        let recorded: Vec<Recorded<'_>> = events
            .iter()
            .map(|(position, recorded_at, event)| Recorded {
                position: *position,
                recorded_at: *recorded_at,
                event,
            })
            .collect();
        let mut rows = Vec::new();
        for event in &recorded {
            if let Err(contradiction) = self.state.evolve(*event, &mut rows) {
                self.state.forget();
                return Err(contradiction.into());
            }
        }
        self.state.settle();
        self.frontier = frontier;
        self.subtrees.write().extend(&complete);
        for event in &recorded {
            if let Event::SubscriberErased { subscriber } = event.event {
                self.vault.unlearn(*subscriber);
            }
        }
        (self.tell)(News::Recorded(&recorded));
        self.tell_head();
        Ok(())
    }

    /// Keys of subscribers whom another engine registered.
    async fn learn_keys(&mut self) -> Result<(), EventLogError> {
        let mut strangers = Vec::new();
        let (first, last) = (self.frontier.size() + 1, self.log.head().await?.size);
        self.log
            .read(first, last, |stored, _| {
                let id = stored
                    .stream
                    .strip_prefix("subscriber/")
                    .unwrap_or_default();
                strangers.extend(SubscriberId::parse(id));
                Ok(())
            })
            .await?;
        strangers.sort_unstable();
        strangers.dedup();
        for subscriber in strangers {
            if self.vault.key(&subscriber.0).is_none() {
                self.log.learn_key(&mut self.vault, subscriber).await?;
            }
        }
        Ok(())
    }
}

/// A batch that the database refuses for what is in it: a single command is refused; of several,
/// each half is tried alone, so that one cannot hold up the others.
fn isolate(error: &sqlx::Error, submissions: Vec<Submission>) -> Vec<Vec<Submission>> {
    if submissions.len() > 1 {
        warn!(%error, commands = submissions.len(), "the database refuses a batch; trying halves");
        return halves(submissions);
    }
    error!(%error, "the database refuses a command");
    for submission in submissions {
        drop(
            submission
                .answer
                .send(Err(SubmitError::Refused(error.to_string()))),
        );
    }
    Vec::new()
}

fn halves(mut submissions: Vec<Submission>) -> Vec<Vec<Submission>> {
    let second = submissions.split_off(submissions.len() / 2);
    vec![submissions, second]
}

/// A subscriber of these events whose personal data could not be read, and whom none of them erases.
fn nameless(events: &[(Position, Timestamp, Event)]) -> Option<SubscriberId> {
    let mut nameless = BTreeSet::new();
    for (_, _, event) in events {
        match event {
            Event::SubscriberRegistered {
                subscriber,
                verifier: None,
                ..
            }
            | Event::PasswordChanged {
                subscriber,
                verifier: None,
            }
            | Event::UsernameChanged {
                subscriber,
                username: None,
            } => drop(nameless.insert(*subscriber)),
            Event::SubscriberErased { subscriber } => drop(nameless.remove(subscriber)),
            _ => {}
        }
    }
    nameless.first().copied()
}

/// What the database answers, unless it is silent for so long. The connection is of no use then.
async fn answered<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, EventLogError>>,
) -> Result<T, EventLogError> {
    timeout(patience, answer)
        .await
        .unwrap_or_else(|_| Err(EventLogError::Database(sqlx::Error::Io(silence()))))
}

fn silence() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time")
}

type Known = HashMap<Vec<u8>, Position>;

/// Answers what is in the log already; gives back the rest.
fn answer_known(submissions: Vec<Submission>, known: &Known) -> Vec<Submission> {
    let mut rest = Vec::with_capacity(submissions.len());
    for submission in submissions {
        match submission.key.and_then(|it| known.get(&it.to_bytes())) {
            Some(first) => {
                drop(
                    submission
                        .answer
                        .send(Ok(Recording::Before { first: *first })),
                );
            }
            None => rest.push(submission),
        }
    }
    rest
}

/// Completes `grace` after the stop signal. Nobody may be left to give one: then never.
async fn stopped_for(stop: &mut watch::Receiver<bool>, grace: Duration) {
    if stop.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(grace).await;
}
