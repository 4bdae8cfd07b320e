//! Counters of what the gate did.

use crate::retained::Retained;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a gate did since it was started. `open_*` are how many there are now.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Statistics {
            /// Each counter with its name.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        /// The counters behind [`Statistics`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Statistics {
                Statistics { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections that were accepted.
    connections,
    /// Connections that were closed unread, because a bound on connections was reached.
    refused_connections,
    /// Connections that are open.
    open_connections,
    /// CONNECTs that were accepted.
    sessions,
    /// Sessions that are open.
    open_sessions,
    /// PUBLISH packets received.
    received_messages,
    /// Bytes received.
    received_bytes,
    /// PUBLISH packets handed to sockets.
    sent_messages,
    /// Bytes handed to sockets.
    sent_bytes,
    /// Messages dropped because the reader was too slow.
    dropped_slow,
    /// Messages dropped because the right to read them ended while they were queued.
    dropped_ended,
    /// Messages dropped because they expired while they were queued.
    dropped_expired,
    /// Messages dropped because they were larger than the reader accepts.
    dropped_too_large,
    /// Retained messages in the store now.
    retained_messages,
    /// Retained messages that found no room in the store.
    dropped_retained,
    /// CONNECTs refused: wrong password, suspended, too many, not ready.
    denied_connects,
    /// Filters of SUBSCRIBEs refused for want of a right.
    denied_subscribes,
    /// Messages refused for want of a right.
    denied_publishes,
    /// Wills not published for want of a right.
    denied_wills,
    /// Sessions cut because the login was suspended or its password changed.
    cut_sessions,
    /// Sessions cut because they let QoS 1 messages pile up, or stopped reading in mid-message
    /// until the right ended.
    cut_slow_sessions,
    /// Sessions closed for breaking the protocol.
    faulty_sessions,
    /// Sessions ended by a panic. Each is a defect.
    panicked_sessions,
    /// Batch records that were served without the log, because it was idle.
    served_at_once,
    /// Batch records that the log dropped before a shard had read them. Each is a defect.
    lost_records,
}

/// Reads a gate's counters from anywhere.
#[derive(Debug, Clone)]
pub struct StatisticsReader {
    pub(crate) counters: Arc<Counters>,
    pub(crate) retained: Arc<Retained>,
}

impl StatisticsReader {
    /// What the gate did up to now.
    #[must_use]
    pub fn read(&self) -> Statistics {
        Statistics {
            retained_messages: self.retained.len() as u64,
            ..self.counters.read()
        }
    }
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        if count != 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    /// Of an `open_*` counter only.
    pub(crate) fn one_less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
