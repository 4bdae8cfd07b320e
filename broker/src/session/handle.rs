//! How the rest of the gate reaches a session, whether its client is connected or away.

use super::Order;
use crate::outbox::Outbox;
use crate::permit::SubscribePermit;
use crate::shard::{Interest, Shard, Subscribed};
use crate::store::{Change, Mark, Store};
use crate::wire::{Options, Version};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use tanglegate_core::{Position, Rights, SubscriberId};

/// A session, from outside. It outlives its connections; what belongs to one of them is
/// forgotten with it.
pub(crate) struct Handle {
    /// Identity of the session, never used again.
    pub(crate) session: u64,
    /// Whose it is; `None` is an anonymous client.
    pub(crate) subject: Option<SubscriberId>,
    /// What its client calls itself.
    pub(crate) client_id: Arc<str>,
    pub(crate) outbox: Arc<Outbox>,
    /// Identifiers of the client's QoS 2 messages that it has not given free
    /// ([MQTT-4.3.3-10]).
    pub(crate) received: Arc<Mutex<HashSet<u16>>>,
    pub(crate) shard: Arc<Shard>,
    /// Its number on the shard.
    pub(crate) slot: u32,
    /// What is told of it survives the server; `None` where nothing is to.
    pub(super) store: Option<Store>,
    /// Other shards that serve it for groups that are at home there, and its numbers on them.
    elsewhere: Mutex<Vec<(Arc<Shard>, u32)>>,
    /// The connection that serves it at present.
    served: Mutex<Option<Served>>,
    /// That connection has not given the session up in time.
    cut_off: AtomicBool,
}

/// A connection that serves a session.
struct Served {
    /// The event that set the password that it logged in with.
    password_set_at: Option<Position>,
    /// Its task.
    task: Waker,
}

impl Handle {
    /// A session that no connection serves yet.
    pub(crate) fn new(
        session: u64,
        subject: Option<SubscriberId>,
        client_id: Arc<str>,
        outbox: Arc<Outbox>,
        (shard, slot): (Arc<Shard>, u32),
        store: Option<Store>,
    ) -> Self {
        Self {
            session,
            subject,
            client_id,
            outbox,
            received: Arc::default(),
            shard,
            slot,
            store,
            elsewhere: Mutex::default(),
            served: Mutex::new(None),
            cut_off: AtomicBool::new(false),
        }
    }

    /// From now on a connection serves it, that of a client who logged in with the password
    /// that the event `password_set_at` has set. Orders reach it from here on.
    pub(crate) fn connect(&self, password_set_at: Option<Position>, task: Waker) {
        self.cut_off.store(false, Ordering::Release);
        *self.served.lock() = Some(Served {
            password_set_at,
            task,
        });
    }

    /// Nobody serves it any more.
    pub(super) fn disconnect(&self) {
        *self.served.lock() = None;
    }

    /// From now on these are its rights. Everything queued for it is looked at again before it
    /// is handed over. A connection that serves it ends when `verdict`, which is told the event
    /// that set its password, says so; false then. What holds for one connection never meets the
    /// next one.
    pub(crate) fn set_rights(
        &self,
        rights: Rights,
        verdict: impl FnOnce(Option<Position>) -> Option<Order>,
    ) -> bool {
        let served = self.served.lock();
        let order = served.as_ref().and_then(|it| verdict(it.password_set_at));
        let goes_on = order.is_none();
        if let Some(order) = order {
            self.outbox.order(order);
        }
        {
            let elsewhere = self.elsewhere.lock();
            for (shard, slot) in &*elsewhere {
                shard.set_rights(*slot, self.session, rights.clone());
            }
            // Last: a shard that joins later copies them from here.
            self.shard.set_rights(self.slot, self.session, rights);
        }
        self.outbox.change_rights();
        goes_on
    }

    /// The client gives the identifier of a QoS 2 message free; `None` when it is not in use,
    /// else what has to be safe before the client hears of it.
    pub(super) fn forget_received(&self, packet_id: u16) -> Option<Mark> {
        if !self.received.lock().remove(&packet_id) {
            return None;
        }
        Some(self.record(|session| Change::ForgetReceived { session, packet_id }))
    }

