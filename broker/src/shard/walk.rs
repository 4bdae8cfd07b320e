//! Serving a batch record to the sessions of a shard.

use super::recipients::Recipient;
use super::{Shard, Share, Slot, State};
use crate::message::StoredMessage;
use crate::outbox::{Bounds, Leaving, Portion, Queue, Queued};
use crate::permit::{ReadPermit, Withheld};
use crate::record::{Record, Run, origin, runs};
use crate::retained::Retained;
use crate::session::Order;
use crate::statistics::Counters;
use crate::store::Mark;
use crate::wire::{Delivery, Version};
use std::sync::Arc;
use std::task::Waker;
use tanglegate_core::Timestamp;

/// What one walk did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) slow: u64,
    pub(super) too_large: u64,
    pub(super) withheld: u64,
    pub(super) withheld_ended: u64,
    no_room_to_retain: u64,
    /// The last change that was recorded of it.
    pub(super) mark: Mark,
}

impl Tally {
    /// Messages are withheld from whoever has no right to them, or none any more.
    fn withhold(&mut self, why: Withheld, count: u64) {
        match why {
            Withheld::NoRight => self.withheld += count,
            Withheld::Ended => self.withheld_ended += count,
        }
    }
}

/// What stays the same for all recipients of a run.
pub(super) struct Serving<'a> {
    pub(super) run: &'a Run<'a>,
    origin: u64,
    pub(super) now: Timestamp,
    /// Seconds left of the message's life, when it has an end.
    expiry: Option<u32>,
    /// The run as 5.0 packets with QoS 0 and without subscription identifiers; made once, for
    /// the first who needs them.
    five: &'a mut Vec<u8>,
    /// The messages of the run for those who get them with QoS 1 or 2; made once too.
    stored: &'a mut Vec<StoredMessage>,
    /// Where the only message of the run has been, if a member of a group has left it.
    pub(super) place: Option<Leaving>,
}

/// A walk through one record, on one shard or several.
pub(super) struct Walk<'a> {
    record: &'a [u8],
    now: Timestamp,
    wakers: Vec<Waker>,
    tally: Tally,
}

impl<'a> Walk<'a> {
    pub(super) fn new(record: &'a [u8], now: Timestamp) -> Self {
        Self {
            record,
            now,
            wakers: vec![],
            tally: Tally::default(),
        }
    }

    /// Offers the retained messages of the record to the store. `number` is that of the record
    /// in the log, if it came through it.
    fn retain(&mut self, retained: &Retained, number: Option<u64>) {
        for (run_number, run) in runs(self.record).enumerate() {
            if run.retain {
                let place = number.map(|number| (number, run_number));
                let offered = retained.offer(&run, origin(self.record), place);
                self.tally.no_room_to_retain += u64::from(!offered.fits);
                self.tally.mark = self.tally.mark.max(offered.mark);
            }
        }
    }

    /// Puts the messages into the outboxes of those who may read them.
    fn through(&mut self, state: &mut State) {
        let (mut five, mut stored) = (vec![], vec![]);
        for run in runs(self.record) {
            five.clear();
            stored.clear();
            let buffers = (&mut five, &mut stored);
            let serving = Serving::new(&run, origin(self.record), self.now, buffers);
            state.serve(serving, &mut self.wakers, &mut self.tally);
        }
    }

    /// Puts the only message of the record into the outbox of one of a group. `stored` is the
    /// same message, and `place` where it has been.
    pub(super) fn through_group(
        &mut self,
        state: &mut State,
        share: &Share,
        stored: StoredMessage,
        mut place: Option<Leaving>,
    ) {
        let (mut five, mut stored) = (vec![], vec![stored]);
        for run in runs(self.record) {
            let buffers = (&mut five, &mut stored);
            let mut serving = Serving::new(&run, origin(self.record), self.now, buffers);
            serving.place = place.take();
            state.serve_group(share, serving, &mut self.wakers, &mut self.tally);
        }
    }

