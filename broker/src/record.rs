//! Batch records: what one session read in one go, on its way to the shards.
//!
//! A record is a head and a sequence of *runs*. A run is one or more messages by the same
//! publisher on the same topic with the same QoS, stored as plain packets (3.1.1, QoS 0) one
//! after the other, so that for most readers delivering a whole run is copying its bytes once.
//! A message with properties, an expiry or the retain flag is a run of its own.
//!
//! ```text
//! record = ticket: u64, origin: u64, run*
//! run    = topic length: u16, flags: u8, 0: u8, count: u32, largest packet: u32,
//!          packets: u32, properties: u32, expiry: u32, arrived: u64,
//!          topic, properties, packets          (numbers little-endian)
//! ```
//! Records live in this process only, so their form may change with any version.

use crate::message::StoredMessage;
use crate::outbox::Portion;
use crate::permit::WritePermit;
use crate::wire::{put_plain, take_plain};
use bytes::Bytes;
use tanglegate_core::Timestamp;

const HEAD: usize = 16;
const RUN_HEAD: usize = 32;
const QOS: u8 = 3;
const RETAIN: u8 = 4;
const EXPIRES: u8 = 8;

/// Bytes of a run head at their offsets.
mod offset {
    pub(super) const FLAGS: usize = 2;
    pub(super) const COUNT: usize = 4;
    pub(super) const LARGEST: usize = 8;
    pub(super) const PACKETS: usize = 12;
    pub(super) const PROPERTIES: usize = 16;
    pub(super) const EXPIRY: usize = 20;
    pub(super) const ARRIVED: usize = 24;
}

/// One message for a record. Its topic stands in the permit that it comes with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Seconds that it is worth keeping.
    pub(crate) expiry: Option<u32>,
    /// Properties to forward, as bytes of the wire.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Message<'_> {
    fn stands_alone(&self) -> bool {
        self.retain || self.expiry.is_some() || !self.properties.is_empty()
    }

    fn flags(&self) -> u8 {
        let expires = if self.expiry.is_some() { EXPIRES } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        self.qos | retain | expires
    }
}

/// Builds a record.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    bytes: Vec<u8>,
    /// Where the head of the run stands that the next message may join.
    open: Option<usize>,
}

