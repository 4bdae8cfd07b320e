//! How the store's entries look as bytes.
//!
//! ```text
//! key                                  value
//! "e" session                          (empty)     an ended session whose rest is being removed
//! "m" name of a topic                  qos: u8, message             a retained message
//! "p" id                               message                      one that several queues share
//! "s" session 0                        owner: 16 bytes, expiry: u32, away since: u64?,
//!                                      client id: u16 and bytes, will?
//! "s" session 1                        sent below: u64
//! "s" session 2 name of a filter       options: u8, subscription id: u32 (0: none), filter
//! "s" session 3 sequence               flags: u8, ids: u32 and u32 each, group, message or its id
//! "s" session 4 packet id              (empty)     a received QoS 2 message
//!
//! name  = 0, text                      up to 250 bytes
//!       | 1, SHA-256 of the text       longer ones
//! will  = qos and retain: u8, delay: u32, due: u64?, expiry: u32?, message
//! group = qos and retain: u8, filter: u32 and bytes; there if the flags say so
//! ```
//! Numbers are big-endian in keys, so that entries lie in order, and little-endian in values.
//! A `?` stands for one byte 0, or 1 and the value.
//! The form of messages is [`StoredMessage`]'s own. All forms belong to the version that the
//! store's folder names; another form is another version.

use super::change::{GroupRecord, SessionRecord, StoredWill};
use crate::message::{DamagedMessage, StoredMessage};
use crate::wire::Options;
use sha2::{Digest as _, Sha256};
use std::num::NonZero;
use tanglegate_core::{SubscriberId, Timestamp};

pub(super) const ENDED: u8 = b'e';
pub(super) const RETAINED: u8 = b'm';
pub(super) const SHARED: u8 = b'p';
pub(super) const SESSION: u8 = b's';

const RECORD: u8 = 0;
const SENT: u8 = 1;
const SUBSCRIPTION: u8 = 2;
const QUEUE: u8 = 3;
const RECEIVED: u8 = 4;

/// Bytes of a topic or filter that stand in a key as they are.
const SHORT_NAME: usize = 250;

const QOS: u8 = 0b11;
const RETAIN: u8 = 0b100;
const IS_SHARED: u8 = 0b1000;
const IS_RELEASED: u8 = 0b1_0000;
const OF_GROUP: u8 = 0b10_0000;
const NO_LOCAL: u8 = 0b100;
const RETAIN_AS_PUBLISHED: u8 = 0b1000;
const RETAIN_HANDLING: u8 = 4;

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Ended(u64),
    Retained(Box<str>),
    Record(u64),
    Sent(u64),
    Subscription(u64, Box<str>),
    Queue(u64, u64),
    Received(u64, u16),
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Nothing,
    Retained(u8, StoredMessage),
    Record(SessionRecord),
    Sent(u64),
    Subscription(Options, Option<NonZero<u32>>),
    Queued(Queued),
    /// A QoS 2 message of which only PUBREL is due.
    Released,
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queued<M = StoredMessage> {
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) ids: Box<[u32]>,
    pub(super) message: M,
    pub(super) group: Option<GroupRecord>,
}

/// An entry of a session, read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SessionEntry {
    Record(SessionRecord),
    Sent(u64),
    Subscription(Box<str>, Options, Option<NonZero<u32>>),
    Queue(u64, QueueEntry),
    Received(u16),
}

/// An entry of a queue, read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum QueueEntry {
    Message(Queued),
    /// All but the message, which is the shared one of this id.
    Shared(Queued<u64>),
    Released,
}

/// Bytes that are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry is damaged")]
pub(super) struct DamagedEntry;

impl From<DamagedMessage> for DamagedEntry {
    fn from(_: DamagedMessage) -> Self {
        Self
    }
}

