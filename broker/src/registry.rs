//! Which sessions there are under which client identifiers, and who serves each of them.
//!
//! A session belongs to a login and one of its client identifiers: nobody can take over another
//! login's session. **At most one connection has a session at any time**: it holds the [`Claim`]
//! to it. Whoever connects under the same identifier orders that connection to end, waits until
//! it has given the claim up, and gets the session as it was left ([MQTT-3.1.4-3]). Those who
//! wait are served in the order in which they came, so that the last one stays.
//!
//! An anonymous client has no login to own a session, so its identifier stands for its
//! connection alone: two anonymous clients may use the same one, and neither ends the other.
//! Without that, anybody could cut any anonymous client off, or read what is kept for it.
//! Their sessions are not in here, and end with their connections.

mod away;
#[cfg(test)]
mod tests;

pub(crate) use away::{Away, Due};

use crate::session::{Handle, LastWord, Order, Then};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tanglegate_core::{SubscriberId, Timestamp};
use tokio::sync::{Notify, oneshot};

/// Time for a connection to give its session up to the next one. After it, the connection is
/// cut off; after twice that, the client that waits is turned away.
const PATIENCE: Duration = Duration::from_secs(5);

/// A login and one of its client identifiers.
pub(crate) type Key = (SubscriberId, Arc<str>);

/// Sessions of logins.
#[derive(Debug)]
pub(crate) struct Registry {
    sessions: Mutex<Sessions>,
    /// A session has something due earlier than all others.
    earlier: Notify,
    /// Most sessions that are kept, in all and for one login.
    most: (usize, usize),
    patience: Duration,
}

#[derive(Debug, Default)]
struct Sessions {
    entries: HashMap<Key, Entry>,
    /// The sessions whose clients are away, by when something is due of them.
    due: BTreeMap<(Timestamp, u64), Key>,
    /// Sessions that a later one of their login and identifier has followed before the server
    /// ended, which had not recorded their ends by then.
    followed: Vec<Away>,
    /// Sessions that outlive their connection, or will: in all, and by login.
    kept: usize,
    kept_of: HashMap<SubscriberId, usize>,
}

#[derive(Debug)]
enum Entry {
    /// A connection serves it, or is about to. Those who connected later wait.
    Claimed {
        serving: Option<Arc<Handle>>,
        waiting: VecDeque<oneshot::Sender<Claim>>,
    },
    Away(Away),
}

/// The sole right to serve the sessions of a login under one client identifier. Dropping it
/// gives it up.
#[derive(Debug)]
pub(crate) struct Claim {
    registry: Arc<Registry>,
    key: Key,
    found: Option<Away>,
    /// There is a place among the kept sessions for it.
    kept: bool,
    /// False when somebody else has got it.
    is_open: bool,
}

/// The connection that has the session does not give it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another connection under this client identifier does not end; try again later")]
pub(crate) struct StillServed;

impl Registry {
    /// A registry that keeps so many sessions in all, and so many of one login.
    pub(crate) fn new(kept: usize, kept_of_one: usize) -> Arc<Self> {
        Self::with_patience(kept, kept_of_one, PATIENCE)
    }