impl RecordWriter {
    /// True when there is no message in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory that it takes.
    pub(crate) fn cost(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes it a record even without a message: whoever waits for it waits for all that its
    /// session published before.
    pub(crate) fn fence(&mut self) {
        self.reserve(0);
    }

    /// Appends a message on the topic of `permit` that arrived at `now`.
    pub(crate) fn push(&mut self, permit: &WritePermit, message: &Message<'_>, now: Timestamp) {
        debug_assert!(permit.runs(|| now), "a permit is used while it runs");
        self.put(permit.topic(), message, now);
    }

    /// Appends a message that came out of another record: its publisher was permitted then. It
    /// counts as one that arrived at `arrived`.
    pub(crate) fn push_again(
        &mut self,
        portion: &Portion,
        left: &StoredMessage,
        expiry: Option<u32>,
        arrived: Timestamp,
    ) {
        let again = Message {
            qos: portion.qos,
            retain: portion.retain,
            expiry,
            properties: left.properties(),
            payload: left.payload(),
        };
        self.put(left.topic(), &again, arrived);
    }

    fn put(&mut self, topic: &str, message: &Message<'_>, now: Timestamp) {
        self.reserve(message.payload.len() + topic.len());
        let head = match self.open {
            Some(head) if self.continues(head, topic, message) => head,
            _ => self.start(topic, message, now),
        };
        let before = self.bytes.len();
        put_plain(&mut self.bytes, topic, message.payload);
        self.grow(head, before);
    }

    /// Appends a QoS 0 message that is a plain packet on the topic of `permit` already, as most
    /// are.
    pub(crate) fn push_plain(&mut self, permit: &WritePermit, packet: &[u8], now: Timestamp) {
        let topic = &**permit.topic();
        let message = Message {
            qos: 0,
            retain: false,
            expiry: None,
            properties: &[],
            payload: &[],
        };
        self.reserve(packet.len());
        let head = match self.open {
            Some(head) if self.continues(head, topic, &message) => head,
            _ => self.start(topic, &message, now),
        };
        let before = self.bytes.len();
        self.bytes.extend_from_slice(packet);
        self.grow(head, before);
    }

    /// The finished record. `origin` is the session that published it; the ticket is set when
    /// it enters the log.
    pub(crate) fn finish(mut self, origin: u64) -> Vec<u8> {
        self.bytes[8..HEAD].copy_from_slice(&origin.to_le_bytes());
        self.bytes
    }

    fn reserve(&mut self, more: usize) {
        if self.bytes.is_empty() {
            self.bytes.reserve(HEAD + RUN_HEAD + more + 64);
            self.bytes.resize(HEAD, 0);
        }
    }

    fn continues(&self, head: usize, topic: &str, message: &Message<'_>) -> bool {
        let run = &self.bytes[head..];
        let length = usize::from(u16::from_le_bytes([run[0], run[1]]));
        run[offset::FLAGS] == message.flags()
            && !message.stands_alone()
            && run[RUN_HEAD..RUN_HEAD + length] == *topic.as_bytes()
    }

    fn start(&mut self, topic: &str, message: &Message<'_>, now: Timestamp) -> usize {
        let head = self.bytes.len();
        let length = u16::try_from(topic.len()).expect("topics have at most 65,535 bytes");
        let properties = number(message.properties.len());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&[message.flags(), 0]);
        self.bytes.extend_from_slice(&[0; 12]);
        self.bytes.extend_from_slice(&properties.to_le_bytes());
        self.bytes
            .extend_from_slice(&message.expiry.unwrap_or(0).to_le_bytes());
        self.bytes.extend_from_slice(&now.0.to_le_bytes());
        self.bytes.extend_from_slice(topic.as_bytes());
        self.bytes.extend_from_slice(message.properties);
        self.open = (!message.stands_alone()).then_some(head);
        head
    }

    /// Counts the packet that was appended from `before` on.
    fn grow(&mut self, head: usize, before: usize) {
        let packet = number(self.bytes.len() - before);
        let run = &mut self.bytes[head..head + RUN_HEAD];
        let mut change = |at: usize, change: &dyn Fn(u32) -> u32| {
            let new = change(read_u32(run, at));
            run[at..at + 4].copy_from_slice(&new.to_le_bytes());
        };
        change(offset::COUNT, &|it| it + 1);
        change(offset::LARGEST, &|it| it.max(packet));
        change(offset::PACKETS, &|it| it + packet);
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("packets are bounded to 256 MB")
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes[at..at + 8].try_into().expect("eight bytes");
    u64::from_le_bytes(bytes)
}

/// Writes the ticket under which the record's share of the log is given back.
pub(crate) fn set_ticket(record: &mut [u8], ticket: u64) {
    record[..8].copy_from_slice(&ticket.to_le_bytes());
}

/// A finished record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    bytes: Bytes,
    number: u64,
}

impl Record {
    /// A record from the log, and its number there.
    ///
    /// # Panics
    /// When the bytes were not written by a [`RecordWriter`].
    pub(crate) fn new(bytes: Bytes, number: u64) -> Self {
        assert!(bytes.len() >= HEAD, "the log carries only records");
        Self { bytes, number }
    }

    /// Its number in the log, the same for all shards.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn ticket(&self) -> u64 {
        read_u64(&self.bytes, 0)
    }

    /// Its contents, as [`RecordWriter::finish`] returned them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The session that published a record.
pub(crate) fn origin(record: &[u8]) -> u64 {
    read_u64(record, 8)
}

/// The runs of a record, in the order in which they were published.
pub(crate) fn runs(record: &[u8]) -> impl Iterator<Item = Run<'_>> {
    let mut rest = &record[HEAD..];
    std::iter::from_fn(move || Run::take(&mut rest))
}

