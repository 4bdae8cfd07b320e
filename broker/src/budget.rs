//! Memory that many clients share: bounded for all of them together, and shared out so that
//! nobody can use up what the others need.
//!
//! A [`Share`] is one client's part. It lies where the client's bytes lie, under the same lock,
//! and takes from the budget in chunks: a message that fits into what its client holds already
//! touches nothing that other threads touch. The first [`FREE`] bytes of each client are its own
//! and not counted here; they belong to what a connection costs at rest.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

/// Bytes that every client may hold whatever the others do: room for some messages, and for a
/// subscription or two.
pub(crate) const FREE: usize = 2 << 10;
/// Bytes taken at a time, where there are as many.
const CHUNK: usize = 4 << 10;

/// What all clients of one kind may hold together, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    most: usize,
    taken: AtomicUsize,
    /// How often bytes were given back.
    given: AtomicU64,
    /// Who is to be woken when bytes are given back, by session.
    waiting: Mutex<HashMap<u64, Waker>>,
    anybody_waits: AtomicBool,
}

/// What one client holds. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    /// Bytes taken from the budget; those in use beyond [`FREE`] are among them.
    taken: usize,
    used: usize,
}

impl Budget {
    /// A budget of `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            taken: AtomicUsize::new(0),
            given: AtomicU64::new(0),
            waiting: Mutex::default(),
            anybody_waits: AtomicBool::new(false),
        }
    }

    /// Bytes that clients may take.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Bytes that clients have taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes `more` bytes for somebody who has `taken` of them, unless he then had more than was
    /// left for all others. So a few never use the budget up: of n clients that take all they
    /// can get, each gets as much as is left then, and the next one gets half of that.
    fn take(&self, more: usize, taken: usize) -> bool {
        let fits = |all: usize| {
            let left = self.most.checked_sub(all)?.checked_sub(more)?;
            (taken + more <= left).then_some(all + more)
        };
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.taken.fetch_update(set, read, fits).is_ok()
    }

    fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.taken.fetch_sub(bytes, Ordering::SeqCst);
        self.given.fetch_add(1, Ordering::SeqCst);
        if self.anybody_waits.load(Ordering::SeqCst) {
            self.wake_all();
        }
    }

    /// How often bytes were given back. Whoever was refused waits only while this is what it was
    /// before he asked.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }

    /// Has a session's task woken when bytes are given back after this.
    pub(crate) fn wake_when_given(&self, session: u64, task: &Waker) {
        let mut waiting = self.waiting.lock();
        waiting.insert(session, task.clone());
        self.anybody_waits.store(true, Ordering::SeqCst);
    }

    /// The session is nobody's any more: its task is not woken, nor kept for that.
    pub(crate) fn forget(&self, session: u64) {
        if self.anybody_waits.load(Ordering::SeqCst) {
            self.waiting.lock().remove(&session);
        }
    }

    fn wake_all(&self) {
        let woken = {
            let mut waiting = self.waiting.lock();
            self.anybody_waits.store(false, Ordering::SeqCst);
            std::mem::take(&mut *waiting)
        };
        woken.into_values().for_each(Waker::wake);
    }
}