impl Key {
    /// The session that the entry belongs to, other than the note that it has ended.
    pub(super) fn session(&self) -> Option<u64> {
        match self {
            Self::Ended(_) | Self::Retained(_) => None,
            Self::Record(session)
            | Self::Sent(session)
            | Self::Subscription(session, _)
            | Self::Queue(session, _)
            | Self::Received(session, _) => Some(*session),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Ended(session) => numbered(ENDED, *session),
            Self::Retained(topic) => {
                let mut key = vec![RETAINED];
                put_name(&mut key, topic);
                key
            }
            Self::Record(session) => of_session(*session, RECORD, &[]),
            Self::Sent(session) => of_session(*session, SENT, &[]),
            Self::Subscription(session, filter) => {
                let mut key = of_session(*session, SUBSCRIPTION, &[]);
                put_name(&mut key, filter);
                key
            }
            Self::Queue(session, sequence) => of_session(*session, QUEUE, &sequence.to_be_bytes()),
            Self::Received(session, id) => of_session(*session, RECEIVED, &id.to_be_bytes()),
        }
    }

    /// Bytes of the name in it.
    pub(super) fn name_length(&self) -> usize {
        match self {
            Self::Retained(name) | Self::Subscription(_, name) => name.len(),
            _ => 0,
        }
    }
}

/// The key of a shared message.
pub(super) fn shared_key(id: u64) -> Vec<u8> {
    numbered(SHARED, id)
}

/// What all entries of a session begin with.
pub(super) fn session_prefix(session: u64) -> Vec<u8> {
    numbered(SESSION, session)
}

/// The number after a key's first byte.
pub(super) fn number_of(key: &[u8]) -> Result<u64, DamagedEntry> {
    let number = key.get(1..9).ok_or(DamagedEntry)?;
    Ok(u64::from_be_bytes(number.try_into().expect("eight bytes")))
}

/// The sequence number, if it is the key of a queued message.
pub(super) fn sequence_of(key: &[u8]) -> Option<u64> {
    let (head, rest) = key.split_at_checked(10)?;
    let sequence = rest.try_into().ok()?;
    (head[0] == SESSION && head[9] == QUEUE).then_some(u64::from_be_bytes(sequence))
}

