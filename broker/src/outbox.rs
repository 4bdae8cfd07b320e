//! What waits for one client. Shards fill it, the session empties it.

#[cfg(test)]
mod model;
mod packets;
mod window;

pub(crate) use packets::{Bounds, Dropped, HandedOver, Next, Packets};

use crate::session::Order;
use crate::wire::{Delivery, Version, set_packet_id};
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use tanglegate_core::Timestamp;
use window::Window;

/// Shared by a shard, which adds messages, and a session, which hands them to the socket.
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
    /// Ready to be handed over.
    ready: Packets,
    /// QoS 1 messages without an identifier yet.
    waiting: Packets,
    window: Window,
    /// Bound on everything queued, in bytes.
    limit: usize,
    /// Bytes that the session has taken and not handed over.
    taken: usize,
    waker: Option<Waker>,
    /// True while the session waits for its socket: more messages are no reason to wake it.
    blocked: bool,
    order: Option<Order>,
    /// True while a connection empties it.
    connected: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is queued.
    Queued,
    /// There is no room for it.
    Full,
}

impl Outbox {
    /// An outbox for `limit` bytes and `in_flight` QoS 1 messages. `holds` tells that its session
    /// may outlive the connection.
    pub(crate) fn new(limit: usize, in_flight: u16, _holds: bool) -> Self {
        Self {
            queue: Mutex::new(Queue {
                ready: Packets::default(),
                waiting: Packets::default(),
                window: Window::new(in_flight),
                limit,
                taken: 0,
                waker: None,
                blocked: false,
                order: None,
                connected: true,
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

    /// Makes the session review its rights and everything queued.
    pub(crate) fn change_rights(&self) {
        self.rights_version.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// Makes the connection that empties it end. The first order stands; without a connection,
    /// nothing happens.
    pub(crate) fn order(&self, order: Order) {
        {
            let mut queue = self.queue.lock();
            if !queue.connected {
                return;
            }
            queue.order.get_or_insert(order);
        }
        self.change_rights();
    }

    fn wake(&self) {
        let waker = self.queue.lock().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Queue {
    /// A client is connected that takes `in_flight` messages at a time.
    pub(crate) fn connect(&mut self, in_flight: u16, _holds: bool) {
        self.disconnect();
        self.connected = true;
        self.window = Window::new(in_flight);
    }

    /// The client is gone, and with it what was only for its connection.
    pub(crate) fn disconnect(&mut self) {
        (self.ready, self.waiting) = (Packets::default(), Packets::default());
        (self.connected, self.blocked) = (false, false);
        (self.taken, self.waker, self.order) = (0, None, None);
    }

    /// Bytes that still fit.
    pub(crate) fn room(&self) -> usize {
        let queued = self.ready.len() + self.waiting.len() + self.taken;
        self.limit.saturating_sub(queued)
    }

    /// Adds whole QoS 0 packets, if they fit.
    pub(crate) fn push(&mut self, packets: &[u8], messages: u32, bounds: Bounds) -> Pushed {
        if packets.len() > self.room() || !self.connected {
            return Pushed::Full;
        }
        self.ready.push(packets, messages, bounds);
        Pushed::Queued
    }

    /// Adds one message, if it fits. One with QoS 1 gets an identifier now or in its turn.
    pub(crate) fn push_message(&mut self, delivery: &Delivery<'_>, bounds: Bounds) -> Pushed {
        if delivery.size() > self.room() || !self.connected {
            return Pushed::Full;
        }
        if delivery.qos == 0 {
            self.ready.push_message(delivery, bounds);
            return Pushed::Queued;
        }
        let id = if self.waiting.is_empty() {
            self.window.open()
        } else {
            None
        };
        match id {
            Some(id) => set_packet_id(self.ready.push_message(delivery, bounds), id),
            None => drop(self.waiting.push_message(delivery, bounds)),
        }
        Pushed::Queued
    }

    /// The waker to wake after the lock is released, if the session sleeps and has a reason to
    /// look at what was added.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        if self.blocked {
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

    /// True when the session has something to take.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The order to end, if there is one.
    pub(crate) fn ordered(&self) -> Option<Order> {
        self.order
    }

    /// Takes everything that is ready into `packets`, which is empty.
    pub(crate) fn take(&mut self, packets: &mut Packets) {
        debug_assert!(packets.is_empty());
        std::mem::swap(&mut self.ready, packets);
        self.taken = packets.len();
    }

    /// Tells that `left` of the bytes taken are not handed over yet.
    pub(crate) fn left(&mut self, left: usize) {
        self.taken = left;
    }

    /// A message arrived at the client: the next one may go, unless its time is over.
    pub(crate) fn acknowledged(
        &mut self,
        id: u16,
        now: Timestamp,
        version: Version,
        dropped: &mut Dropped,
    ) {
        self.window.close(id);
        self.fill_window(now, version, dropped);
    }

    /// Gives the identifiers of messages back that were dropped instead of handed over.
    pub(crate) fn give_back(&mut self, now: Timestamp, version: Version, dropped: &mut Dropped) {
        dropped.ids.drain(..).for_each(|id| self.window.close(id));
        self.fill_window(now, version, dropped);
    }

    fn fill_window(&mut self, now: Timestamp, version: Version, dropped: &mut Dropped) {
        // What is over must not take an identifier, nor wait for one.
        while let Next::Bytes(_) = self.waiting.next(now, version, dropped) {
            let Some(id) = self.window.open() else {
                return;
            };
            let set_id = |packet: &mut [u8]| set_packet_id(packet, id);
            self.waiting.move_first(&mut self.ready, set_id);
        }
    }

    /// Looks the end of the right of everything queued up again.
    pub(crate) fn review(&mut self, until_of: impl Fn(&str) -> Timestamp) {
        self.ready.review(&until_of);
        self.waiting.review(&until_of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(qos: u8, payload: &'static [u8]) -> Delivery<'static> {
        Delivery {
            version: Version::V311,
            qos,
            retain: false,
            topic: "t",
            expiry: None,
            ids: &[],
            forwarded: &[],
            payload,
        }
    }

    fn ready(queue: &mut Queue) -> Vec<u8> {
        let mut packets = Packets::default();
        queue.take(&mut packets);
        queue.left(0);
        let mut dropped = Dropped::default();
        match packets.next(Timestamp(0), Version::V311, &mut dropped) {
            Next::Bytes(bytes) => bytes.to_vec(),
            _ => vec![],
        }
    }

    #[test]
    fn the_bound_covers_what_waits_and_what_was_taken() {
        let outbox = Outbox::new(20, 1, false);
        let mut queue = outbox.lock();
        let size = message(1, b"x").size();
        assert_eq!(size, 8);
        assert_eq!(
            queue.push_message(&message(1, b"x"), Bounds::NONE),
            Pushed::Queued
        );
        let mut taken = Packets::default();
        queue.take(&mut taken);
        assert_eq!(
            queue.push_message(&message(1, b"x"), Bounds::NONE),
            Pushed::Queued
        );
        assert_eq!(
            queue.push_message(&message(1, b"x"), Bounds::NONE),
            Pushed::Full
        );
        queue.left(0);
        assert_eq!(
            queue.push_message(&message(1, b"x"), Bounds::NONE),
            Pushed::Queued
        );
    }

    #[test]
    fn qos_1_waits_for_the_window_and_keeps_its_order() {
        let outbox = Outbox::new(1_000, 1, false);
        let mut queue = outbox.lock();
        for payload in [b"1", b"2", b"3"] {
            queue.push_message(&message(1, payload), Bounds::NONE);
        }
        assert_eq!(ready(&mut queue), [0x32, 6, 0, 1, b't', 0, 1, b'1']);
        assert!(ready(&mut queue).is_empty());
        let mut dropped = Dropped::default();
        queue.acknowledged(1, Timestamp(0), Version::V311, &mut dropped);
        assert_eq!(ready(&mut queue), [0x32, 6, 0, 1, b't', 0, 2, b'2']);
    }

    #[test]
    fn a_waiting_message_whose_right_ended_is_dropped() {
        let outbox = Outbox::new(1_000, 1, false);
        let mut queue = outbox.lock();
        queue.push_message(&message(1, b"1"), Bounds::NONE);
        let ends = Bounds {
            until: Timestamp(5),
            ..Bounds::NONE
        };
        queue.push_message(&message(1, b"2"), ends);
        queue.push_message(&message(1, b"3"), Bounds::NONE);
        ready(&mut queue);
        let mut dropped = Dropped::default();
        queue.acknowledged(1, Timestamp(5), Version::V311, &mut dropped);
        assert_eq!(dropped.ended, 1);
        assert_eq!(ready(&mut queue), [0x32, 6, 0, 1, b't', 0, 2, b'3']);
    }

    #[test]
    fn a_message_dropped_for_its_end_does_not_hold_its_place_in_the_window() {
        let outbox = Outbox::new(1_000, 1, false);
        let mut queue = outbox.lock();
        let ends = Bounds {
            until: Timestamp(5),
            ..Bounds::NONE
        };
        queue.push_message(&message(1, b"1"), ends);
        queue.push_message(&message(1, b"2"), Bounds::NONE);
        let (mut taken, mut dropped) = (Packets::default(), Dropped::default());
        queue.take(&mut taken);
        let now = Timestamp(5);
        assert_eq!(taken.next(now, Version::V311, &mut dropped), Next::Empty);
        queue.left(0);
        queue.give_back(now, Version::V311, &mut dropped);
        assert_eq!(ready(&mut queue), [0x32, 6, 0, 1, b't', 0, 2, b'2']);
    }

    #[test]
    fn the_first_order_stands() {
        let outbox = Outbox::new(10, 1, false);
        outbox.order(Order::Suspended);
        outbox.order(Order::ShuttingDown);
        assert_eq!(outbox.lock().ordered(), Some(Order::Suspended));
    }
}