    /// From now on another connection serves it, with this version and packet size.
    pub(super) fn set_terms(&self, version: Version, packet_bytes: u32) {
        let elsewhere = self.elsewhere.lock();
        for (shard, slot) in &*elsewhere {
            shard.set_terms(*slot, version, packet_bytes);
        }
        self.shard.set_terms(self.slot, version, packet_bytes);
    }

    /// Adds or replaces a subscription; it has at most `limit`.
    pub(super) fn subscribe(
        &self,
        shards: &[Arc<Shard>],
        permit: &SubscribePermit,
        options: Options,
        id: Option<NonZero<u32>>,
        limit: usize,
    ) -> Subscribed {
        let mut elsewhere = self.elsewhere.lock();
        let interest = permit.interest();
        let (shard, slot) = match interest {
            Interest::All(_) => (&self.shard, Some(self.slot)),
            Interest::Shared(share) => {
                let home = share.home(shards);
                (home, self.slot_on(home, &mut elsewhere))
            }
        };
        let Some(slot) = slot else {
            return Subscribed::TooMany;
        };
        let guests = elsewhere.iter().map(|(shard, slot)| (shard, *slot));
        let places = guests.chain([(&self.shard, self.slot)]);
        let others = places.filter(|(it, _)| it.number != shard.number);
        let taken: usize = others.map(|(shard, slot)| shard.count(slot)).sum();
        let limit = limit.saturating_sub(taken);
        match interest {
            Interest::All(filter) => shard.subscribe(slot, filter.clone(), options, id, limit),
            Interest::Shared(share) => shard.join(slot, share, options, id, limit),
        }
    }

    /// Its number on a shard, which takes it in if need be.
    fn slot_on(&self, shard: &Arc<Shard>, elsewhere: &mut Vec<(Arc<Shard>, u32)>) -> Option<u32> {
        if shard.number == self.shard.number {
            return Some(self.slot);
        }
        let known = elsewhere.iter().find(|(it, _)| it.number == shard.number);
        if let Some((_, slot)) = known {
            return Some(*slot);
        }
        let slot = shard.attach_guest(&self.shard, self.slot)?;
        elsewhere.push((Arc::clone(shard), slot));
        Some(slot)
    }

    /// Removes a subscription; false when there is none.
    pub(super) fn unsubscribe(&self, shards: &[Arc<Shard>], filter: &str) -> bool {
        match Interest::parse(filter) {
            Ok(Interest::All(_)) => self.shard.unsubscribe(self.slot, filter),
            Ok(Interest::Shared(share)) => {
                let home = share.home(shards);
                let elsewhere = self.elsewhere.lock();
                let guests = elsewhere.iter().map(|(shard, slot)| (shard, *slot));
                let mut places = guests.chain([(&self.shard, self.slot)]);
                let place = places.find(|(it, _)| it.number == home.number);
                place.is_some_and(|(home, slot)| home.leave(slot, &share))
            }
            Err(_) => false,
        }
    }

    /// The session is over: no shard serves it any more.
    pub(super) fn detach(&self) {
        for (shard, slot) in self.elsewhere.lock().drain(..) {
            shard.detach(slot);
        }
        self.shard.detach(self.slot);
    }

    /// Ends the connection that serves it, wherever it is stuck.
    pub(crate) fn cut_off(&self) {
        let served = self.served.lock();
        if let Some(served) = &*served {
            self.cut_off.store(true, Ordering::Release);
            served.task.wake_by_ref();
        }
    }

    /// True when the connection that serves it has to end without another step.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.session)
    }
}

#[cfg(test)]
impl Handle {
    /// An anonymous client's, on a shard of its own.
    pub(crate) fn alone() -> Self {
        Self::numbered(1)
    }

    /// The same, of this number.
    pub(crate) fn numbered(session: u64) -> Self {
        let outbox = Arc::new(Outbox::new(crate::outbox::Room::of(1_000), 1, None));
        let retained = Arc::new(crate::retained::Retained::new(0, 0, Store::memory()));
        let shard = Arc::new(Shard::new(0, retained, Arc::default()));
        let version = Version::V5;
        let slot = shard.attach(session, Arc::clone(&outbox), version, u32::MAX);
        Self::new(session, None, "alone".into(), outbox, (shard, slot), None)
    }
}