fn numbered(kind: u8, number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn of_session(session: u64, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = session_prefix(session);
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

fn put_name(key: &mut Vec<u8>, name: &str) {
    if name.len() <= SHORT_NAME {
        key.push(0);
        key.extend_from_slice(name.as_bytes());
    } else {
        key.push(1);
        key.extend_from_slice(&Sha256::digest(name));
    }
}

impl Value {
    /// Bytes of the message in it.
    pub(super) fn message_length(&self) -> usize {
        match self {
            Self::Retained(_, message) => message.len(),
            Self::Queued(queued) => {
                let group = queued.group.as_ref().map_or(0, |it| it.filter.len());
                queued.message.len() + 4 * queued.ids.len() + group
            }
            Self::Record(record) => {
                let will = record.will.as_ref().map_or(0, |it| it.message.len());
                record.client_id.len() + will
            }
            _ => 0,
        }
    }

    /// Its bytes under `key`. A message that is stored as shared stands there by its id.
    pub(super) fn bytes(&self, key: &Key, shared: Option<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Nothing => {}
            Self::Retained(qos, message) => {
                out.push(*qos);
                out.extend_from_slice(message.bytes());
            }
            Self::Record(record) => put_record(&mut out, record),
            Self::Sent(below) => out.extend_from_slice(&below.to_le_bytes()),
            Self::Subscription(options, id) => {
                out.push(option_bits(*options));
                out.extend_from_slice(&id.map_or(0, NonZero::get).to_le_bytes());
                if let Key::Subscription(_, filter) = key {
                    out.extend_from_slice(filter.as_bytes());
                }
            }
            Self::Queued(queued) => put_queued(&mut out, queued, shared),
            Self::Released => out.push(IS_RELEASED),
        }
        out
    }
}

fn option_bits(options: Options) -> u8 {
    let no_local = if options.no_local { NO_LOCAL } else { 0 };
    let as_published = if options.retain_as_published {
        RETAIN_AS_PUBLISHED
    } else {
        0
    };
    options.qos | no_local | as_published | options.retain_handling << RETAIN_HANDLING
}

fn put_queued(out: &mut Vec<u8>, queued: &Queued, shared: Option<u64>) {
    let retain = if queued.retain { RETAIN } else { 0 };
    let is_shared = if shared.is_some() { IS_SHARED } else { 0 };
    let of_group = if queued.group.is_some() { OF_GROUP } else { 0 };
    out.push(queued.qos | retain | is_shared | of_group);
    put_length(out, queued.ids.len());
    for id in &queued.ids {
        out.extend_from_slice(&id.to_le_bytes());
    }
    if let Some(group) = &queued.group {
        out.push(group.qos | if group.retain { RETAIN } else { 0 });
        put_length(out, group.filter.len());
        out.extend_from_slice(group.filter.as_bytes());
    }
    match shared {
        Some(id) => out.extend_from_slice(&id.to_le_bytes()),
        None => out.extend_from_slice(queued.message.bytes()),
    }
}

fn put_record(out: &mut Vec<u8>, record: &SessionRecord) {
    out.extend_from_slice(&record.owner.0);
    out.extend_from_slice(&record.expiry_seconds.to_le_bytes());
    put_some(out, record.away_since.map(|it| it.0.to_le_bytes()));
    put_length(out, record.client_id.len());
    out.extend_from_slice(record.client_id.as_bytes());
    if let Some(will) = &record.will {
        let retain = if will.retain { RETAIN } else { 0 };
        out.push(will.qos | retain);
        out.extend_from_slice(&will.delay_seconds.to_le_bytes());
        put_some(out, will.due.map(|it| it.0.to_le_bytes()));
        put_some(out, will.expiry_seconds.map(u32::to_le_bytes));
        out.extend_from_slice(will.message.bytes());
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("packets are bounded to 256 MB");
    out.extend_from_slice(&length.to_le_bytes());
}

fn put_some<const N: usize>(out: &mut Vec<u8>, some: Option<[u8; N]>) {
    out.push(u8::from(some.is_some()));
    out.extend(some.iter().flatten());
}

/// Reads the value of a retained message.
pub(super) fn read_retained(value: &[u8]) -> Result<(u8, StoredMessage), DamagedEntry> {
    let (&qos, message) = value.split_first().ok_or(DamagedEntry)?;
    Ok((checked_qos(qos)?, StoredMessage::read(message)?))
}

/// Reads an entry whose key begins with [`SESSION`].
pub(super) fn read_session_entry(key: &[u8], value: &[u8]) -> Result<SessionEntry, DamagedEntry> {
    let (kind, name) = key
        .get(9..)
        .and_then(<[u8]>::split_first)
        .ok_or(DamagedEntry)?;
    let mut fields = Fields(value);
    Ok(match *kind {
        RECORD => SessionEntry::Record(read_record(fields)?),
        SENT => SessionEntry::Sent(u64::from_le_bytes(fields.take()?)),
        SUBSCRIPTION => read_subscription(fields)?,
        QUEUE => {
            let sequence = sequence_of(key).ok_or(DamagedEntry)?;
            SessionEntry::Queue(sequence, read_queue_entry(fields)?)
        }
        RECEIVED => {
            let id = name.try_into().map_err(|_| DamagedEntry)?;
            SessionEntry::Received(u16::from_be_bytes(id))
        }
        _ => return Err(DamagedEntry),
    })
}

fn read_subscription(mut fields: Fields<'_>) -> Result<SessionEntry, DamagedEntry> {
    let [bits] = fields.take()?;
    let options = Options {
        qos: checked_qos(bits & QOS)?,
        no_local: bits & NO_LOCAL != 0,
        retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
        retain_handling: bits >> RETAIN_HANDLING,
    };
    let id = NonZero::new(u32::from_le_bytes(fields.take()?));
    let filter = std::str::from_utf8(fields.0).map_err(|_| DamagedEntry)?;
    if options.retain_handling > 2 || filter.is_empty() {
        return Err(DamagedEntry);
    }
    Ok(SessionEntry::Subscription(filter.into(), options, id))
}

fn read_queue_entry(mut fields: Fields<'_>) -> Result<QueueEntry, DamagedEntry> {
    let [flags] = fields.take()?;
    if flags == IS_RELEASED {
        return Ok(QueueEntry::Released);
    }
    let (qos, retain) = (checked_qos(flags & QOS)?, flags & RETAIN != 0);
    let count = fields.take_length()?;
    let bytes = fields.take_bytes(count.checked_mul(4).ok_or(DamagedEntry)?)?;
    let ids = bytes
        .chunks_exact(4)
        .map(|it| u32::from_le_bytes(it.try_into().expect("four bytes")))
        .collect();
    let group = match flags & OF_GROUP {
        0 => None,
        _ => Some(read_group(&mut fields)?),
    };
    let head = Queued {
        qos,
        retain,
        ids,
        message: (),
        group,
    };
    if flags & IS_SHARED != 0 {
        let id = u64::from_le_bytes(fields.take()?);
        return Ok(QueueEntry::Shared(head.with(id)));
    }
    let message = StoredMessage::read(fields.0)?;
    Ok(QueueEntry::Message(head.with(message)))
}

fn read_group(fields: &mut Fields<'_>) -> Result<GroupRecord, DamagedEntry> {
    let [flags] = fields.take()?;
    let length = fields.take_length()?;
    let filter = std::str::from_utf8(fields.take_bytes(length)?).map_err(|_| DamagedEntry)?;
    Ok(GroupRecord {
        filter: filter.into(),
        qos: checked_qos(flags & QOS)?,
        retain: flags & RETAIN != 0,
    })
}

impl<M> Queued<M> {
    /// The same with a message, or with the id of one.
    pub(super) fn with<N>(self, message: N) -> Queued<N> {
        let Self {
            qos,
            retain,
            ids,
            group,
            ..
        } = self;
        Queued {
            qos,
            retain,
            ids,
            message,
            group,
        }
    }
}

fn read_record(mut fields: Fields<'_>) -> Result<SessionRecord, DamagedEntry> {
    let owner = SubscriberId(fields.take()?);
    let expiry_seconds = u32::from_le_bytes(fields.take()?);
    let away_since = fields.take_some()?.map(u64::from_le_bytes).map(Timestamp);
    let length = fields.take_length()?;
    let client_id = std::str::from_utf8(fields.take_bytes(length)?).map_err(|_| DamagedEntry)?;
    let will = if fields.0.is_empty() {
        None
    } else {
        Some(read_will(fields)?)
    };
    Ok(SessionRecord {
        owner,
        client_id: client_id.into(),
        expiry_seconds,
        away_since,
        will,
    })
}

fn read_will(mut fields: Fields<'_>) -> Result<StoredWill, DamagedEntry> {
    let [flags] = fields.take()?;
    Ok(StoredWill {
        qos: checked_qos(flags & QOS)?,
        retain: flags & RETAIN != 0,
        delay_seconds: u32::from_le_bytes(fields.take()?),
        due: fields.take_some()?.map(u64::from_le_bytes).map(Timestamp),
        expiry_seconds: fields.take_some()?.map(u32::from_le_bytes),
        message: StoredMessage::read(fields.0)?,
    })
}

fn checked_qos(qos: u8) -> Result<u8, DamagedEntry> {
    if qos <= 2 { Ok(qos) } else { Err(DamagedEntry) }
}

/// What is left to read of a value.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DamagedEntry> {
        let (field, rest) = self.0.split_first_chunk().ok_or(DamagedEntry)?;
        self.0 = rest;
        Ok(*field)
    }

    fn take_some<const N: usize>(&mut self) -> Result<Option<[u8; N]>, DamagedEntry> {
        match self.take()? {
            [0] => Ok(None),
            [1] => Ok(Some(self.take()?)),
            _ => Err(DamagedEntry),
        }
    }

    fn take_length(&mut self) -> Result<usize, DamagedEntry> {
        Ok(u32::from_le_bytes(self.take()?) as usize)
    }

    fn take_bytes(&mut self, length: usize) -> Result<&'a [u8], DamagedEntry> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(DamagedEntry)?;
        self.0 = rest;
        Ok(bytes)
    }
}