    fn with_patience(kept: usize, kept_of_one: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            sessions: Mutex::default(),
            earlier: Notify::new(),
            most: (kept, kept_of_one),
            patience,
        })
    }

    /// Gets the claim under `key`, after all who came before have given it up.
    ///
    /// # Errors
    /// When the one before does not give it up in time.
    pub(crate) async fn claim(self: &Arc<Self>, key: Key) -> Result<Claim, StillServed> {
        let mut turn = match self.enter(&key) {
            Ok(found) => {
                return Ok(Claim {
                    registry: Arc::clone(self),
                    key,
                    kept: found.is_some(),
                    found,
                    is_open: true,
                });
            }
            Err(turn) => turn,
        };
        if let Ok(claim) = tokio::time::timeout(self.patience, &mut turn).await {
            return claim.map_err(|_| StillServed);
        }
        if let Some(Entry::Claimed {
            serving: Some(handle),
            ..
        }) = self.sessions.lock().entries.get(&key)
        {
            handle.cut_off();
        }
        match tokio::time::timeout(self.patience, turn).await {
            Ok(Ok(claim)) => Ok(claim),
            _ => Err(StillServed),
        }
    }

    /// True when the login uses the identifier.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.sessions.lock().entries.contains_key(key)
    }

    /// Takes what is there under `key`, or a place behind those who have it or wait for it.
    fn enter(&self, key: &Key) -> Result<Option<Away>, oneshot::Receiver<Claim>> {
        let mut sessions = self.sessions.lock();
        let sessions = &mut *sessions;
        if let Some(Entry::Claimed { serving, waiting }) = sessions.entries.get_mut(key) {
            let (sender, turn) = oneshot::channel();
            waiting.push_back(sender);
            if let Some(handle) = serving {
                handle.outbox.order(Order::TakenOver);
            }
            return Err(turn);
        }
        let claimed = Entry::Claimed {
            serving: None,
            waiting: VecDeque::new(),
        };
        Ok(match sessions.entries.insert(key.clone(), claimed) {
            Some(Entry::Away(away)) => {
                sessions.due.remove(&away.due());
                Some(away)
            }
            _ => None,
        })
    }

    /// Takes a session in whose client is away, e.g. one that was kept over a restart. Of two
    /// under one key the later one goes on: the server has ended between the beginning of that
    /// and the end of the other, which is due at once.
    pub(crate) fn restore(&self, key: Key, mut away: Away) {
        let mut guard = self.sessions.lock();
        let sessions = &mut *guard;
        match sessions.entries.get_mut(&key) {
            Some(Entry::Away(known)) => {
                if known.handle.session < away.handle.session {
                    sessions.due.remove(&known.due());
                    std::mem::swap(known, &mut away);
                    sessions.due.insert(known.due(), key);
                }
                sessions.followed.push(away);
            }
            // Its client has a later one already.
            Some(Entry::Claimed { .. }) => sessions.followed.push(away),
            None => {
                sessions.count_kept(key.0);
                sessions.put_away(key, away);
            }
        }
        drop(guard);
        self.earlier.notify_one();
    }

    /// Sessions whose clients are away.
    pub(crate) fn away(&self) -> usize {
        self.sessions.lock().due.len()
    }

    /// The instant of what is due first.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let sessions = self.sessions.lock();
        if !sessions.followed.is_empty() {
            return Some(Timestamp(0));
        }
        let (first, _) = sessions.due.first_key_value()?;
        (first.0 != Timestamp::FOREVER).then_some(first.0)
    }

    /// Returns once something is due earlier than what was due first.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }

    /// Takes the first thing that is due at `now`.
    pub(crate) fn take_due(&self, now: Timestamp) -> Option<Due> {
        let mut sessions = self.sessions.lock();
        if let Some(Away { handle, will, .. }) = sessions.followed.pop() {
            return Some(Due::End(handle, will.map(|(_, will)| will)));
        }
        loop {
            let first = sessions.due.first_entry().filter(|it| it.key().0 <= now)?;
            let ((_, session), key) = first.remove_entry();
            // Nothing is due of a session that is not there any more.
            let Some(mut away) = sessions.take_away(&key, session) else {
                continue;
            };
            let will = away.will.take().map(|(_, will)| will);
            if away.ends_at() <= now {
                sessions.uncount_kept(key.0);
                return Some(Due::End(away.handle, will));
            }
            let (handle, then) = (Arc::clone(&away.handle), Then::Forget(away.since));
            sessions.put_away(key, away);
            if let Some(will) = will {
                return Some(Due::Will(LastWord { handle, will, then }));
            }
        }
    }

    /// The will of a session was published: the store forgets it, if its client is still away
    /// since then. Else its next connection has told the store of another one, or of none.
    pub(crate) fn forget_will(&self, handle: &Handle, since: Timestamp) {
        let Some(subject) = handle.subject else {
            return;
        };
        // Under the lock, so that nobody who connects meanwhile has told the store of it before.
        let sessions = self.sessions.lock();
        let key = (subject, Arc::clone(&handle.client_id));
        if let Some(Entry::Away(away)) = sessions.entries.get(&key)
            && (away.handle.session, away.since) == (handle.session, since)
        {
            let _less = away.handle.outbox.lock().hold(|held| held.will = 0);
            away.handle.record_away(away);
        }
    }

    /// Hands what is under `key` to the next one who waits for it, or leaves it there.
    fn give_up(self: &Arc<Self>, key: &Key, mut session: Option<Away>) {
        while let Some(next) = self.next_waiting(key, &mut session) {
            let mut claim = Claim {
                registry: Arc::clone(self),
                key: key.clone(),
                kept: session.is_some(),
                found: session,
                is_open: true,
            };
            match next.send(claim) {
                Ok(()) => return,
                // He has gone meanwhile: it is for the one behind him.
                Err(unwanted) => {
                    claim = unwanted;
                    claim.is_open = false;
                    session = claim.found.take();
                }
            }
        }
        self.earlier.notify_one();
    }

    /// The next one who waits. When nobody does, the session is put away, or there is none.
    fn next_waiting(
        &self,
        key: &Key,
        session: &mut Option<Away>,
    ) -> Option<oneshot::Sender<Claim>> {
        let mut sessions = self.sessions.lock();
        match sessions.entries.get_mut(key) {
            Some(Entry::Claimed { serving, waiting }) => {
                *serving = None;
                if let Some(next) = waiting.pop_front() {
                    return Some(next);
                }
            }
            _ => unreachable!("a claim stands until it is given up"),
        }
        match session.take() {
            Some(away) => sessions.put_away(key.clone(), away),
            None => drop(sessions.entries.remove(key)),
        }
        None
    }
}

