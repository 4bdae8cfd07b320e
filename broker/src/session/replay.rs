//! Retained messages for a new subscription, a few at a time, so that however many there are,
//! they never take more memory than the outbox has room for.

use super::connected::Connection;
use crate::outbox::{Bounds, Pushed, Queued};
use crate::permit::ReadRight;
use crate::retained::{Cursor, RetainedMessage};
use crate::wire::{Delivery, Options};
use std::num::NonZero;
use std::sync::Arc;
use tanglegate_core::{Timestamp, TopicFilter};

/// Messages looked up at a time.
const PAGE: usize = 64;

/// A subscription whose retained messages have not all been queued.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) filter: TopicFilter,
    options: Options,
    id: Option<u32>,
    /// Behind what was queued or left out.
    from: Cursor,
}

impl Replay {
    pub(super) fn new(filter: TopicFilter, options: Options, id: Option<NonZero<u32>>) -> Self {
        Self {
            filter,
            options,
            id: id.map(u32::from),
            from: Cursor::start(),
        }
    }
}

impl Connection {
    /// Queues the next retained messages; true when it got on.
    pub(super) fn replay(&mut self) -> bool {
        self.starved = None;
        let Some(mut replay) = self.replays.pop_front() else {
            return false;
        };
        let context = &self.attached.context;
        let given = context.budget(self.handle().subject).given();
        let (now, retained) = (self.now(), Arc::clone(&context.retained));
        let (page, next) = retained.matching(&replay.filter, &replay.from, PAGE, now);
        let mut got_on = false;
        for message in &page {
            let pushed = self.push_retained(message, &replay, now);
            if pushed.is_too_much() {
                // From here, when the client has read what is queued. Only where what all share
                // is missing, it helps that others give room back.
                self.replays.push_front(replay);
                self.starved = (pushed == Pushed::Starved).then_some(given);
                return got_on;
            }
            got_on = true;
            replay.from = Cursor::after(message);
        }
        if let Some(next) = next {
            replay.from = next;
            self.replays.push_back(replay);
        }
        true
    }

    /// Queues one of them, or leaves it out and counts it as queued.
    fn push_retained(&self, message: &RetainedMessage, replay: &Replay, now: Timestamp) -> Pushed {
        let own = message.origin == self.handle().session;
        let permit = match ReadRight::of(&self.rights, message.topic()).at(now) {
            Ok(permit) if !(replay.options.no_local && own) => permit,
            _ => return Pushed::Queued,
        };
        let stored = &message.message;
        let qos = message.qos.min(replay.options.qos);
        let counters = &self.attached.context.counters;
        if Queued::cost(stored) > self.limits().queued_bytes {
            counters.dropped_slow.one();
            return Pushed::Queued;
        }
        if qos != 0 {
            let queued = Queued {
                message: stored.clone(),
                qos,
                retain: true, // [MQTT-3.3.1-8]
                ids: replay.id.map(|id| Arc::from([id])),
                permit: Some(permit),
                share: None,
            };
            return self.handle().outbox.lock().push_queued(queued);
        }
        let delivery = Delivery {
            version: self.version,
            qos,
            packet_id: 0,
            duplicate: false,
            retain: true, // [MQTT-3.3.1-8]
            topic: message.topic(),
            expiry: stored.seconds_left(now),
            ids: replay.id.as_slice(),
            forwarded: stored.properties(),
            payload: stored.payload(),
        };
        if delivery.size() > self.packet_bytes {
            counters.dropped_too_large.one();
            return Pushed::Queued;
        }
        let bounds = Bounds {
            permit,
            expires: stored.expires(),
        };
        self.handle().outbox.lock().push_message(&delivery, bounds)
    }
}