/// Messages on one topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) topic: &'a str,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Seconds that the message is worth keeping, from its arrival on.
    pub(crate) expiry: Option<u32>,
    pub(crate) properties: &'a [u8],
    pub(crate) arrived: Timestamp,
    /// How many messages.
    pub(crate) count: u32,
    /// Bytes of the largest plain packet.
    pub(crate) largest: u32,
    /// Their plain packets.
    pub(crate) packets: &'a [u8],
}

impl<'a> Run<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        if rest.is_empty() {
            return None;
        }
        let (head, after) = rest.split_at(RUN_HEAD);
        let topic = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let (topic, after) = after.split_at(topic);
        let (properties, after) = after.split_at(read_u32(head, offset::PROPERTIES) as usize);
        let (packets, after) = after.split_at(read_u32(head, offset::PACKETS) as usize);
        *rest = after;
        let flags = head[offset::FLAGS];
        Some(Self {
            topic: std::str::from_utf8(topic).expect("records hold parsed topics"),
            qos: flags & QOS,
            retain: flags & RETAIN != 0,
            expiry: (flags & EXPIRES != 0).then(|| read_u32(head, offset::EXPIRY)),
            properties,
            arrived: Timestamp(read_u64(head, offset::ARRIVED)),
            count: read_u32(head, offset::COUNT),
            largest: read_u32(head, offset::LARGEST),
            packets,
        })
    }

    /// The payloads of its messages.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = &'a [u8]> {
        let (mut rest, topic) = (self.packets, self.topic);
        std::iter::from_fn(move || take_plain(&mut rest, topic))
    }

    /// When the message expires; [`Timestamp::FOREVER`] when it does not.
    pub(crate) fn expires(&self) -> Timestamp {
        match self.expiry {
            Some(seconds) => self.arrived.plus_millis(u64::from(seconds) * 1_000),
            None => Timestamp::FOREVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn message(payload: &'static [u8]) -> Message<'static> {
        Message {
            qos: 0,
            retain: false,
            expiry: None,
            properties: &[],
            payload,
        }
    }

    #[test]
    fn messages_alike_share_a_run_and_others_do_not() {
        let mut writer = RecordWriter::default();
        let alone = Message {
            expiry: Some(5),
            properties: &[1, 1],
            retain: true,
            ..message(b"3")
        };
        let messages = [
            message(b"1"),
            message(b"22"),
            Message {
                qos: 1,
                ..message(b"")
            },
            alone,
            alone,
        ];
        let [a, e] = ["a", "é"].map(WritePermit::unchecked);
        messages.iter().for_each(|it| writer.push(&a, it, NOW));
        writer.push(&e, &message(b"4"), NOW);
        writer.push_plain(&e, &[0x30, 5, 0, 2, 0xC3, 0xA9, b'5'], NOW);
        let mut record = writer.finish(7);
        set_ticket(&mut record, 9);
        assert_eq!(origin(&record), 7);
        assert_eq!(Record::new(record.clone().into(), 0).ticket(), 9);
        let found: Vec<_> = runs(&record)
            .map(|it| (it.topic, it.qos, it.count))
            .collect();
        let expected = [
            ("a", 0, 2),
            ("a", 1, 1),
            ("a", 0, 1),
            ("a", 0, 1),
            ("é", 0, 2),
        ];
        assert_eq!(found, expected);
        let payloads: Vec<_> = runs(&record)
            .flat_map(|it| it.payloads().map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect();
        let expected: [&[u8]; 7] = [b"1", b"22", b"", b"3", b"3", b"4", b"5"];
        assert_eq!(payloads, expected);
        let retained = runs(&record).nth(2).unwrap();
        assert_eq!((retained.retain, retained.properties), (true, &[1, 1][..]));
        assert_eq!(retained.expires(), Timestamp(6_000));
        assert_eq!(runs(&record).next().unwrap().largest, 7);
    }
}
