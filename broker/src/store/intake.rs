//! Where changes are handed in, and where those wait who want them safe.

use super::batch::Batch;
use super::change::Change;
use super::{Mark, StoreError};
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

/// Bytes of changes that may wait to be written before those who bring messages are slowed
/// down. What is recorded beyond is still taken.
pub(super) const ROOM: usize = 8 << 20;

/// What is to be done once changes are safe.
pub(super) type Then = Box<dyn FnOnce() + Send>;

/// How the store is.
#[derive(Debug, Clone)]
pub(super) enum Life {
    Running,
    Failed(StoreError),
    Closed,
}

/// What the writer and those who record share.
pub(super) struct Intake {
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Condvar,
    /// The last batch that is safe.
    written: AtomicU64,
    /// Wakes those who wait for room.
    room: Notify,
    pub(super) life: watch::Sender<Life>,
}

struct State {
    /// The batch that changes are added to.
    open: Batch,
    /// Who waits for it.
    waiting: Vec<Then>,
    /// Who waits for the batch that is being written.
    waiting_for_written: Vec<Then>,
    /// Bytes of the batch that is being written.
    being_written: usize,
    /// How many changes those are.
    changes_being_written: usize,
    writer_sleeps: bool,
    /// Nothing is written any more after what is recorded now.
    closing: bool,
    /// Nothing is taken any more.
    stopped: bool,
}

impl State {
    fn is_full(&self) -> bool {
        self.open.bytes() + self.being_written > ROOM
    }

    /// True also when nothing is taken any more: nothing grows then.
    fn has_room(&self) -> bool {
        self.stopped || !self.is_full()
    }
}

impl Intake {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                open: Batch::new(1),
                waiting: vec![],
                waiting_for_written: vec![],
                being_written: 0,
                changes_being_written: 0,
                writer_sleeps: false,
                closing: false,
                stopped: false,
            }),
            wake: Condvar::new(),
            written: AtomicU64::new(0),
            room: Notify::new(),
            life: watch::Sender::new(Life::Running),
        }
    }

    /// Adds a change to the open batch.
    pub(super) fn record(&self, change: Change) -> Mark {
        self.record_together([change])
    }

    /// Adds changes to the open batch, all to the same.
    pub(super) fn record_together<const N: usize>(&self, changes: [Change; N]) -> Mark {
        let mut state = self.state.lock();
        if state.stopped {
            return Mark::NEVER;
        }
        let was_full = state.is_full();
        changes.into_iter().for_each(|it| state.open.add(it));
        let mark = Mark(state.open.number);
        let has_room_again = was_full && !state.is_full();
        let wake = std::mem::take(&mut state.writer_sleeps);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        if has_room_again {
            self.room.notify_waiters();
        }
        mark
    }

    pub(super) fn latest(&self) -> Mark {
        let state = self.state.lock();
        if state.stopped {
            return Mark::NEVER;
        }
        let nothing_new = u64::from(!state.open.is_used);
        Mark(state.open.number - nothing_new)
    }

    pub(super) fn is_safe(&self, mark: Mark) -> bool {
        mark.0 <= self.written.load(Ordering::Acquire)
    }

    pub(super) fn when_safe(&self, mark: Mark, then: Then) {
        if !self.is_safe(mark) {
            let mut state = self.state.lock();
            // Batches become safe under the lock.
            if !self.is_safe(mark) {
                if state.stopped || mark.0 > state.open.number {
                    drop(state);
                    drop(then);
                } else if mark.0 == state.open.number {
                    state.waiting.push(then);
                } else {
                    state.waiting_for_written.push(then);
                }
                return;
            }
        }
        then();
    }

    /// Returns once there is room for more changes, or nothing is taken any more.
    pub(super) async fn room(&self) {
        loop {
            let mut room = pin!(self.room.notified());
            // From here on no notification is missed.
            room.as_mut().enable();
            if self.state.lock().has_room() {
                return;
            }
            room.await;
        }
    }

    /// Changes that are not written, and their bytes.
    pub(super) fn backlog(&self) -> (usize, usize) {
        let state = self.state.lock();
        (
            state.open.len() + state.changes_being_written,
            state.open.bytes() + state.being_written,
        )
    }

    /// Asks the writer to write what was recorded and stop.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_one();
    }

    /// The next batch to write. Waits for changes, unless there is `other_work`. `None` when the
    /// store closes and all is written; nothing is taken any more from then on.
    pub(super) fn next(&self, other_work: bool) -> Option<Batch> {
        let mut state = self.state.lock();
        while !state.open.is_used {
            if state.closing {
                state.stopped = true;
                return None;
            }
            if other_work {
                break;
            }
            state.writer_sleeps = true;
            self.wake.wait(&mut state);
        }
        state.writer_sleeps = false;
        let next = Batch::new(state.open.number + 1);
        let batch = std::mem::replace(&mut state.open, next);
        state.waiting_for_written = std::mem::take(&mut state.waiting);
        state.being_written = batch.bytes();
        state.changes_being_written = batch.len();
        Some(batch)
    }

    /// A batch is safe: tells all who wait for it.
    pub(super) fn written(&self, number: u64) {
        let mut state = self.state.lock();
        self.written.store(number, Ordering::Release);
        (state.being_written, state.changes_being_written) = (0, 0);
        let waiting = std::mem::take(&mut state.waiting_for_written);
        drop(state);
        self.room.notify_waiters();
        for then in waiting {
            // What one of them does must not keep the others waiting.
            if catch_unwind(AssertUnwindSafe(then)).is_err() {
                tracing::error!("what waited for the store has panicked");
            }
        }
    }

    /// Nothing is written any more.
    pub(super) fn stop(&self, life: Life) {
        let mut state = self.state.lock();
        state.stopped = true;
        let forgotten = (
            std::mem::take(&mut state.waiting),
            std::mem::take(&mut state.waiting_for_written),
            std::mem::take(&mut state.open),
        );
        drop(state);
        drop(forgotten);
        self.life.send_replace(life);
        self.room.notify_waiters();
    }
}
