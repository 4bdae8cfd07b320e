//! A shard: some of the sessions, their subscriptions and rights. Every shard reads every batch
//! record and serves its own sessions from it.

mod index;
mod recipients;
mod walk;

pub(crate) use walk::serve_at_once;

use crate::clock::Clock;
use crate::outbox::Outbox;
use crate::retained::Retained;
use crate::router::{LogReader, LogStopped, Reading};
use crate::statistics::Counters;
use crate::wire::{Options, Version};
use index::{Entry, Index};
use parking_lot::Mutex;
use recipients::Recipients;
use std::num::NonZero;
use std::sync::Arc;
use tanglegate_core::{Rights, Timestamp, TopicFilter};

/// Bytes of records after which a shard lets sessions run.
const TURN: usize = 64 << 10;

/// Some of the sessions.
pub(crate) struct Shard {
    /// Which of the shards it is.
    pub(crate) number: usize,
    state: Mutex<State>,
    retained: Arc<Retained>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct State {
    slots: Slots,
    index: Index,
    recipients: Recipients,
}

/// The sessions of a shard, by small numbers.
#[derive(Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
}

/// What the shard knows of one session.
pub(crate) struct Slot {
    /// Identity of the session, never used again.
    pub(crate) session: u64,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) version: Version,
    /// Largest packet that the client takes, in bytes.
    pub(crate) packet_bytes: u32,
    rights: Rights,
    rights_version: u64,
    subscriptions: Vec<Option<Subscription>>,
}

/// One subscription.
#[derive(Debug, Clone)]
struct Subscription {
    filter: TopicFilter,
    options: Options,
    id: Option<NonZero<u32>>,
}

/// What became of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// The client has one more.
    New,
    /// It had one on this filter, which is replaced ([MQTT-3.8.4-3]).
    Replaced,
    /// It has as many as it may have.
    TooMany,
}

impl Shard {
    /// An empty shard.
    pub(crate) fn new(number: usize, retained: Arc<Retained>, counters: Arc<Counters>) -> Self {
        Self {
            number,
            state: Mutex::default(),
            retained,
            counters,
        }
    }

    /// Takes a session in, without rights and subscriptions yet; returns its number.
    pub(crate) fn attach(
        &self,
        session: u64,
        outbox: Arc<Outbox>,
        version: Version,
        packet_bytes: u32,
    ) -> u32 {
        self.state.lock().slots.insert(Slot {
            session,
            outbox,
            version,
            packet_bytes,
            rights: Rights::none(),
            rights_version: 0,
            subscriptions: vec![],
        })
    }

