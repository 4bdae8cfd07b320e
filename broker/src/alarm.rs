//! Wakes sessions when one of their rights ends, so that they drop what is queued under it and
//! tell the client. Enforcement does not depend on it: that is done where bytes are handed over.

use crate::clock::Clock;
use crate::outbox::Outbox;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use tanglegate_core::Timestamp;
use tokio::sync::Notify;

/// All ends that sessions wait for.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// By instant and session. Each session waits for one at a time.
    ends: Mutex<BTreeMap<(Timestamp, u64), Weak<Outbox>>>,
    /// There is an end that is earlier than all others.
    earlier: Notify,
}

impl Alarm {
    /// Wakes the session at `end`.
    pub(crate) fn set(&self, end: Timestamp, session: u64, outbox: &Arc<Outbox>) {
        let first = {
            let mut ends = self.ends.lock();
            ends.insert((end, session), Arc::downgrade(outbox));
            ends.first_key_value().map(|(key, _)| *key) == Some((end, session))
        };
        if first {
            self.earlier.notify_one();
        }
    }

    /// The session no longer waits for `end`.
    pub(crate) fn unset(&self, end: Timestamp, session: u64) {
        self.ends.lock().remove(&(end, session));
    }

    /// Wakes sessions for ever.
    pub(crate) async fn ring(&self, clock: &Clock) {
        loop {
            let next = self.ends.lock().first_key_value().map(|((end, _), _)| *end);
            let reached = async {
                match next {
                    Some(end) => clock.reached(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = reached => self.wake_until(clock.now()),
                () = self.earlier.notified() => {}
            }
        }
    }

    fn wake_until(&self, now: Timestamp) {
        let over = {
            let mut ends = self.ends.lock();
            let later = ends.split_off(&(Timestamp(now.0.saturating_add(1)), 0));
            std::mem::replace(&mut *ends, later)
        };
        for outbox in over.values().filter_map(Weak::upgrade) {
            outbox.change_rights();
        }
    }
}
