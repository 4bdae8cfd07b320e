//! A shard: some of the sessions, their subscriptions and rights. Every shard reads every batch
//! record and serves its own sessions from it.

mod groups;
mod index;
mod recipients;
mod share;
mod sharing;
mod walk;

pub(crate) use recipients::remembered;
pub(crate) use share::{Interest, Share};
pub(crate) use walk::serve_at_once;

use crate::clock::Clock;
use crate::outbox::Outbox;
use crate::permit::ReadRight;
use crate::retained::Retained;
use crate::router::{LogReader, LogStopped, Reading};
use crate::statistics::Counters;
use crate::wire::{Options, Version};
use groups::{Groups, Member};
use index::{Entry, Index};
use parking_lot::Mutex;
use recipients::Recipients;
use std::num::NonZero;
use std::sync::Arc;
use tanglegate_core::{Rights, TopicFilter};

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
    index: Index<Entry>,
    groups: Groups,
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
    /// The groups that it is in, of those at home here.
    shares: Vec<Arc<Share>>,
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
            shares: vec![],
        })
    }

    /// Takes a session of another shard in as well, with the rights that it has there; returns
    /// its number here.
    pub(crate) fn attach_guest(&self, host: &Self, number: u32) -> Option<u32> {
        debug_assert_ne!(self.number, host.number, "it is here already");
        let guest = host.state.lock().slots.get_mut(number)?.guest();
        Some(self.state.lock().slots.insert(guest))
    }

    /// Forgets a session.
    pub(crate) fn detach(&self, slot: u32) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(gone) = state.slots.remove(slot) else {
            return;
        };
        let subscriptions = gone.subscriptions.iter().enumerate();
        for (number, subscription) in subscriptions {
            if let Some(subscription) = subscription {
                state
                    .index
                    .remove(&subscription.filter, entry(slot, number));
            }
        }
        for share in &gone.shares {
            state.groups.leave(share, slot);
        }
        let count = gone.count();
        if count > 0 {
            self.counters.open_subscriptions.less(count as u64);
            let shared = gone.shares.len() as u64;
            self.counters.open_shared_subscriptions.less(shared);
            state.recipients.forget();
        }
    }

    /// From now on another connection serves the session.
    pub(crate) fn set_terms(&self, slot: u32, version: Version, packet_bytes: u32) {
        if let Some(slot) = self.state.lock().slots.get_mut(slot) {
            (slot.version, slot.packet_bytes) = (version, packet_bytes);
        }
    }

    /// From now on the session has these rights. It may be over by now, and its number another's.
    pub(crate) fn set_rights(&self, slot: u32, session: u64, rights: Rights) {
        let mut state = self.state.lock();
        if let Some(slot) = state.slots.get_mut(slot)
            && slot.session == session
        {
            slot.rights = rights;
            slot.rights_version += 1;
        }
    }

    /// How many subscriptions the session has on this shard.
    pub(crate) fn count(&self, slot: u32) -> usize {
        let mut state = self.state.lock();
        state.slots.get_mut(slot).map_or(0, |it| it.count())
    }

    /// Adds or replaces a subscription; the session has at most `limit` on this shard.
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
        if slot.count() >= limit {
            return Subscribed::TooMany;
        }
        let free = slot.subscriptions.iter().position(Option::is_none);
        let at = free.unwrap_or(slot.subscriptions.len());
        state.index.insert(&subscription.filter, entry(number, at));
        state.recipients.forget();
        self.counters.open_subscriptions.one();
        match slot.subscriptions.get_mut(at) {
            Some(place) => *place = Some(subscription),
            None => slot.subscriptions.push(Some(subscription)),
        }
        Subscribed::New
    }

    /// Adds the session to a group that is at home here, or replaces what it asked for there;
    /// it has at most `limit` subscriptions on this shard.
    pub(crate) fn join(
        &self,
        number: u32,
        share: &Arc<Share>,
        options: Options,
        id: Option<NonZero<u32>>,
        limit: usize,
    ) -> Subscribed {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(slot) = state.slots.get_mut(number) else {
            return Subscribed::TooMany;
        };
        let is_new = !slot.shares.contains(share);
        if is_new && slot.count() >= limit {
            return Subscribed::TooMany;
        }
        state.recipients.forget();
        let member = Member {
            slot: number,
            options,
            id,
        };
        state.groups.join(share, member);
        if !is_new {
            return Subscribed::Replaced;
        }
        slot.shares.push(Arc::clone(share));
        self.counters.open_subscriptions.one();
        self.counters.open_shared_subscriptions.one();
        Subscribed::New
    }

    /// Takes the session out of a group; false when it is not in it.
    pub(crate) fn leave(&self, number: u32, share: &Share) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        if !state.groups.leave(share, number) {
            return false;
        }
        if let Some(slot) = state.slots.get_mut(number) {
            slot.shares.retain(|it| **it != *share);
        }
        self.counters.open_subscriptions.one_less();
        self.counters.open_shared_subscriptions.one_less();
        state.recipients.forget();
        true
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

    /// What `pick` finds in the filters of a session's own subscriptions.
    pub(crate) fn subscriptions_of<T>(
        &self,
        number: u32,
        pick: impl FnMut(&TopicFilter) -> Option<T>,
    ) -> Vec<T> {
        let mut state = self.state.lock();
        let slot = state.slots.get_mut(number).into_iter();
        let subscriptions = slot.flat_map(|it| it.subscriptions.iter().flatten());
        subscriptions
            .map(|it| &it.filter)
            .filter_map(pick)
            .collect()
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
    /// The same session on another shard.
    fn guest(&self) -> Self {
        Self {
            session: self.session,
            outbox: Arc::clone(&self.outbox),
            version: self.version,
            packet_bytes: self.packet_bytes,
            rights: self.rights.clone(),
            rights_version: 0,
            subscriptions: vec![],
            shares: vec![],
        }
    }

    /// Its subscriptions on this shard.
    fn count(&self) -> usize {
        self.subscriptions.iter().flatten().count() + self.shares.len()
    }

    /// What its rights say about reading `topic`.
    fn right_to_read(&self, topic: &str) -> ReadRight {
        ReadRight::of(&self.rights, topic)
    }

    fn subscription(&self, number: u32) -> &Subscription {
        self.subscriptions[number as usize]
            .as_ref()
            .expect("the index holds only subscriptions that stand")
    }
}
