//! What waits for one client. Shards fill it, the connection empties it.

mod aliases;
mod held;
mod line;
#[cfg(test)]
mod model;
mod packets;
mod portion;
mod queued;
#[cfg(test)]
mod tests;

pub(crate) use aliases::{OwnAliases, Progress};
pub(crate) use held::{Held, IDENTIFIER, subscription_cost};
pub(crate) use line::Keep;
pub(crate) use packets::{Bounds, Dropped, HandedOver, Next, POOL_MEMORY, Packets};
pub(crate) use portion::{Leaving, Left, Portion};
pub(crate) use queued::{Ended, Queued};

use crate::budget::Share;
use crate::permit::{ReadPermit, ReadRight};
use crate::session::Order;
use crate::store::{Mark, RestoredMessage};
use crate::wire::{Answer, Delivery, Version, acknowledge};
use line::{GivenUp, Line, Turn};
use parking_lot::{Mutex, MutexGuard};
use queued::Unsent;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use tanglegate_core::Timestamp;

/// Bytes of QoS 1 and 2 messages that are made into packets at a time.
const ONE_TAKE: usize = 256 << 10;

/// Shared by a shard, which adds messages, and a connection, which hands them to the socket.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Changes with the rights of the client and with an order to end: what was queued under
    /// another version has to be reviewed before it is handed over.
    rights_version: AtomicU64,
}

/// The queue, locked.
#[derive(Debug)]
pub(crate) struct Queue {
    /// QoS 0, ready to be handed over. Empty while nobody is connected.
    ready: Packets,
    /// QoS 1 and 2.
    line: Line,
    /// Bounds on everything queued, and what of it was taken from what all clients share.
    room: Room,
    /// Bytes that the connection has taken and not handed over.
    taken: usize,
    /// What is held for the client besides messages.
    held: Held,
    waker: Option<Waker>,
    /// What the store was asked to tell of last.
    awaited: Mark,
    /// True while the connection waits for its socket: more messages are no reason to wake it.
    blocked: bool,
    /// False while the session is kept for a client that is away.
    connected: bool,
    order: Option<Order>,
}

/// What may wait for one client.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes.
    pub(crate) bytes: usize,
    /// QoS 1 and 2 messages.
    pub(crate) messages: usize,
    /// Its part of what may wait for all clients of its kind.
    pub(crate) share: Share,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is queued.
    Queued,
    /// As much waits for this client as may.
    Full,
    /// What all clients of its kind share has no room for it.
    Starved,
    /// The client is away, and the message is not kept for it.
    Away,
}

/// How well a client keeps up with what is queued for it; the lesser, the sooner it gets to a
/// message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// One more message can leave at once.
    KeepsUp,
    /// It takes nothing just now, has as many messages in flight as it may, or a lot of this
    /// many bytes is queued.
    Behind(usize),
    /// It is away; so many bytes are queued.
    Away(usize),
}

/// How a client is written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) version: Version,
    /// Largest packet that it takes, in bytes.
    pub(crate) packet_bytes: usize,
}

impl Pushed {
    /// True when there was no room for it, wherever.
    pub(crate) fn is_too_much(self) -> bool {
        matches!(self, Self::Full | Self::Starved)
    }
}

