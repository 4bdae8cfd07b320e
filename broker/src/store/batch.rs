//! Changes that are written together. What cancels out before it is written never is: most
//! messages are acknowledged before the batch that they are queued in has begun to be written.

use super::change::Change;
use super::form::{Key, Queued, Value};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// What an entry costs in memory besides its name and message.
const OVERHEAD: usize = 96;

/// The changes since the last batch, one for each entry.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Batches have consecutive numbers from 1.
    pub(super) number: u64,
    entries: HashMap<Key, Write>,
    ended: HashSet<u64>,
    bytes: usize,
    /// Something was recorded, even if it has cancelled out.
    pub(super) is_used: bool,
}

/// What happens to an entry.
#[derive(Debug)]
pub(super) enum Write {
    Put {
        value: Value,
        /// The disk has no such entry: removing this one leaves nothing to write.
        fresh: bool,
    },
    Remove,
}

impl Batch {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Bytes of memory that its changes take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many changes there are to write.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a change after all others.
    pub(super) fn add(&mut self, change: Change) {
        self.is_used = true;
        match change {
            Change::Session { session, record } => {
                self.put(Key::Record(session), Value::Record(record), false);
            }
            Change::EndSession { session } => {
                self.put(Key::Ended(session), Value::Nothing, false);
                self.ended.insert(session);
            }
            Change::Subscribe {
                session,
                filter,
                options,
                id,
            } => {
                let value = Value::Subscription(options, id);
                self.put(Key::Subscription(session, filter), value, false);
            }
            Change::Unsubscribe { session, filter } => {
                self.remove(Key::Subscription(session, filter));
            }
            Change::Queue {
                session,
                sequence,
                qos,
                retain,
                ids,
                message,
                group,
            } => {
                let queued = Queued {
                    qos,
                    retain,
                    ids,
                    message,
                    group,
                };
                // Sequence numbers are never used twice.
                let value = Value::Queued(queued);
                self.put(Key::Queue(session, sequence), value, true);
            }
            Change::Sent { session, below } => {
                self.put(Key::Sent(session), Value::Sent(below), false);
            }
            Change::Released { session, sequence } => {
                self.put(Key::Queue(session, sequence), Value::Released, false);
            }
            Change::Done { session, sequence } => self.remove(Key::Queue(session, sequence)),
            Change::Received { session, packet_id } => {
                self.put(Key::Received(session, packet_id), Value::Nothing, false);
            }
            Change::ForgetReceived { session, packet_id } => {
                self.remove(Key::Received(session, packet_id));
            }
            Change::Retain { qos, message } => {
                let key = Key::Retained(message.topic().into());
                self.put(key, Value::Retained(qos, message), false);
            }
            Change::Unretain { topic } => self.remove(Key::Retained(topic)),
        }
    }

    fn put(&mut self, key: Key, value: Value, fresh: bool) {
        let name = key.name_length();
        self.bytes += cost(name, value.message_length());
        match self.entries.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Write::Put { value, fresh });
            }
            Entry::Occupied(mut earlier) => {
                self.bytes -= cost(name, earlier.get().message_length());
                // An entry that was not there before this batch is not there yet.
                let fresh = matches!(earlier.get(), Write::Put { fresh: true, .. });
                earlier.insert(Write::Put { value, fresh });
            }
        }
    }

    fn remove(&mut self, key: Key) {
        let name = key.name_length();
        match self.entries.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Write::Remove);
                self.bytes += cost(name, 0);
            }
            Entry::Occupied(mut earlier) => {
                self.bytes -= cost(name, earlier.get().message_length());
                if matches!(earlier.get(), Write::Put { fresh: true, .. }) {
                    earlier.remove();
                } else {
                    earlier.insert(Write::Remove);
                    self.bytes += cost(name, 0);
                }
            }
        }
    }

    /// Sessions that it ends.
    pub(super) fn ended(&self) -> impl Iterator<Item = u64> {
        self.ended.iter().copied()
    }

    /// What is to be written, each entry once, in no order.
    pub(super) fn writes(&self) -> impl Iterator<Item = (&Key, &Write)> + Clone {
        let lives = |key: &Key| key.session().is_none_or(|it| !self.ended.contains(&it));
        self.entries.iter().filter(move |(key, _)| lives(key))
    }

    /// False when it would be no harm if a power cut undid it: a message that comes twice, with
    /// DUP or without, was sent again. QoS 2 rests on [`Change::Released`].
    pub(super) fn must_last(&self) -> bool {
        let forgettable =
            |it: (&Key, &Write)| matches!(it, (Key::Queue(..), Write::Remove) | (Key::Sent(_), _));
        !self.writes().all(forgettable)
    }
}

impl Write {
    fn message_length(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.message_length(),
            Self::Remove => 0,
        }
    }
}

fn cost(name: usize, message: usize) -> usize {
    OVERHEAD + name + message
}