impl Share {
    /// A share without anything in it.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            taken: 0,
            used: 0,
        }
    }

    #[cfg(test)]
    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    #[cfg(test)]
    /// Uses `bytes` more; false, and nothing changes, when there are not as many.
    #[must_use]
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        self.hold(self.used.saturating_add(bytes))
    }

    #[cfg(test)]
    /// Uses `bytes` less.
    ///
    /// # Panics
    /// When fewer are in use.
    pub(crate) fn give(&mut self, bytes: usize) {
        let left = self.used.checked_sub(bytes);
        let left = left.expect("nobody gives back more than he has taken");
        let _less = self.hold(left);
    }

    /// Uses `bytes` from now on; false, and nothing changes, when there are not as many. Less is
    /// always granted.
    #[must_use]
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let needed = bytes.saturating_sub(FREE);
        if needed > self.taken && !self.grow(needed - self.taken) {
            return false;
        }
        self.used = bytes;
        // A little is kept, so that a queue that comes and goes does not ask each time.
        if bytes == 0 || self.taken - needed >= 4 * CHUNK {
            self.rest();
        }
        true
    }

    /// Gives back what is kept beyond the bytes in use: for a while, the client asks for nothing.
    pub(crate) fn rest(&mut self) {
        let needed = self.used.saturating_sub(FREE);
        self.budget.give(self.taken - needed);
        self.taken = needed;
    }

    /// Uses `bytes` from now on, whether there are as many or not: what was promised before. While
    /// more are taken than there are, nobody gets any.
    pub(crate) fn hold_anyway(&mut self, bytes: usize) {
        if !self.hold(bytes) {
            let more = bytes.saturating_sub(FREE).saturating_sub(self.taken);
            self.budget.taken.fetch_add(more, Ordering::Relaxed);
            self.taken += more;
            self.used = bytes;
        }
    }

    fn grow(&mut self, more: usize) -> bool {
        let chunks = more.next_multiple_of(CHUNK);
        for more in [chunks, more] {
            if self.budget.take(more, self.taken) {
                self.taken += more;
                return true;
            }
        }
        false
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(most: usize) -> Arc<Budget> {
        Arc::new(Budget::new(most))
    }

    #[test]
    fn the_first_bytes_are_everybodys_own() {
        let budget = budget(0);
        let mut share = Share::new(&budget);
        assert!(share.take(FREE));
        assert!(!share.take(1));
        assert_eq!(share.used(), FREE);
        share.give(FREE);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn nobody_takes_what_the_next_one_needs() {
        let budget = budget(1 << 20);
        let mut greedy: Vec<Share> = (0..9).map(|_| Share::new(&budget)).collect();
        let mut any = true;
        while any {
            any = false;
            for share in &mut greedy {
                any |= share.take(100);
            }
        }
        let mut next = Share::new(&budget);
        assert!(next.take((1 << 20) / 20 - CHUNK), "{}", budget.taken());
        for share in &greedy {
            assert!(share.used() > (1 << 20) / 11, "{}", share.used());
        }
    }

    #[test]
    fn nobody_waits_who_is_gone() {
        let budget = budget(100_000);
        for session in 1..=9 {
            budget.wake_when_given(session, Waker::noop());
            budget.forget(session);
        }
        assert!(budget.waiting.lock().is_empty());
    }

    #[test]
    fn whoever_waits_is_woken_when_something_is_given_back() {
        struct Woken(AtomicU64);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (budget, woken) = (budget(100_000), Arc::new(Woken(AtomicU64::new(0))));
        let mut share = Share::new(&budget);
        assert!(share.take(40_000));
        let before = budget.given();
        budget.wake_when_given(1, &Waker::from(Arc::clone(&woken)));
        assert_eq!(budget.given(), before);
        share.give(40_000);
        assert_ne!(budget.given(), before);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(share.take(40_000));
        drop(share);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "once only");
    }

    #[test]
    fn what_a_client_held_is_free_again_when_it_is_gone() {
        let budget = budget(1 << 20);
        let mut share = Share::new(&budget);
        assert!(share.take(100_000));
        assert!(budget.taken() >= 100_000 - FREE);
        drop(share);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn what_was_promised_is_held_and_nobody_gets_more_meanwhile() {
        let budget = budget(10_000);
        let (mut kept, mut next) = (Share::new(&budget), Share::new(&budget));
        kept.hold_anyway(50_000);
        assert_eq!(budget.taken(), 50_000 - FREE);
        assert!(!next.hold(FREE + 1) && !kept.hold(50_001));
        assert!(kept.hold(0) && next.hold(FREE + 1));
    }

    #[test]
    fn a_queue_that_comes_and_goes_in_small_pieces_asks_seldom() {
        let budget = budget(1 << 20);
        let mut share = Share::new(&budget);
        assert!(share.take(FREE + 1));
        let taken = budget.taken();
        for _ in 0..100 {
            assert!(share.take(1_000));
            share.give(1_000);
        }
        assert_eq!(budget.taken(), taken);
    }

    #[test]
    fn clients_at_rest_keep_nothing_that_they_do_not_use() {
        let budget = budget(1 << 20);
        // More of them than there are chunks, and each holds a little all the time.
        let mut resting = vec![];
        for _ in 0..1_000 {
            let mut share = Share::new(&budget);
            assert!(share.take(FREE + 1));
            assert!(share.take(3_000), "{} are at rest", resting.len());
            share.give(3_000);
            share.rest();
            resting.push(share);
        }
        assert_eq!(budget.taken(), 1_000);
    }

    proptest! {
        #[test]
        fn what_is_taken_covers_what_is_used_and_stays_below_the_bound(
            steps in prop::collection::vec((0usize..4, any::<bool>(), 0usize..20_000), 1..200)
        ) {
            let budget = budget(100_000);
            let mut shares: Vec<Share> = (0..4).map(|_| Share::new(&budget)).collect();
            for (who, takes, bytes) in steps {
                let share = &mut shares[who];
                let before = share.used();
                if takes {
                    let taken = share.take(bytes);
                    prop_assert_eq!(share.used(), before + if taken { bytes } else { 0 });
                } else {
                    share.give(bytes.min(before));
                }
                let used: usize = shares.iter().map(|it| it.used().saturating_sub(FREE)).sum();
                prop_assert!(used <= budget.taken() && budget.taken() <= 100_000);
                let held: usize = shares.iter().map(|it| it.taken).sum();
                prop_assert_eq!(held, budget.taken());
            }
            drop(shares);
            prop_assert_eq!(budget.taken(), 0);
        }
    }
}