impl Outbox {
    /// An outbox with so much room, for `in_flight` QoS 1 and 2 messages at a time. With `keep`,
    /// these survive the server.
    pub(crate) fn new(room: Room, in_flight: u16, keep: Option<Keep>) -> Self {
        Self {
            queue: Mutex::new(Queue {
                ready: Packets::default(),
                line: Line::new(in_flight, keep),
                room,
                taken: 0,
                held: Held::default(),
                waker: None,
                awaited: Mark::default(),
                blocked: false,
                connected: true,
                order: None,
            }),
            rights_version: AtomicU64::new(0),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// The version of the client's rights.
    pub(crate) fn rights_version(&self) -> u64 {
        self.rights_version.load(Ordering::Acquire)
    }

    /// Makes the connection review its rights and everything queued.
    pub(crate) fn change_rights(&self) {
        self.rights_version.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// Makes the connection end, if there is one. The first order stands.
    pub(crate) fn order(&self, order: Order) {
        {
            let mut queue = self.queue.lock();
            if queue.connected {
                queue.order.get_or_insert(order);
            }
        }
        self.change_rights();
    }

    /// Makes the connection look around.
    pub(crate) fn wake(&self) {
        let waker = self.queue.lock().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Queue {
    /// A client is connected that takes `in_flight` messages at a time: what was in flight is
    /// sent again ([MQTT-4.4.0-1]).
    pub(crate) fn connect(&mut self, in_flight: u16, holds: bool) {
        self.disconnect();
        self.connected = true;
        self.line.start_again(in_flight, holds);
    }

    /// The client is gone, and with it what was only for its connection.
    pub(crate) fn disconnect(&mut self) {
        self.ready = Packets::default();
        (self.connected, self.blocked) = (false, false);
        (self.taken, self.waker, self.order) = (0, None, None);
        self.held.connection = 0;
        self.give_back_room();
        self.rest();
    }

    /// Nothing happens for a while: what was kept for it is there for others.
    pub(crate) fn rest(&mut self) {
        self.room.share.rest();
    }

    /// Brings back what was kept over the end of the server; see [`Line::restore`].
    pub(crate) fn restore(&mut self, messages: Vec<RestoredMessage>, sent_below: u64) {
        self.line.restore(messages, sent_below);
        // What was promised is kept, also where there is no room for it any more.
        self.room
            .share
            .hold_anyway(self.queued() + self.held.total());
    }

    /// What has to be safe before a publisher is told that his message was taken, or a client
    /// that its answer was.
    pub(crate) fn mark(&self) -> Mark {
        self.line.mark()
    }

    /// Bytes that still fit.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.room.bytes.saturating_sub(self.queued())
    }

    /// Bytes of everything queued.
    fn queued(&self) -> usize {
        self.ready.cost() + self.line.bytes() + self.taken
    }

    /// Messages that wait, and their bytes.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let messages = self.ready.messages() + self.line.len() as u64;
        (messages, self.queued() as u64)
    }

    /// Changes what is held for the client besides messages, if there is room for it. Less is
    /// always granted, also while the connection has taken more messages than there is room for.
    #[must_use]
    pub(crate) fn hold(&mut self, change: impl FnOnce(&mut Held)) -> bool {
        let mut held = self.held;
        change(&mut held);
        let fits =
            self.room.share.hold(self.queued() + held.total()) || held.total() <= self.held.total();
        if fits {
            self.held = held;
        }
        fits
    }

    /// The same, for what was promised and is kept also where there is no room for it any more.
    pub(crate) fn hold_anyway(&mut self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held);
        self.room
            .share
            .hold_anyway(self.queued() + self.held.total());
    }

    /// Takes room for `more` bytes, if there are as many for this client and in all; else says
    /// where they are missing.
    fn take_room(&mut self, more: usize) -> Result<(), Pushed> {
        let queued = self.queued() + more;
        if queued > self.room.bytes {
            return Err(Pushed::Full);
        }
        match self.room.share.hold(queued + self.held.total()) {
            true => Ok(()),
            false => Err(Pushed::Starved),
        }
    }

    /// Gives room back that is no longer needed.
    fn give_back_room(&mut self) {
        let _less = self.room.share.hold(self.queued() + self.held.total());
    }

    /// The connection that ends has not begun to hand these messages over.
    pub(crate) fn recall(&mut self, ids: &[u16]) {
        ids.iter().for_each(|id| self.line.recall(*id));
    }

    /// How well the client keeps up.
    pub(crate) fn pace(&self) -> Pace {
        let queued = self.queued();
        if !self.connected {
            Pace::Away(queued)
        } else if self.blocked || !self.line.is_short() || queued > self.room.bytes / 4 {
            Pace::Behind(queued)
        } else {
            Pace::KeepsUp
        }
    }

    /// Takes the messages of groups that the client leaves to the others when its session ends:
    /// those that it has not acknowledged, but for QoS 2 messages that it may have seen
    /// ([MQTT-4.8.2-5]).
    pub(crate) fn leave_shared(&mut self) -> Vec<Left> {
        self.line.leave_shared()
    }

    /// Adds whole QoS 0 packets, if they fit.
    pub(crate) fn push(&mut self, packets: &[u8], messages: u32, bounds: Bounds) -> Pushed {
        if !self.connected {
            return Pushed::Away;
        }
        if let Err(full) = self.take_room(packets.len()) {
            return full;
        }
        self.ready.push(packets, messages, bounds);
        Pushed::Queued
    }

    /// Adds one QoS 0 message, if it fits.
    pub(crate) fn push_message(&mut self, delivery: &Delivery<'_>, bounds: Bounds) -> Pushed {
        if !self.connected {
            return Pushed::Away;
        }
        if let Err(full) = self.take_room(delivery.size()) {
            return full;
        }
        self.ready.push_message(delivery, bounds);
        Pushed::Queued
    }

    /// Adds a QoS 1 or 2 message at the end of the line, if it fits.
    pub(crate) fn push_queued(&mut self, queued: Queued) -> Pushed {
        self.push_left(queued, &mut None)
    }

    /// The same. If it fits, it is in `place` no more, where it has been before.
    pub(crate) fn push_left(&mut self, queued: Queued, place: &mut Option<Leaving>) -> Pushed {
        if self.line.len() >= self.room.messages {
            return Pushed::Full;
        }
        if let Err(full) = self.take_room(Line::cost(&queued.message)) {
            return full;
        }
        self.line.push(queued, place.take());
        Pushed::Queued
    }

    /// The waker to wake after the lock is released, if the connection sleeps and has a reason
    /// to look at what was added.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        if self.blocked || (self.ready.is_empty() && !self.line.may_have_turn()) {
            return None;
        }
        self.waker.take()
    }