    /// Wakes those who got something, and tells what was recorded. No lock may be held.
    pub(super) fn end(self, counters: &Counters) -> Mark {
        self.wakers.into_iter().for_each(Waker::wake);
        counters.dropped_slow.add(self.tally.slow);
        counters.dropped_too_large.add(self.tally.too_large);
        counters.withheld_messages.add(self.tally.withheld);
        counters.withheld_ended.add(self.tally.withheld_ended);
        counters.dropped_retained.add(self.tally.no_room_to_retain);
        self.tally.mark
    }
}

impl Shard {
    /// Serves the sessions of this shard from a record of the log; returns what has to be safe
    /// before it is acknowledged.
    pub(super) fn serve_record(&self, record: &Record, now: Timestamp) -> Mark {
        let mut walk = Walk::new(record.bytes(), now);
        {
            // Under the lock, so that a session that subscribes finds a message either kept or
            // yet to come.
            let mut state = self.state.lock();
            walk.retain(&self.retained, Some(record.number()));
            walk.through(&mut state);
        }
        walk.end(&self.counters)
    }
}

/// Serves all shards from a record that has not been in the log, if that is possible just now:
/// nobody else is serving them, and `is_idle` says that nothing is on its way to them that was
/// published before. Returns what has to be safe before it is acknowledged. Whatever is published
/// after it waits for the locks that are held here.
pub(crate) fn serve_at_once(
    shards: &[Arc<Shard>],
    record: &[u8],
    now: Timestamp,
    is_idle: impl FnOnce() -> bool,
) -> Option<Mark> {
    let mut states = Vec::with_capacity(shards.len());
    for shard in shards {
        match shard.state.try_lock() {
            Some(state) => states.push(state),
            None => return None,
        }
    }
    let first = shards.first().filter(|_| is_idle())?;
    let mut walk = Walk::new(record, now);
    walk.retain(&first.retained, None);
    states.iter_mut().for_each(|it| walk.through(it));
    drop(states);
    Some(walk.end(&first.counters))
}

fn seconds_left(run: &Run<'_>, now: Timestamp) -> Option<u32> {
    let left = run.expires().millis_since(now).div_ceil(1_000);
    run.expiry.map(|_| u32::try_from(left).unwrap_or(u32::MAX))
}

impl State {
    fn serve(&mut self, mut serving: Serving<'_>, wakers: &mut Vec<Waker>, tally: &mut Tally) {
        let topic = serving.run.topic;
        let Self {
            slots,
            index,
            groups,
            recipients,
        } = self;
        let audience = recipients.of(topic, index, groups, slots);
        for recipient in &mut audience.all {
            let slot = slots.get(recipient.slot);
            if !recipient.gets(slot.session == serving.origin) {
                continue;
            }
            recipient.bring_up_to_date(topic, slot);
            // Whoever has no right gets nothing. Whose right ends between here and the socket
            // gets nothing either: the outbox looks again.
            let permit = match recipient.right.at(serving.now) {
                Ok(permit) => permit,
                Err(why) => {
                    tally.withhold(why, u64::from(serving.run.count));
                    continue;
                }
            };
            let mut queue = slot.outbox.lock();
            let bearable = serving.deliver(slot, &mut queue, (recipient, permit), tally);
            tally.mark = tally.mark.max(queue.mark());
            wakers.extend(queue.take_waker());
            drop(queue);
            if !bearable {
                slot.outbox.order(Order::TooSlow);
            }
        }
        for (number, members) in &mut audience.shared {
            let group = groups.get_mut(*number);
            serving.share_out(group, members, slots, wakers, tally);
        }
    }
}

impl<'a> Serving<'a> {
    fn new(
        run: &'a Run<'a>,
        origin: u64,
        now: Timestamp,
        (five, stored): (&'a mut Vec<u8>, &'a mut Vec<StoredMessage>),
    ) -> Self {
        Self {
            run,
            origin,
            now,
            expiry: seconds_left(run, now),
            five,
            stored,
            place: None,
        }
    }

