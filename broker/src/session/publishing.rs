//! Messages from the client.

use super::connected::Connection;
use super::end::End;
use crate::decision::{self, Refusal};
use crate::permit::WritePermit;
use crate::record::Message;
use crate::statistics::{Outcome, Stage};
use crate::wire::{Answer, Fault, Frame, Publish, PublishProperties, Version, refuse_publish};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tanglegate_core::{Timestamp, TopicName};

/// Topics whose permits a session remembers, and their bytes together.
const PERMITS: usize = 256;
const PERMIT_BYTES: usize = 32 << 10;
/// What remembering a permit costs besides its topic.
const PERMIT: usize = 64;

/// Permits to publish that the client has been given in this connection.
#[derive(Debug, Default)]
pub(super) struct Permits {
    /// The topic of the last message.
    last: Option<WritePermit>,
    others: HashMap<Arc<str>, WritePermit>,
    bytes: usize,
}

impl Permits {
    /// Rights have changed: all have to be asked for again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The permit for the topic, if it runs at `now`.
    fn find(&mut self, topic: &[u8], now: impl FnOnce() -> Timestamp) -> Option<&WritePermit> {
        let is_last = matches!(&self.last, Some(last) if last.topic().as_bytes() == topic);
        if !is_last {
            let text = std::str::from_utf8(topic).ok()?;
            self.last = Some(self.others.get(text)?.clone());
        }
        self.last.as_ref().filter(|it| it.runs(now))
    }

    fn add(&mut self, permit: &WritePermit) {
        if self.others.len() >= PERMITS || self.bytes >= PERMIT_BYTES {
            self.forget();
        }
        self.bytes += permit.topic().len();
        let topic = Arc::clone(permit.topic());
        self.others.insert(topic, permit.clone());
        self.last = Some(permit.clone());
    }

    /// Bytes that they take.
    pub(super) fn cost(&self) -> usize {
        self.bytes + self.others.len() * PERMIT
    }
}

/// Topic aliases that the client has set (MQTT 5.0 §3.3.2.3.4).
#[derive(Debug, Default)]
pub(super) struct Aliases {
    topics: Vec<Option<Arc<str>>>,
    /// Bytes of the topics.
    bytes: usize,
}

impl Aliases {
    fn set(&mut self, alias: u16, topic: &str, most: u16) -> Result<(), Fault> {
        if alias == 0 || alias > most {
            return Err(Fault::TopicAlias(alias)); // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
        }
        let at = usize::from(alias - 1);
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        let before = self.topics[at].replace(topic.into());
        self.bytes += topic.len();
        self.bytes -= before.map_or(0, |it| it.len());
        Ok(())
    }

    fn get(&self, alias: u16) -> Result<Arc<str>, Fault> {
        let at = usize::from(alias).checked_sub(1);
        let topic = at.and_then(|at| self.topics.get(at));
        let topic = topic.and_then(Option::as_ref);
        topic.cloned().ok_or(Fault::TopicAlias(alias))
    }

    /// Bytes that they take: each place has room for a pointer, and each topic a counter.
    pub(super) fn cost(&self) -> usize {
        self.bytes + self.topics.capacity() * 2 * size_of::<Option<Arc<str>>>()
    }
}

/// QoS 1 and 2 messages from the client whose last answer has not left for it.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged {
    open: usize,
    /// Up to where the answers have to be handed over, and how many messages that acknowledges.
    answers: VecDeque<(u64, usize)>,
}

impl Unacknowledged {
    fn add(&mut self) {
        self.open += 1;
    }

    /// Answers that end `count` messages are written up to `answered_until`.
    pub(super) fn ends(&mut self, count: usize, answered_until: u64) {
        let many = self.answers.len() >= 64;
        match self.answers.back_mut() {
            // Of many, the last ones are told from each other no more. They count with the first
            // of them: with the last, a client that reads all the time would seem to have more
            // open than it has.
            Some((_, before)) if many => *before += count,
            _ => self.answers.push_back((answered_until, count)),
        }
    }