    /// Who to wake when there is something to do. `blocked`: the socket takes nothing now.
    pub(crate) fn set_waker(&mut self, waker: &Waker, blocked: bool) {
        self.blocked = blocked;
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// True when the connection has something to take.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || self.line.has_turn()
    }

    /// What has to be safe before the connection has something to take again; the outbox is to be
    /// woken then. `None` when it is not that what it waits for, or this was said before: however
    /// often something else wakes the connection, the store is asked once.
    pub(crate) fn begins_to_wait_for(&mut self) -> Option<Mark> {
        let mark = self.line.waits_for().filter(|it| *it != self.awaited)?;
        self.awaited = mark;
        Some(mark)
    }

    /// The order to end, if there is one.
    pub(crate) fn ordered(&self) -> Option<Order> {
        self.order
    }

    /// Takes what may be sent into `packets`, which is empty.
    pub(crate) fn take(
        &mut self,
        packets: &mut Packets,
        terms: Terms,
        now: Timestamp,
        dropped: &mut Dropped,
    ) {
        debug_assert!(packets.is_empty());
        std::mem::swap(&mut self.ready, packets);
        let most = packets.len() + ONE_TAKE;
        while packets.len() < most {
            let count = |why, left| match (why, left) {
                (_, Some(left)) => dropped.left.push(left),
                (Unsent::Ended, None) => dropped.ended += 1,
                (Unsent::Expired, None) => dropped.expired += 1,
            };
            match self.line.turn(now, count) {
                None => break,
                Some(Turn::Release(id)) => {
                    packets.push_control(|out| acknowledge(out, Answer::Release, id));
                }
                Some(Turn::Message {
                    queued,
                    permit,
                    id,
                    again,
                }) => {
                    let duplicate = again;
                    if !put(packets, &queued, permit, (id, duplicate), terms, now) {
                        // [MQTT-3.1.2-24], [MQTT-3.1.2-25]; others of a group may take more.
                        let left = self.drop_taken(packets, id, true);
                        dropped.too_large += u64::from(left.is_none());
                        dropped.left.extend(left);
                    }
                }
            }
        }
        self.line.record_sent();
        self.taken = packets.cost();
    }