impl Claim {
    /// The session that its last client has left.
    pub(crate) fn found(&self) -> Option<&Away> {
        self.found.as_ref()
    }

    /// Its will was published.
    pub(crate) fn forget_will(&mut self) {
        if let Some(found) = &mut self.found {
            found.will = None;
        }
    }

    /// Takes the session that its last client has left.
    pub(crate) fn take_found(&mut self) -> Option<Away> {
        self.found.take()
    }

    /// Takes a place among the sessions that outlive their connection; false when all are
    /// taken.
    pub(crate) fn keep(&mut self) -> bool {
        if self.kept {
            return true;
        }
        let mut sessions = self.registry.sessions.lock();
        let (most, most_of_one) = self.registry.most;
        let of_one = sessions.kept_of.get(&self.key.0).copied().unwrap_or(0);
        if sessions.kept >= most || of_one >= most_of_one {
            return false;
        }
        sessions.count_kept(self.key.0);
        self.kept = true;
        true
    }

    /// Gives that place back.
    pub(crate) fn keep_no_more(&mut self) {
        if std::mem::take(&mut self.kept) {
            self.registry.sessions.lock().uncount_kept(self.key.0);
        }
    }

    /// From now on a connection serves the session. It is ordered to end as soon as somebody
    /// waits for the claim.
    pub(crate) fn serve(&self, handle: &Arc<Handle>) {
        let mut sessions = self.registry.sessions.lock();
        if let Some(Entry::Claimed { serving, waiting }) = sessions.entries.get_mut(&self.key) {
            *serving = Some(Arc::clone(handle));
            if !waiting.is_empty() {
                handle.outbox.order(Order::TakenOver);
            }
        }
    }

    /// Gives the claim up, and leaves a session that is kept for its client.
    ///
    /// # Panics
    /// When there is no place for it.
    pub(crate) fn leave(mut self, away: Away) {
        assert!(self.kept, "whoever is kept has taken a place");
        self.found = Some(away);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let found = self.found.take();
        if found.is_none() {
            self.keep_no_more();
        }
        self.registry.give_up(&self.key, found);
    }
}

impl Sessions {
    fn put_away(&mut self, key: Key, away: Away) {
        self.due.insert(away.due(), key.clone());
        self.entries.insert(key, Entry::Away(away));
    }

    /// Takes this session out, if its client is away.
    fn take_away(&mut self, key: &Key, session: u64) -> Option<Away> {
        let is_it = |it: &Entry| matches!(it, Entry::Away(it) if it.handle.session == session);
        self.entries.get(key).filter(|it| is_it(it))?;
        match self.entries.remove(key) {
            Some(Entry::Away(away)) => Some(away),
            _ => None,
        }
    }

    fn count_kept(&mut self, subject: SubscriberId) {
        self.kept += 1;
        *self.kept_of.entry(subject).or_default() += 1;
    }

    fn uncount_kept(&mut self, subject: SubscriberId) {
        self.kept -= 1;
        match self.kept_of.get_mut(&subject) {
            Some(more) if *more > 1 => *more -= 1,
            _ => drop(self.kept_of.remove(&subject)),
        }
    }
}
