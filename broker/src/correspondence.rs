//! What the engine and single clients tell each other on `$SYS/access/…`: keys that were made for
//! one client, and answers that are sealed to one. The gate neither makes a key nor opens an
//! answer; it is given functions and bytes, and sees to it that each reaches whom it is for.
//!
//! ```text
//! engine ── makes a key ──▶ $SYS/access/me/key ──▶ the one client that asked for it
//! engine ── answers it ───▶ $SYS/access/me/credential ──▶ the same connection
//!                      └──▶ $SYS/access/keys/KEY/credential ──▶ whoever names the key
//! client ── asks on a topic of requests ──▶ engine ── replies ──▶ $SYS/access/me/…
//! ```
//!
//! A client that never asks costs nothing. Whoever asks has an [`Inbox`], which is rung when
//! something comes; what there is he looks up here, under one lock, so that nothing is missed and
//! nothing told twice.

mod answers;
mod inbox;
mod requests;
mod topics;

pub(crate) use inbox::Inbox;
pub(crate) use requests::{
    Letter, Place, REQUEST, Response, Unasked, Way, check_size, may_be_request,
};
pub use requests::{Reply, Request, RequestTopic};
pub(crate) use topics::{CREDENTIAL, KEY, KeyId, KeyTopic, answers_to, key_topic};

use crate::clock::Clock;
use crate::limits::Limits;
use crate::statistics::Counters;
use answers::Answers;
use inbox::Listeners;
use parking_lot::{Mutex, RwLock};
use requests::Requests;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanglegate_core::Timestamp;
use tokio::sync::mpsc;

/// Longest key announcement and longest answer, in bytes: the longest sealed receipt has 4,145.
pub(crate) const LETTER: usize = 5 << 10;

/// A key that was made for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNews {
    /// Its identity, which no other key has.
    pub key_id: [u8; 16],
    /// What the client is told, at most 5 KiB.
    pub payload: Arc<[u8]>,
    /// Exclusive end of its use. After three quarters of the time until then a client that asks
    /// again is given another one.
    pub valid_until: Timestamp,
}

/// An answer to whoever was given a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAnswer {
    /// The key.
    pub key_id: [u8; 16],
    /// What he is told, at most 5 KiB.
    pub payload: Arc<[u8]>,
    /// Exclusive end of its being told to whoever asks.
    pub expires: Timestamp,
}

/// Something that is longer than clients are told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an answer of {0} bytes cannot be told; {LETTER} bytes are the most")]
pub struct TooLong(pub usize);

type MakeKey = dyn Fn(Timestamp) -> KeyNews + Send + Sync;

/// What the engine and single clients tell each other. Cheap to clone.
#[derive(Clone)]
pub struct Correspondence(Arc<Shared>);

struct Shared {
    make_key: RwLock<Option<Arc<MakeKey>>>,
    /// Changes when all keys are to be replaced.
    generation: AtomicU64,
    post: Mutex<Post>,
    requests: RwLock<Option<Requests>>,
    requests_waiting: usize,
    clock: Clock,
    counters: Arc<Counters>,
}

/// Under one lock: an answer is either found by whoever begins to listen, or he is rung for it.
struct Post {
    answers: Answers,
    listeners: Listeners,
}

impl Correspondence {
    pub(crate) fn new(limits: &Limits, clock: Clock, counters: Arc<Counters>) -> Self {
        let post = Post {
            answers: Answers::new(limits.answers, limits.answer_bytes),
            listeners: Listeners::default(),
        };
        Self(Arc::new(Shared {
            make_key: RwLock::new(None),
            generation: AtomicU64::new(0),
            post: Mutex::new(post),
            requests: RwLock::new(None),
            requests_waiting: limits.engine_requests_waiting,
            clock,
            counters,
        }))
    }

    /// From now on keys are made by `make`, which is told the time and called on the threads that
    /// serve clients: it must neither wait nor take long. Before this is said, nobody is told a
    /// key; who has asked by then is told one now.
    pub fn serve_keys(&self, make: impl Fn(Timestamp) -> KeyNews + Send + Sync + 'static) {
        *self.0.make_key.write() = Some(Arc::new(make));
        self.replace_keys();
    }

    /// The keys that were made are to be replaced, e.g. because the secret behind them was:
    /// clients that listen are told new ones. Answers to the last few that a client was given
    /// still reach it.
    pub fn replace_keys(&self) {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        let everybody = self.0.post.lock().listeners.all();
        everybody.iter().for_each(|it| it.ring());
    }