    /// Everything up to `gone` was handed over.
    pub(super) fn left(&mut self, gone: u64) {
        while let Some((until, count)) = self.answers.front()
            && *until <= gone
        {
            // What an earlier connection began is not counted in this one.
            self.open = self.open.saturating_sub(*count);
            self.answers.pop_front();
        }
    }
}

impl Connection {
    /// Takes a message, if the client may publish it at this moment.
    pub(super) fn handle_publish(&mut self, frame: &Frame<'_>, now: Timestamp) -> Result<(), End> {
        let publish = Publish::read(self.version, frame)?;
        self.received_payload += publish.payload.len() as u64;
        if publish.qos != 0 && !self.expect_answer(&publish)? {
            return Ok(());
        }
        if self.version == Version::V5 && !publish.properties.is_empty() {
            return self.publish_with_properties(&publish, now);
        }
        let clock = &self.attached.context.clock;
        if let Some(permit) = self.permits.find(publish.topic, || clock.now()) {
            // As almost all messages are: on the same topic as the last one, and permitted.
            if frame.first == 0x30 && self.version == Version::V311 {
                self.record.push_plain(permit, frame.whole, now);
            } else {
                self.record.push(permit, &plain_message(&publish), now);
                self.accept(&publish);
            }
            return Ok(());
        }
        let topic = topic_name(publish.topic)?;
        if let Some(way) = self.way_to_engine(&topic) {
            self.request(&publish, &PublishProperties::default(), (&topic, &way));
            return Ok(());
        }
        match self.permit_publish(&topic) {
            Ok(permit) => {
                self.record.push(&permit, &plain_message(&publish), now);
                self.accept(&publish);
            }
            Err(refusal) => self.refuse(&publish, &refusal),
        }
        Ok(())
    }

    fn publish_with_properties(
        &mut self,
        publish: &Publish<'_>,
        now: Timestamp,
    ) -> Result<(), End> {
        let properties = PublishProperties::read(publish.properties)?;
        let topic = self.resolve_alias(publish.topic, properties.alias)?;
        if let Some(way) = self.way_to_engine(&topic) {
            self.request(publish, &properties, (&topic, &way));
            return Ok(());
        }
        let permit = match self.permit_publish(&topic) {
            Ok(permit) => permit,
            Err(refusal) => {
                self.refuse(publish, &refusal);
                return Ok(());
            }
        };
        let message = Message {
            expiry: properties.expiry,
            properties: &properties.forwarded,
            ..plain_message(publish)
        };
        self.record.push(&permit, &message, now);
        self.accept(publish);
        Ok(())
    }

    fn resolve_alias(&mut self, topic: &[u8], alias: Option<u16>) -> Result<TopicName, Fault> {
        let Some(alias) = alias else {
            return topic_name(topic);
        };
        if topic.is_empty() {
            return topic_name(self.aliases.get(alias)?.as_bytes());
        }
        let topic = topic_name(topic)?;
        let limits = self.limits();
        if topic.as_str().len() > limits.topic_bytes {
            return Err(Fault::TopicName("it is longer than this server remembers"));
        }
        let most = limits.topic_aliases;
        self.aliases.set(alias, topic.as_str(), most)?;
        Ok(topic)
    }

    /// Counts a message that has to be answered, against the receive maximum
    /// ([MQTT-3.3.4-7]). False when it is here already, and is only answered again
    /// ([MQTT-4.3.3-10]).
    fn expect_answer(&mut self, publish: &Publish<'_>) -> Result<bool, Fault> {
        let id = publish.packet_id;
        if publish.qos == 2 && self.handle().received.lock().contains(&id) {
            self.acks.push_again(id);
            return Ok(false);
        }
        self.unacknowledged.add();
        let most = usize::from(self.limits().in_flight);
        if self.version == Version::V5 && self.unacknowledged.open > most {
            return Err(Fault::ReceiveMaximum);
        }
        Ok(true)
    }