    /// Tells that `left` of the bytes taken are not handed over yet.
    pub(crate) fn left(&mut self, left: usize) {
        self.taken = left;
        self.give_back_room();
    }

    /// A PUBACK came: the next message may go.
    pub(crate) fn acknowledged(&mut self, id: u16) -> bool {
        let known = self.line.acknowledged(id);
        self.give_back_room();
        known
    }

    /// A PUBREC came; `refused` when the client does not want the message. True when a PUBREL is
    /// to follow.
    pub(crate) fn received(&mut self, id: u16, refused: bool) -> bool {
        if refused {
            self.line.refused(id);
            return false;
        }
        self.line.received(id)
    }

    /// A PUBCOMP came: the next message may go.
    pub(crate) fn completed(&mut self, id: u16) -> bool {
        self.line.completed(id)
    }

    /// Gives the identifiers of messages back that were dropped instead of handed over. PUBRELs
    /// that are due for them are added to `packets`.
    pub(crate) fn give_back(&mut self, packets: &mut Packets, dropped: &mut Dropped) {
        for (id, why) in std::mem::take(&mut dropped.ids) {
            if let Some(left) = self.drop_taken(packets, id, why == Unsent::Ended) {
                dropped.ended -= 1;
                dropped.left.push(left);
            }
        }
        self.give_back_room();
    }

    /// With `leaves`, others of its group may get it.
    fn drop_taken(&mut self, packets: &mut Packets, id: u16, leaves: bool) -> Option<Left> {
        match self.line.dropped(id, leaves) {
            GivenUp::Done => None,
            GivenUp::Left(left) => Some(left),
            GivenUp::Release => {
                packets.push_control(|out| acknowledge(out, Answer::Release, id));
                None
            }
        }
    }

    /// Looks the end of the right of everything queued up again; removes QoS 1 and 2 messages
    /// that were never sent and whose right has ended at `now`.
    pub(crate) fn review(&mut self, right_of: impl Fn(&str) -> ReadRight, now: Timestamp) -> Ended {
        self.ready.review(&right_of);
        self.line.review(&right_of, now)
    }
}

/// Adds the packet of a message; false when it is too large for the client.
fn put(
    packets: &mut Packets,
    queued: &Queued,
    permit: ReadPermit,
    (packet_id, duplicate): (u16, bool),
    terms: Terms,
    now: Timestamp,
) -> bool {
    let message = &queued.message;
    let delivery = Delivery {
        version: terms.version,
        qos: queued.qos,
        packet_id,
        duplicate,
        retain: queued.retain,
        topic: message.topic(),
        expiry: message.seconds_left(now),
        ids: queued.ids.as_deref().unwrap_or_default(),
        forwarded: message.properties(),
        payload: message.payload(),
    };
    if delivery.size() > terms.packet_bytes {
        return false;
    }
    let bounds = Bounds {
        permit,
        // [MQTT-4.3.3-7]: what was sent before expires no more.
        expires: if duplicate && queued.qos == 2 {
            Timestamp::FOREVER
        } else {
            message.expires()
        },
    };
    packets.push_message(&delivery, bounds);
    true
}

#[cfg(test)]
impl Room {
    /// Room for so many bytes, whatever others need.
    pub(crate) fn of(bytes: usize) -> Self {
        let budget = std::sync::Arc::new(crate::budget::Budget::new(usize::MAX));
        Self {
            bytes,
            messages: usize::MAX,
            share: Share::new(&budget),
        }
    }
}
