//! What the standard promises one client: which messages may come, which must, and how.

use crate::line::{Broken, Line, Message, broken};
use crate::step::{FILTERS, Options, PAID, TOPICS};
use std::collections::{BTreeMap, BTreeSet};

/// A message, by the order in which they were published.
pub(crate) type Number = u32;

/// A message that was published.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) topic: usize,
    pub(crate) qos: u8,
    pub(crate) publisher: usize,
    pub(crate) retain: bool,
    /// How often the publisher sent it: with QoS 1, each may be passed on.
    pub(crate) copies: u32,
    /// The gate has taken it over.
    pub(crate) accepted: bool,
}

impl Published {
    /// How often more than once it may come, since its publisher has sent it again.
    fn repeated(&self) -> u32 {
        if self.qos == 1 { self.copies - 1 } else { 0 }
    }
}

/// What is to come of a message.
#[derive(Debug, Clone)]
struct Expected {
    /// Bit 1 << QoS of each that it may come with.
    qos: u8,
    must: bool,
    /// It may come with the retain flag that it was published with.
    as_published: bool,
    /// Nothing has changed since, that makes its arrival doubtful.
    firm: bool,
    /// The connection that it was first expected on.
    since: u64,
    /// How often it came, repetitions aside; how often it has to where it must, and may where
    /// its publisher did not repeat it.
    seen: u32,
    due: u32,
    most: u32,
}

/// A message whose handshake is not over.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: u16,
    pub(crate) number: Number,
    pub(crate) qos: u8,
    /// QoS 2: PUBREC was sent.
    pub(crate) recorded: bool,
    /// The connection on which it came last.
    line: u64,
}

/// A message of the client's own whose handshake is not over.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: u16,
    pub(crate) number: Number,
    pub(crate) qos: u8,
    /// The PUBREC has come.
    pub(crate) recorded: bool,
    /// The PUBREL was sent, on this connection.
    pub(crate) released: bool,
}

/// One client, whether connected or not.
#[derive(Default)]
pub(crate) struct Peer {
    pub(crate) line: Option<Line>,
    pub(crate) version: u8,
    pub(crate) receive_maximum: u16,
    /// The session outlives its connection.
    pub(crate) keep: bool,
    /// The gate sends again what was in flight when a connection ended.
    pub(crate) redelivers: bool,
    pub(crate) subscriptions: BTreeMap<usize, Options>,
    expected: BTreeMap<(Number, bool), Expected>,
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) outgoing: Vec<Outgoing>,
    /// PUBRELs are held back.
    pub(crate) holding: bool,
    /// Messages that were answered, by answers that may not have arrived.
    doubtful: BTreeSet<(Number, u16)>,
    /// Identifiers of PUBRELs that may come again.
    doubtful_ids: BTreeSet<u16>,
    /// The last message of each publisher, topic and QoS.
    last: BTreeMap<(usize, usize, u8, u8), Number>,
    /// Exclusive end of the lease, in milliseconds since the start.
    pub(crate) paid_until: u64,
    /// Until everything that was written before the lease's end has arrived.
    pub(crate) grace: bool,
    next_id: u16,
}

