//! Counters of what the gate did.

mod decisions;

pub use decisions::{Decisions, Outcome, Stage};

use crate::access::AccessView;
use crate::correspondence::Correspondence;
use crate::entrance::Entrance;
use crate::gate::Budgets;
use crate::registry::Registry;
use crate::retained::Retained;
use crate::router::Log;
use crate::store::Backlog;
use decisions::DecisionCounters;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanglegate_core::Timestamp;

macro_rules! counters {
    (
        counted { $($(#[$doc:meta])* $name:ident,)* }
        looked_up { $($(#[$looked_doc:meta])* $looked_up:ident,)* }
    ) => {
        /// What a gate did since it was started. `open_*` are how many there are now.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
            $($(#[$looked_doc])* pub $looked_up: u64,)*
            /// What it said yes and no to.
            pub decisions: Decisions,
        }

        impl Statistics {
            /// Each number with its name, but for the decisions.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![
                    $((stringify!($name), self.$name),)*
                    $((stringify!($looked_up), self.$looked_up),)*
                ]
            }
        }

        /// The counters behind [`Statistics`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
            decisions: DecisionCounters,
        }

        impl Counters {
            fn read(&self) -> Statistics {
                Statistics {
                    $($name: self.$name.read(),)*
                    decisions: self.decisions.read(),
                    ..Statistics::default()
                }
            }
        }
    };
}

counters! {
    counted {
        /// Connections that were accepted.
        connections,
        /// Connections that were closed unread, because a bound on connections was reached.
        refused_connections,
        /// Connections that are open.
        open_connections,
        /// CONNECTs that were accepted.
        sessions,
        /// Sessions whose clients are connected.
        open_sessions,
        /// Sessions that ended because their clients stayed away for longer than they are kept.
        expired_sessions,
        /// Subscriptions of all sessions.
        open_subscriptions,
        /// Those among them that are shared.
        open_shared_subscriptions,
        /// PUBLISH packets received.
        received_messages,
        /// Bytes of their payloads.
        received_payload_bytes,
        /// Bytes received.
        received_bytes,
        /// Other packets received, from the CONNECT on.
        received_controls,
        /// Their bytes, and those of what was no CONNECT where one had to be.
        received_control_bytes,
        /// PUBLISH packets handed to sockets.
        sent_messages,
        /// Bytes handed to sockets.
        sent_bytes,
        /// Other packets for clients that are in, counted when they are made.
        sent_controls,
        /// Their bytes.
        sent_control_bytes,
        /// Messages handed to sockets that may have been taken at or after the end of the right they
        /// needed: the clock, read again after a socket took bytes, had reached the earliest end
        /// in them.
        late_messages,
        /// How far beyond it the clock was, at most, in milliseconds.
        largest_lateness_ms,
        /// Messages dropped because the reader was too slow.
        dropped_slow,
        /// Messages dropped because the right to read them ended while they were queued.
        dropped_ended,
        /// Messages that a subscription asked for and no right allows. They were never queued.
        withheld_messages,
        /// Those that a right would have allowed that was over already.
        withheld_ended,
        /// Messages dropped because they expired while they were queued.
        dropped_expired,
        /// Messages dropped because they were larger than the reader accepts.
        dropped_too_large,
        /// Retained messages that found no room in the store.
        dropped_retained,
        /// Keys made for clients that asked for one.
        keys,
        /// Answers to keys that were forgotten for want of room before anybody picked them up.
        dropped_answers,
        /// Sessions cut because the login was suspended or its password changed.
        cut_sessions,
        /// Sessions cut because they let QoS 1 and 2 messages pile up, or stopped reading in mid-message
        /// until the right ended.
        cut_slow_sessions,
        /// Sessions cut because what all clients may make the gate hold was used up.
        cut_for_room_sessions,
        /// Sessions closed for breaking the protocol.
        faulty_sessions,
        /// Sessions ended by a panic. Each is a defect.
        panicked_sessions,
        /// Batch records that were served without the log, because it was idle.
        served_at_once,
        /// Batch records that the log dropped before a shard had read them. Each is a defect.
        lost_records,
    }
    looked_up {
        /// Sessions that are kept now for clients who are away.
        away_sessions,
        /// Retained messages in the store now.
        retained_messages,
        /// CONNECTs refused.
        denied_connects,
        /// Filters of SUBSCRIBEs refused, for want of a right or for a limit.
        denied_subscribes,
        /// Messages refused, for want of a right or for a limit.
        denied_publishes,
        /// Wills not published, for want of a right or for a limit.
        denied_wills,
        /// Bytes of retained messages in the store now, with what keeping them costs.
        retained_bytes,
        /// Answers to keys that are kept now.
        answers,
        /// Their bytes, with what keeping them costs.
        answer_bytes,
        /// Bytes that clients with a login make the gate hold now, beyond the first 2 KiB of each:
        /// messages that wait for them, and all else that they can make it hold.
        known_bytes,
        /// The same of clients without one.
        anonymous_bytes,
        /// The same of those of which nobody knows yet who they are.
        opening_bytes,
        /// Most of the bytes that clients with a login make the gate hold.
        known_bytes_bound,
        /// Most of those of clients without one.
        anonymous_bytes_bound,
        /// Most of those of which nobody knows yet who they are.
        opening_bytes_bound,
        /// Messages that wait now for clients with a login.
        known_waiting,
        /// Their bytes, with what keeping them costs.
        known_waiting_bytes,
        /// Messages that wait now for clients without one.
        anonymous_waiting,
        /// Their bytes, with what keeping them costs.
        anonymous_waiting_bytes,
        /// Changes of sessions and retained messages that the store has still to write.
        store_backlog,
        /// Their bytes.
        store_backlog_bytes,
        /// Bytes of published messages on their way to the shards now.
        log_bytes,
        /// Most of them: publishers wait beyond it.
        log_bytes_bound,
    }
}

/// Reads a gate's counters from anywhere.
#[derive(Clone)]
pub struct StatisticsReader {
    pub(crate) counters: Arc<Counters>,
    pub(crate) retained: Arc<Retained>,
    pub(crate) log: Log,
    pub(crate) registry: Arc<Registry>,
    pub(crate) budgets: Budgets,
    pub(crate) view: AccessView,
    pub(crate) backlog: Backlog,
    pub(crate) correspondence: Correspondence,
    pub(crate) entrances: Arc<[(SocketAddr, Arc<Entrance>)]>,
}

/// How one listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatistics {
    /// Where it listens.
    pub address: SocketAddr,
    /// TLS handshakes that failed since the start; `None` without TLS.
    pub failed_tls: Option<u64>,
    /// Requests for a WebSocket that failed, or what followed them before the CONNECT; `None`
    /// without WebSocket.
    pub failed_websocket: Option<u64>,
    /// When the first of its certificates ends; `None` without TLS.
    pub certificate_expires: Option<Timestamp>,
    /// When the next update of the first of its lists of revoked certificates is due, after which
    /// it lets no certificate in; `None` without any.
    pub revocation_list_due: Option<Timestamp>,
}

impl StatisticsReader {
    /// How its listeners are, in the order of the settings.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerStatistics> {
        let listeners = self.entrances.iter();
        listeners.map(|(at, it)| it.statistics(*at)).collect()
    }

    /// What the gate did up to now. It looks at every session for what waits for it.
    #[must_use]
    pub fn read(&self) -> Statistics {
        let mut read = self.counters.read();
        let decisions = &mut read.decisions;
        // What is counted anyway is not counted twice.
        decisions.set(Stage::Connect, Outcome::Permitted, read.sessions);
        decisions.set(Stage::Deliver, Outcome::Permitted, read.sent_messages);
        decisions.set(
            Stage::Deliver,
            Outcome::Ended,
            read.dropped_ended + read.withheld_ended,
        );
        decisions.set(Stage::Deliver, Outcome::NoRight, read.withheld_messages);
        let decisions = read.decisions;
        let (retained_messages, retained_bytes) = self.retained.size();
        let (log_bytes, log_bytes_bound) = self.log.fill();
        let (mut known, mut anonymous) = ((0, 0), (0, 0));
        for session in self.view.sessions() {
            let (messages, bytes) = session.outbox.lock().waiting();
            let kind = match session.subject {
                Some(_) => &mut known,
                None => &mut anonymous,
            };
            (kind.0, kind.1) = (kind.0 + messages, kind.1 + bytes);
        }
        let (answers, answer_bytes) = self.correspondence.size();
        let (store_backlog, store_backlog_bytes) = self.backlog.read();
        Statistics {
            denied_connects: decisions.denied(Stage::Connect),
            denied_subscribes: decisions.denied(Stage::Subscribe),
            denied_publishes: decisions.denied(Stage::Publish),
            denied_wills: decisions.denied(Stage::Will),
            away_sessions: self.registry.away() as u64,
            retained_messages: retained_messages as u64,
            retained_bytes: retained_bytes as u64,
            answers: answers as u64,
            answer_bytes: answer_bytes as u64,
            known_waiting: known.0,
            known_waiting_bytes: known.1,
            anonymous_waiting: anonymous.0,
            anonymous_waiting_bytes: anonymous.1,
            store_backlog: store_backlog as u64,
            store_backlog_bytes: store_backlog_bytes as u64,
            known_bytes: self.budgets.known.taken() as u64,
            anonymous_bytes: self.budgets.anonymous.taken() as u64,
            opening_bytes: self.budgets.opening.taken() as u64,
            known_bytes_bound: self.budgets.known.most() as u64,
            anonymous_bytes_bound: self.budgets.anonymous.most() as u64,
            opening_bytes_bound: self.budgets.opening.most() as u64,
            log_bytes: log_bytes as u64,
            log_bytes_bound: log_bytes_bound as u64,
            ..read
        }
    }
}

impl std::fmt::Debug for StatisticsReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatisticsReader(..)")
    }
}

impl Counters {
    /// Counts a yes or a no.
    pub(crate) fn decided(&self, stage: Stage, outcome: impl Into<Outcome>) {
        self.decisions.add(stage, outcome.into(), 1);
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
        self.less(1);
    }

    /// Of an `open_*` counter, or of what was counted too much just before.
    pub(crate) fn less(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// Of a `largest_*` counter only.
    pub(crate) fn at_least(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