    /// Keeps an answer and tells it to whoever listens now. One that is kept already is not told
    /// again. Beyond the bounds (`gate.limits.answers`, `gate.limits.answer_bytes`, eight to one
    /// key) the oldest ones are forgotten, and counted.
    ///
    /// # Errors
    /// When it is too long.
    pub fn answer(&self, answer: SealedAnswer) -> Result<(), TooLong> {
        let SealedAnswer {
            key_id,
            payload,
            expires,
        } = answer;
        if payload.len() > LETTER {
            return Err(TooLong(payload.len()));
        }
        let now = self.0.clock.now();
        let listening = {
            let mut post = self.0.post.lock();
            post.answers.expire(now);
            if expires <= now {
                return Ok(());
            }
            let Some(dropped) = post.answers.add(key_id, payload, expires) else {
                return Ok(());
            };
            self.0.counters.dropped_answers.add(dropped);
            post.listeners.of(&key_id)
        };
        listening.iter().for_each(|it| it.ring());
        Ok(())
    }

    /// The answers to that key were picked up, or are void: nobody is told them any more.
    pub fn forget(&self, key_id: &[u8; 16]) {
        self.0.post.lock().answers.forget(key_id);
    }

    /// From now on what clients publish on these topics is for the engine alone: it comes out of
    /// what this returns, is passed to no reader and never retained. So many may wait there as
    /// `gate.limits.engine_requests_waiting` says; who asks for more is refused. Said again, it
    /// counts instead of what was said before.
    ///
    /// # Panics
    /// When a topic is one of the gate's own, `me/…` or `keys/…`.
    #[must_use = "requests that nobody takes are refused"]
    pub fn serve_requests(&self, topics: &[RequestTopic]) -> mpsc::Receiver<Request> {
        for RequestTopic { name, .. } in topics {
            let own = name.starts_with("me/") || name.starts_with("keys/");
            assert!(!own, "{name} is a topic of the gate's own");
        }
        let (requests, taken) = Requests::new(topics, self.0.requests_waiting);
        *self.0.requests.write() = Some(requests);
        taken
    }

    /// The way to the engine from that topic; `None` when it takes no requests there.
    pub(crate) fn way(&self, topic: &str) -> Option<Way> {
        self.0.requests.read().as_ref()?.way(topic)
    }

    /// A new key; `None` where nobody makes any, or what he made is too long to be told.
    pub(crate) fn make_key(&self, now: Timestamp) -> Option<KeyNews> {
        let make = self.0.make_key.read().clone()?;
        let key = make(now);
        self.0.counters.keys.one();
        if key.payload.len() > LETTER {
            tracing::error!(bytes = key.payload.len(), "a key is too long to be told");
            return None;
        }
        Some(key)
    }

    /// Which generation of keys is the present one.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// A place for a connection.
    pub(crate) fn enter(&self, inbox: &Arc<Inbox>) -> u64 {
        self.0.post.lock().listeners.enter(Arc::clone(inbox))
    }

    /// Has whoever has the place rung when an answer to `key` comes.
    pub(crate) fn listen(&self, place: u64, key: KeyId) {
        self.0.post.lock().listeners.listen(place, key);
    }

    /// No more.
    pub(crate) fn stop(&self, place: u64, key: &KeyId) {
        self.0.post.lock().listeners.stop(place, key);
    }

    /// The connection that had the place and listened for `keys` is over.
    pub(crate) fn leave<'a>(&self, place: u64, keys: impl Iterator<Item = &'a KeyId>) {
        self.0.post.lock().listeners.leave(place, keys);
    }

    /// The answers to a key that came after number `told`, with their numbers; at most eight.
    pub(crate) fn answers(&self, key: &KeyId, told: u64, now: Timestamp) -> Vec<(u64, Arc<[u8]>)> {
        self.0.post.lock().answers.after(key, told, now)
    }

    /// Number of the last answer that came.
    pub(crate) fn last_answer(&self) -> u64 {
        self.0.post.lock().answers.last()
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&self, now: Timestamp) {
        self.0.post.lock().answers.expire(now);
    }

    /// How many answers are kept, and their bytes with what keeping them costs.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.0.post.lock().answers.size()
    }
}

impl fmt::Debug for Correspondence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Correspondence(..)")
    }
}
