//! Where a connection hears that something has come for it alone, and who listens for what.

use super::KeyId;
use super::requests::Letter;
use crate::outbox::Outbox;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One connection's, which it makes when it first asks for a key or for answers.
#[derive(Debug)]
pub(crate) struct Inbox {
    outbox: Arc<Outbox>,
    news: AtomicBool,
    /// Requests of the connection that wait for the engine, or whose answers for the client.
    open: AtomicUsize,
    letters: Mutex<Vec<Letter>>,
}

impl Inbox {
    /// Of the connection that serves this outbox.
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self {
            outbox,
            news: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            letters: Mutex::default(),
        }
    }

    /// Begins a request; false when `most` are open.
    pub(super) fn open_one(&self, most: usize) -> bool {
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        let more = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(set, read, more).is_ok()
    }

    /// A request is over.
    pub(super) fn close_one(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// An answer for the client; there are no more of them than open requests.
    pub(super) fn put(&self, letter: Letter) {
        self.letters.lock().push(letter);
        self.ring();
    }

    /// The answers that have come.
    pub(crate) fn take(&self) -> Vec<Letter> {
        std::mem::take(&mut *self.letters.lock())
    }

    /// Has the connection look what there is.
    pub(super) fn ring(&self) {
        self.news.store(true, Ordering::Release);
        self.outbox.wake();
    }

    /// True when there may be something that the connection has not looked at.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// The connection looks at everything now.
    pub(crate) fn look(&self) -> bool {
        self.news.swap(false, Ordering::AcqRel)
    }
}

/// The connections that have an inbox, and the keys whose answers they wait for. As many entries
/// as they hold, each of which counts with what its client makes the gate hold.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// By places, which are never used again.
    inboxes: HashMap<u64, Arc<Inbox>>,
    of_key: HashMap<KeyId, Vec<u64>>,
    last: u64,
}

impl Listeners {
    /// A connection takes a place.
    pub(super) fn enter(&mut self, inbox: Arc<Inbox>) -> u64 {
        self.last += 1;
        self.inboxes.insert(self.last, inbox);
        self.last
    }

    /// Whoever has the place is rung when an answer to `key` comes.
    pub(super) fn listen(&mut self, place: u64, key: KeyId) {
        let places = self.of_key.entry(key).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
    }

    /// He is not any more.
    pub(super) fn stop(&mut self, place: u64, key: &KeyId) {
        if let Some(places) = self.of_key.get_mut(key) {
            places.retain(|it| *it != place);
            if places.is_empty() {
                self.of_key.remove(key);
            }
        }
    }

    /// The connection is over; it listened for `keys`.
    pub(super) fn leave<'a>(&mut self, place: u64, keys: impl Iterator<Item = &'a KeyId>) {
        keys.for_each(|it| self.stop(place, it));
        self.inboxes.remove(&place);
    }

    /// Who waits for answers to `key`.
    pub(super) fn of(&self, key: &KeyId) -> Vec<Arc<Inbox>> {
        let places = self.of_key.get(key).into_iter().flatten();
        places
            .filter_map(|it| self.inboxes.get(it))
            .cloned()
            .collect()
    }

    /// Everybody.
    pub(super) fn all(&self) -> Vec<Arc<Inbox>> {
        self.inboxes.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Handle;

    #[test]
    fn whoever_listens_is_found_and_nothing_is_left_of_who_is_gone() {
        let mut listeners = Listeners::default();
        let places: Vec<u64> = (0..3)
            .map(|_| listeners.enter(Arc::new(Inbox::new(Arc::clone(&Handle::alone().outbox)))))
            .collect();
        let (one, other) = ([1; 16], [2; 16]);
        for place in &places {
            listeners.listen(*place, one);
            listeners.listen(*place, one);
        }
        listeners.listen(places[0], other);
        assert_eq!(
            (listeners.of(&one).len(), listeners.of(&other).len()),
            (3, 1)
        );
        listeners.stop(places[0], &one);
        assert_eq!((listeners.of(&one).len(), listeners.all().len()), (2, 3));
        listeners.leave(places[0], [one, other].iter());
        for place in &places[1..] {
            listeners.leave(*place, [one].iter());
        }
        assert!(listeners.inboxes.is_empty() && listeners.of_key.is_empty());
    }
}