impl Peer {
    /// An identifier that is not in flight.
    pub(crate) fn next_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % 60_000 + 1;
            if self.outgoing.iter().all(|it| it.id != self.next_id) {
                return self.next_id;
            }
        }
    }

    pub(crate) fn may_read(&self, topic: usize, now: u64) -> bool {
        topic != PAID || now < self.paid_until
    }

    fn line_number(&self) -> u64 {
        self.line.as_ref().map_or(0, |it| it.number)
    }

    /// The best QoS of the subscriptions that want a message of `publisher` on `topic`; `me` is
    /// this client. With it, whether the retain flag may be either.
    fn wish(&self, me: usize, topic: usize, publisher: usize) -> Option<u8> {
        let wanting = self.subscriptions.iter().filter(|(filter, options)| {
            FILTERS[**filter].1.contains(&topic) && !(options.no_local && publisher == me)
        });
        wanting.map(|(_, options)| options.qos).max()
    }

    /// A message was sent, or may be passed on from now on.
    pub(crate) fn expect(&mut self, me: usize, number: Number, message: &Published, now: u64) {
        let Some(wish) = self.wish(me, message.topic, message.publisher) else {
            return;
        };
        if !self.may_read(message.topic, now) {
            return;
        }
        let (since, line) = (self.line_number(), self.line.is_some());
        let qos = wish.min(message.qos);
        let new = Expected {
            qos: 0,
            must: false,
            as_published: false,
            firm: line || qos > 0,
            since,
            seen: 0,
            due: 1,
            most: 1,
        };
        let as_published = |(filter, options): (&usize, &Options)| {
            options.retain_as_published && FILTERS[*filter].1.contains(&message.topic)
        };
        let as_published = self.subscriptions.iter().any(as_published);
        let expected = self.expected.entry((number, false)).or_insert(new);
        expected.qos |= 1 << qos;
        expected.as_published |= as_published;
    }

    /// The gate has taken a message over: whoever wanted it all the time has to get it.
    pub(crate) fn accepted(&mut self, number: Number, message: &Published, now: u64) {
        let readable = self.may_read(message.topic, now);
        if let Some(expected) = self.expected.get_mut(&(number, false)) {
            expected.must = expected.firm && readable;
        }
    }

    /// A retained message is to come, as the answer to a subscription.
    pub(crate) fn expect_retained(&mut self, number: Number, qos: u8, must: bool) {
        let since = self.line_number();
        let entry = self.expected.entry((number, true)).or_insert(Expected {
            qos: 0,
            must,
            as_published: false,
            firm: false,
            since,
            seen: 0,
            due: 0,
            most: 0,
        });
        entry.qos |= 1 << qos;
        // Once more: what an earlier subscription asked for may still wait.
        entry.must = must;
        entry.due = entry.seen + 1;
        entry.most += 1;
    }

    /// Subscriptions or rights have changed: what was not taken over yet becomes doubtful, and
    /// with `ended` also what needs the right.
    pub(crate) fn doubt(&mut self, messages: &[Published], ended: bool) {
        for ((number, _), expected) in &mut self.expected {
            expected.firm &= expected.must;
            if ended && messages[*number as usize].topic == PAID {
                (expected.firm, expected.must) = (false, false);
            }
        }
    }

    /// The connection is over; `settled`: everything sent had arrived. What the standard keeps
    /// for a session is still to come.
    pub(crate) fn disconnected(&mut self, settled: bool) {
        self.line = None;
        for ((_, retained), expected) in &mut self.expected {
            if *retained || expected.qos & 1 != 0 || !self.redelivers {
                (expected.must, expected.firm) = (false, false);
            }
        }
        if settled {
            self.certain();
        }
        if !self.redelivers {
            self.incoming.clear();
        }
        if !self.keep {
            self.forget();
        }
    }

    /// All that was sent before has been handled.
    pub(crate) fn certain(&mut self) {
        self.doubtful.clear();
        self.doubtful_ids.clear();
    }

    /// The session is over.
    pub(crate) fn forget(&mut self) {
        self.subscriptions.clear();
        self.expected.clear();
        self.incoming.clear();
        self.outgoing.clear();
        self.last.clear();
        self.holding = false;
        self.certain();
    }

    /// A message has come. Checks everything that the standard says about it.
    pub(crate) fn receive(
        &mut self,
        it: &Message,
        number: Number,
        message: &Published,
        now: u64,
    ) -> Result<(), Broken> {
        if TOPICS[message.topic] != it.topic {
            return Err(broken!("message {number} came on {}", it.topic));
        }
        if !self.may_read(message.topic, now) && !self.grace {
            return Err(broken!("message {number} came after the end of the lease"));
        }
        if self.repeats(it, number)? {
            return self.within_receive_maximum();
        }
        let (retained, doubtful) = self.which(it, number, message)?;
        let line = self.line_number();
        let expected = self.expected.get_mut(&(number, retained)).expect("found");
        if expected.qos & (1 << it.qos) == 0 {
            return Err(broken!(
                "[MQTT-3.8.4-8] wrong QoS of message {number}: {it:?}"
            ));
        }
        // It may have been sent before, and lost with its connection.
        if it.duplicate && (expected.since == line || it.qos == 0) {
            return Err(broken!(
                "[MQTT-3.3.1-1], [MQTT-3.3.1-3] first of all, and DUP: {it:?}"
            ));
        }
        expected.seen += 1;
        if expected.seen > expected.most + message.repeated() {
            return Err(broken!(
                "message {number} came {} times: {it:?}",
                expected.seen
            ));
        }
        let first = expected.seen == 1;
        let key = (message.publisher, message.topic, message.qos, it.qos);
        if first && !retained && !doubtful && self.last.insert(key, number) > Some(number) {
            return Err(broken!(
                "[MQTT-4.6.0-6] message {number} came after a later one"
            ));
        }
        if it.qos > 0 {
            if it.id == 0 || self.incoming.iter().any(|open| open.id == it.id) {
                return Err(broken!("[MQTT-2.2.1-4] identifier in use: {it:?}"));
            }
            self.incoming.push(Incoming {
                id: it.id,
                number,
                qos: it.qos,
                recorded: false,
                line,
            });
        }
        self.within_receive_maximum()
    }

    /// Whether a message is the retained one that answers a subscription, and not the one that
    /// was just published; with it, whether it may as well be the other.
    fn which(
        &self,
        it: &Message,
        number: Number,
        message: &Published,
    ) -> Result<(bool, bool), Broken> {
        let asked = |retained: &bool| self.expected.contains_key(&(number, *retained));
        let fits = |retained: &bool| {
            let as_published = self.expected[&(number, *retained)].as_published;
            it.retain == *retained || it.retain == message.retain && as_published
        };
        let asked: Vec<bool> = [it.retain, !it.retain].into_iter().filter(asked).collect();
        if asked.is_empty() {
            return Err(broken!("nobody asked for message {number}: {it:?}"));
        }
        // The one that has to come before the one that may, and that before what has come.
        let need = |retained: &bool| {
            let expected = &self.expected[&(number, *retained)];
            let open = expected.seen < expected.most + message.repeated();
            let owed = expected.must && expected.seen < expected.due;
            let qos = expected.qos & (1 << it.qos) != 0;
            (qos && owed, qos && open)
        };
        let fitting: Vec<bool> = asked.into_iter().filter(fits).collect();
        let which = fitting.iter().copied().reduce(|best, other| {
            if need(&other) > need(&best) {
                other
            } else {
                best
            }
        });
        let which = which.ok_or_else(|| {
            let words = "[MQTT-3.3.1-8], [MQTT-3.3.1-9], [MQTT-3.3.1-12], [MQTT-3.3.1-13]";
            broken!("{words} wrong retain flag: {it:?}")
        })?;
        Ok((which, fitting.len() > 1))
    }

    /// True when the message is one that has come already and is sent again.
    fn repeats(&mut self, it: &Message, number: Number) -> Result<bool, Broken> {
        let line = self.line_number();
        let open = self
            .incoming
            .iter_mut()
            .find(|open| it.qos > 0 && open.id == it.id && open.number == number);
        if let Some(open) = open {
            if !it.duplicate || open.line == line {
                let words = "[MQTT-3.3.1-1], [MQTT-4.4.0-1]";
                return Err(broken!("{words} sent again: {it:?}"));
            }
            open.line = line;
            open.recorded = false;
            return Ok(true);
        }
        // The answer to it may have been lost.
        let answered = (number, it.id);
        if it.duplicate && it.qos == 1 && self.doubtful.contains(&answered) {
            self.incoming.push(Incoming {
                id: it.id,
                number,
                qos: 1,
                recorded: false,
                line,
            });
            return Ok(true);
        }
        Ok(false)
    }

    fn within_receive_maximum(&self) -> Result<(), Broken> {
        let open = self.in_flight();
        if self.version == 5 && open > usize::from(self.receive_maximum) {
            return Err(broken!("[MQTT-3.3.4-9] {open} messages are in flight"));
        }
        Ok(())
    }

    /// Messages that came on this connection and were not answered.
    pub(crate) fn in_flight(&self) -> usize {
        let line = self.line_number();
        self.incoming.iter().filter(|it| it.line == line).count()
    }

    /// The oldest message that came on this connection and has no answer yet.
    pub(crate) fn unanswered(&self) -> Option<usize> {
        let line = self.line_number();
        let open = |it: &Incoming| !it.recorded && it.line == line;
        self.incoming.iter().position(open)
    }

    /// True when something has to happen on this connection before all handshakes are over.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight() > 0 || !self.outgoing.is_empty()
    }

    /// True when a message that came on an earlier connection and was not answered has yet to
    /// come again.
    pub(crate) fn not_repeated(&self, messages: &[Published]) -> bool {
        // What is for sale may have been withheld when its turn came.
        let owed = |it: &Incoming| messages[it.number as usize].topic != PAID;
        self.incoming.iter().any(owed)
    }

    /// A message's handshake is over, as this client sees it.
    pub(crate) fn answered(&mut self, at: usize) {
        let open = self.incoming.remove(at);
        self.doubtful.insert((open.number, open.id));
        self.doubtful_ids.insert(open.id);
    }

    /// True when a PUBREL with this identifier may come without a message in flight.
    pub(crate) fn may_be_released_again(&self, id: u16) -> bool {
        self.doubtful_ids.contains(&id)
    }

    /// A message that must have come by now, if there is one. With QoS 1 and 2, as long as
    /// nothing is in flight; `all`: whatever is.
    pub(crate) fn missing(&self) -> Option<Number> {
        let full = self.in_flight() >= usize::from(self.receive_maximum);
        let missing = self.expected.iter().find(|(_, it)| {
            let waits = full && it.qos > 1;
            it.must && it.seen < it.due && !waits
        });
        missing.map(|((number, _), _)| *number)
    }
}