    /// Asks for a permit, unless one is remembered that still runs.
    fn permit_publish(&mut self, topic: &TopicName) -> Result<WritePermit, Refusal> {
        let now = self.now();
        if let Some(permit) = self.permits.find(topic.as_str().as_bytes(), || now) {
            return Ok(permit.clone());
        }
        let (view, subject) = (&self.attached.context.view, self.handle().subject);
        let (_, permit) = decision::permit_publish(view, self.limits(), subject, topic, now)?;
        let counters = &self.attached.context.counters;
        counters.decided(Stage::Publish, Outcome::Permitted);
        self.permits.add(&permit);
        Ok(permit)
    }

    pub(super) fn accept(&mut self, publish: &Publish<'_>) {
        let id = publish.packet_id;
        match publish.qos {
            0 => {}
            1 => self.acks.push(Answer::Acknowledged, id, true),
            _ => {
                self.handle().received.lock().insert(id);
                self.identifiers += 1;
                self.acks.push_received(id);
            }
        }
    }

    /// Drops a message: 5.0 is told why, 3.1.1 has no word for it and gets its acknowledgement
    /// (MQTT 3.1.1 §3.3.5).
    pub(super) fn refuse(&mut self, publish: &Publish<'_>, refusal: &Refusal) {
        let counters = &self.attached.context.counters;
        counters.decided(Stage::Publish, refusal);
        let (id, answer) = match publish.qos {
            0 => return,
            1 => (publish.packet_id, Answer::Acknowledged),
            _ => (publish.packet_id, Answer::Received),
        };
        if self.version == Version::V311 {
            return self.acks.push(answer, id, true);
        }
        let why = if self.explains {
            refusal.to_string()
        } else {
            String::new()
        };
        let (reason, limit) = (refusal.reason(), self.packet_bytes);
        let write = |out: &mut Vec<u8>| refuse_publish(out, answer, id, reason, &why, limit);
        self.acks.push_with(true, write);
    }
}

fn topic_name(bytes: &[u8]) -> Result<TopicName, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Malformed("a topic is not UTF-8"))?;
    if text.is_empty() {
        // [MQTT-3.3.2-8]: without an alias, there must be a topic.
        return Err(Fault::Protocol("there is neither a topic nor an alias"));
    }
    TopicName::parse(text).map_err(|_| Fault::TopicName("it has a wildcard or a null character"))
}

fn plain_message<'a>(publish: &Publish<'a>) -> Message<'a> {
    Message {
        qos: publish.qos,
        retain: publish.retain,
        expiry: None,
        properties: &[],
        payload: publish.payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_bounded_and_have_to_be_set_first() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.get(1), Err(Fault::TopicAlias(1)));
        assert_eq!(aliases.get(0), Err(Fault::TopicAlias(0)));
        assert_eq!(aliases.set(0, "a", 2), Err(Fault::TopicAlias(0)));
        assert_eq!(aliases.set(3, "a", 2), Err(Fault::TopicAlias(3)));
        aliases.set(2, "a", 2).unwrap();
        aliases.set(2, "b", 2).unwrap();
        assert_eq!(aliases.get(2).as_deref(), Ok("b"));
        assert_eq!(aliases.get(1), Err(Fault::TopicAlias(1)));
    }

    #[test]
    fn messages_count_until_their_answers_have_left() {
        let mut unacknowledged = Unacknowledged::default();
        for until in 1..=200 {
            unacknowledged.add();
            unacknowledged.ends(1, until * 4);
        }
        unacknowledged.left(8);
        assert_eq!(unacknowledged.open, 198);
        assert!(unacknowledged.answers.len() <= 64);
        // [MQTT-3.3.4-7]: never more than the client can know of.
        unacknowledged.left(600);
        assert!(unacknowledged.open <= 50, "{}", unacknowledged.open);
        unacknowledged.left(800);
        assert_eq!(unacknowledged.open, 0);
    }

    #[test]
    fn permits_are_bounded() {
        let mut permits = Permits::default();
        for number in 0..1_000 {
            permits.add(&WritePermit::unchecked(&format!("t/{number}")));
        }
        let now = || Timestamp(0);
        assert!(permits.others.len() <= PERMITS);
        assert!(permits.find(b"t/999", now).is_some());
        assert!(permits.find(b"t/1", now).is_none());
    }
}