    /// False when a message found no room that must not be dropped.
    fn deliver(
        &mut self,
        slot: &Slot,
        queue: &mut Queue,
        (recipient, permit): (&Recipient, ReadPermit),
        tally: &mut Tally,
    ) -> bool {
        let run = self.run;
        let retain = run.retain && recipient.retain_as_published;
        let bounds = self.bounds(permit);
        match run.qos.min(recipient.qos) {
            0 if !retain && recipient.ids.is_none() && self.fits(slot) => {
                let packets = self.packets(slot.version);
                if queue.push(packets, run.count, bounds).is_too_much() {
                    self.deliver_singly(slot, queue, recipient, bounds, tally);
                }
                true
            }
            0 => {
                self.deliver_singly(slot, queue, recipient, bounds, tally);
                true
            }
            qos => self.queue_up(queue, (recipient, permit), qos, tally),
        }
    }

    /// Queues the messages of the run with QoS 1 or 2; false when one found no room.
    fn queue_up(
        &mut self,
        queue: &mut Queue,
        (recipient, permit): (&Recipient, ReadPermit),
        qos: u8,
        tally: &mut Tally,
    ) -> bool {
        let count = self.run.count as usize;
        for number in 0..count {
            let queued = self.queued(number, (recipient, permit), qos, None);
            if queue.push_queued(queued).is_too_much() {
                tally.slow += (count - number) as u64;
                return false;
            }
        }
        true
    }

    /// A message of the run, by its number, for the line of a client.
    pub(super) fn queued(
        &mut self,
        number: usize,
        (recipient, permit): (&Recipient, ReadPermit),
        qos: u8,
        share: Option<Box<Portion>>,
    ) -> Queued {
        let run = self.run;
        if self.stored.is_empty() {
            let store =
                |payload| StoredMessage::new(run.topic, run.properties, payload, run.expires());
            self.stored.extend(run.payloads().map(store));
        }
        Queued {
            message: self.stored[number].clone(),
            qos,
            retain: run.retain && recipient.retain_as_published,
            ids: recipient.ids.clone(),
            permit: Some(permit),
            share,
        }
    }

    /// A message of the run as a packet for a client.
    pub(super) fn delivery<'b>(
        &'b self,
        slot: &Slot,
        recipient: &'b Recipient,
        qos: u8,
        payload: &'b [u8],
    ) -> Delivery<'b> {
        Delivery {
            version: slot.version,
            qos,
            packet_id: u16::from(qos != 0),
            duplicate: false,
            retain: self.run.retain && recipient.retain_as_published,
            topic: self.run.topic,
            expiry: self.expiry,
            ids: recipient.ids.as_deref().unwrap_or_default(),
            forwarded: self.run.properties,
            payload,
        }
    }

    /// How long the messages may be handed to whoever has this permit.
    pub(super) fn bounds(&self, permit: ReadPermit) -> Bounds {
        Bounds {
            permit,
            expires: self.run.expires(),
        }
    }

    /// True when no packet of the run can be too large for the client.
    fn fits(&self, slot: &Slot) -> bool {
        const LENGTHS_AND_EXPIRY: usize = 16;
        let largest = self.run.largest as usize + self.run.properties.len() + LENGTHS_AND_EXPIRY;
        largest <= slot.packet_bytes as usize
    }

    /// The run's packets with QoS 0, without retain flag and subscription identifiers.
    fn packets(&mut self, version: Version) -> &[u8] {
        if version == Version::V311 {
            return self.run.packets;
        }
        if self.five.is_empty() {
            for payload in self.run.payloads() {
                let delivery = Delivery {
                    version: Version::V5,
                    qos: 0,
                    packet_id: 0,
                    duplicate: false,
                    retain: false,
                    topic: self.run.topic,
                    expiry: self.expiry,
                    ids: &[],
                    forwarded: self.run.properties,
                    payload,
                };
                delivery.put(self.five);
            }
        }
        self.five
    }

    /// Queues the messages of the run with QoS 0, as many as there is room for.
    fn deliver_singly(
        &self,
        slot: &Slot,
        queue: &mut Queue,
        recipient: &Recipient,
        bounds: Bounds,
        tally: &mut Tally,
    ) {
        let run = self.run;
        let mut left = u64::from(run.count);
        for payload in run.payloads() {
            let delivery = self.delivery(slot, recipient, 0, payload);
            if delivery.size() > slot.packet_bytes as usize {
                tally.too_large += 1; // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
            } else if queue.push_message(&delivery, bounds).is_too_much() {
                tally.slow += left;
                return;
            }
            left -= 1;
        }
    }
}
