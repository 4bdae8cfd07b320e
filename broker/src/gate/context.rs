//! What all sessions of a gate share.

use crate::access::AccessView;
use crate::alarm::Alarm;
use crate::budget::{Budget, Share};
use crate::clock::Clock;
use crate::correspondence::Correspondence;
use crate::door::Door;
use crate::limits::Limits;
use crate::login::LoginDesk;
use crate::outbox::Room;
use crate::registry::Registry;
use crate::retained::Retained;
use crate::router::Log;
use crate::session::Order;
use crate::shard::Shard;
use crate::statistics::{Counters, StatisticsReader};
use crate::store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanglegate_core::SubscriberId;
use tokio::sync::watch;

/// How far a gate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Open to everybody.
    Open,
    /// Nobody is let in any more.
    Closing,
    /// Whoever is left is thrown out.
    Shut,
}

/// What all sessions share.
pub(crate) struct Context {
    pub(crate) view: AccessView,
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<Limits>,
    /// What all clients of a kind may make the gate hold.
    pub(crate) budgets: Budgets,
    pub(crate) log: Log,
    pub(crate) shards: Vec<Arc<Shard>>,
    pub(crate) retained: Arc<Retained>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Store,
    pub(crate) alarm: Alarm,
    pub(crate) logins: LoginDesk,
    pub(crate) door: Arc<Door>,
    pub(crate) correspondence: Correspondence,
    pub(crate) counters: Arc<Counters>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(super) sessions: AtomicU64,
}

/// What clients may make the gate hold, in bytes.
#[derive(Clone)]
pub(crate) struct Budgets {
    pub(crate) known: Arc<Budget>,
    pub(crate) anonymous: Arc<Budget>,
    /// Before anybody knows whose they are.
    pub(crate) opening: Arc<Budget>,
}

impl Budgets {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            known: Arc::new(Budget::new(limits.known_bytes)),
            anonymous: Arc::new(Budget::new(limits.anonymous_bytes)),
            opening: Arc::new(Budget::new(limits.opening_bytes)),
        }
    }
}

impl Context {
    /// What clients of that kind share.
    pub(crate) fn budget(&self, subject: Option<SubscriberId>) -> &Arc<Budget> {
        match subject {
            Some(_) => &self.budgets.known,
            None => &self.budgets.anonymous,
        }
    }

    /// What may wait for one more client.
    pub(crate) fn room(&self, subject: Option<SubscriberId>) -> Room {
        let limits = self.limits.of(subject);
        let budget = self.budget(subject);
        Room {
            bytes: limits.queued_bytes,
            messages: limits.queued_messages,
            share: Share::new(budget),
        }
    }

    /// Identity of a new session.
    pub(crate) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The shard that a session belongs to.
    pub(crate) fn shard_of(&self, session: u64) -> &Arc<Shard> {
        let count = self.shards.len() as u64;
        let number = usize::try_from(session % count).expect("below the number of shards");
        &self.shards[number]
    }

    pub(super) fn statistics_reader(&self) -> StatisticsReader {
        StatisticsReader {
            counters: Arc::clone(&self.counters),
            retained: Arc::clone(&self.retained),
            log: self.log.clone(),
            registry: Arc::clone(&self.registry),
            budgets: self.budgets.clone(),
            view: self.view.clone(),
            backlog: self.store.backlog(),
            correspondence: self.correspondence.clone(),
            entrances: Arc::default(),
        }
    }

    /// Lets nobody in any more, and asks those who are in to go.
    pub(super) fn close(&self) {
        self.phase.send_if_modified(|phase| {
            let open = *phase == Phase::Open;
            if open {
                *phase = Phase::Closing;
            }
            open
        });
        for handle in self.view.sessions() {
            handle.outbox.order(Order::ShuttingDown);
        }
    }
}