    /// Forgets a session.
    pub(crate) fn detach(&self, slot: u32) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(gone) = state.slots.remove(slot) else {
            return;
        };
        let subscriptions = gone.subscriptions.iter().enumerate();
        let mut count = 0;
        for (number, subscription) in subscriptions {
            if let Some(subscription) = subscription {
                state
                    .index
                    .remove(&subscription.filter, entry(slot, number));
                count += 1;
            }
        }
        if count > 0 {
            self.counters.open_subscriptions.less(count);
            state.recipients.forget();
        }
    }

    /// From now on another connection serves the session.
    pub(crate) fn set_terms(&self, slot: u32, version: Version, packet_bytes: u32) {
        if let Some(slot) = self.state.lock().slots.get_mut(slot) {
            (slot.version, slot.packet_bytes) = (version, packet_bytes);
        }
    }

    /// From now on the session has these rights.
    pub(crate) fn set_rights(&self, slot: u32, rights: Rights) {
        let mut state = self.state.lock();
        if let Some(slot) = state.slots.get_mut(slot) {
            slot.rights = rights;
            slot.rights_version += 1;
        }
    }

    /// Adds or replaces a subscription; the session has at most `limit`.
    pub(crate) fn subscribe(
        &self,
        number: u32,
        filter: TopicFilter,
        options: Options,
        id: Option<NonZero<u32>>,
        limit: usize,
    ) -> Subscribed {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(slot) = state.slots.get_mut(number) else {
            return Subscribed::TooMany;
        };
        let subscription = Subscription {
            filter,
            options,
            id,
        };
        let same = |it: &&mut Subscription| it.filter == subscription.filter;
        if let Some(known) = slot.subscriptions.iter_mut().flatten().find(same) {
            *known = subscription;
            state.recipients.forget();
            return Subscribed::Replaced;
        }
        let free = slot.subscriptions.iter().position(Option::is_none);
        let at = free.unwrap_or(slot.subscriptions.len());
        if at >= limit {
            return Subscribed::TooMany;
        }
        state.index.insert(&subscription.filter, entry(number, at));
        state.recipients.forget();
        self.counters.open_subscriptions.one();
        match slot.subscriptions.get_mut(at) {
            Some(place) => *place = Some(subscription),
            None => slot.subscriptions.push(Some(subscription)),
        }
        Subscribed::New
    }

    /// Removes a subscription; false when there is none on that filter.
    pub(crate) fn unsubscribe(&self, number: u32, filter: &str) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(slot) = state.slots.get_mut(number) else {
            return false;
        };
        let known =
            |it: &Option<Subscription>| it.as_ref().is_some_and(|it| it.filter.as_str() == filter);
        let Some(at) = slot.subscriptions.iter().position(known) else {
            return false;
        };
        if let Some(gone) = slot.subscriptions[at].take() {
            state.index.remove(&gone.filter, entry(number, at));
            self.counters.open_subscriptions.one_less();
        }
        state.recipients.forget();
        true
    }

    /// Identifiers of the subscriptions of a session that match `topic`; `None` without any.
    pub(crate) fn subscribed(&self, number: u32, topic: &str) -> Option<Vec<u32>> {
        let mut state = self.state.lock();
        let slot = state.slots.get_mut(number)?;
        let subscriptions = slot.subscriptions.iter().flatten();
        let matching = subscriptions.filter(|it| it.filter.matches(topic));
        let ids: Vec<Option<u32>> = matching.map(|it| it.id.map(u32::from)).collect();
        (!ids.is_empty()).then(|| ids.into_iter().flatten().collect())
    }

    /// Serves the sessions until the log stops.
    pub(crate) async fn serve(&self, mut reader: LogReader, clock: Clock) -> LogStopped {
        let mut read = 0;
        loop {
            let record = match reader.next().await {
                Ok(Reading::Record(record)) => record,
                Ok(Reading::Lost(lost, record)) => {
                    tracing::error!(shard = self.number, lost, "the log dropped unread records");
                    self.counters.lost_records.add(lost);
                    record
                }
                Err(stopped) => return stopped,
            };
            let mark = self.serve_record(&record, clock.now());
            reader.done(&record, mark);
            read += record.bytes().len();
            if read >= TURN {
                read = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

fn entry(slot: u32, subscription: usize) -> Entry {
    let subscription = u32::try_from(subscription).expect("bounded by the limits");
    Entry { slot, subscription }
}

impl Slots {
    fn insert(&mut self, slot: Slot) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = Some(slot);
                number
            }
            None => {
                self.slots.push(Some(slot));
                u32::try_from(self.slots.len() - 1).expect("bounded by the limits")
            }
        }
    }

    fn remove(&mut self, number: u32) -> Option<Slot> {
        let gone = self.slots.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(gone)
    }

    fn get(&self, number: u32) -> &Slot {
        self.slots[number as usize]
            .as_ref()
            .expect("the index holds only sessions that are attached")
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(number as usize)?.as_mut()
    }
}

impl Slot {
    /// Exclusive end of the right to read `topic`; long past when there is none.
    fn read_until(&self, topic: &str) -> Timestamp {
        self.rights.read_until(topic).unwrap_or(Timestamp(0))
    }

    fn subscription(&self, number: u32) -> &Subscription {
        self.subscriptions[number as usize]
            .as_ref()
            .expect("the index holds only subscriptions that stand")
    }
}
