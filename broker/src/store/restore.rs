//! Reads what is in the database when it is opened.

use super::change::{Restored, RestoredMessage, RestoredSession, SessionRecord};
use super::form::{
    DamagedEntry, ENDED, QueueEntry, RETAINED, SESSION, SHARED, SessionEntry, number_of,
    read_retained, read_session_entry, shared_key,
};
use super::shared::SharedMessages;
use crate::message::StoredMessage;
use crate::wire::Options;
use fjall::{Keyspace, UserKey};
use std::collections::{HashMap, HashSet};
use std::num::NonZero;

/// Everything in the database.
#[derive(Default)]
pub(super) struct Found {
    pub(super) restored: Restored,
    pub(super) shared: SharedMessages,
    /// Shared messages that no queue holds.
    pub(super) unused: Vec<UserKey>,
    /// Sessions that have ended, and numbers that have entries but no session: what came in
    /// after its session's end.
    pub(super) dead: Vec<u64>,
}

/// A database that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Database(#[from] fjall::Error),
    #[error("{0}")]
    Entry(#[from] DamagedEntry),
}

/// Reads all entries, in the order of their keys: ended sessions, retained messages, shared
/// messages, sessions.
pub(super) fn read(entries: &Keyspace) -> Result<Found, Broken> {
    let mut reader = Reader::default();
    for entry in entries.iter() {
        let (key, value) = entry.into_inner()?;
        reader.take(&key, &value)?;
    }
    reader.finish_session();
    Ok(reader.finish())
}

#[derive(Default)]
struct Reader {
    found: Found,
    ended: HashSet<u64>,
    messages: HashMap<u64, StoredMessage>,
    /// The session that is being read.
    current: Option<Partial>,
}

#[derive(Default)]
struct Partial {
    number: u64,
    record: Option<SessionRecord>,
    rest: Rest,
    /// Sequence numbers and ids of the shared messages in its queue.
    shared: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Rest {
    subscriptions: Vec<(Box<str>, Options, Option<NonZero<u32>>)>,
    queue: Vec<RestoredMessage>,
    sent_below: u64,
    received: Vec<u16>,
}

impl Reader {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), DamagedEntry> {
        match key.first() {
            Some(&ENDED) => {
                self.ended.insert(number_of(key)?);
            }
            Some(&RETAINED) => self.found.restored.retained.push(read_retained(value)?),
            Some(&SHARED) => {
                let message = StoredMessage::read(value)?;
                self.messages.insert(number_of(key)?, message);
            }
            Some(&SESSION) => {
                let number = number_of(key)?;
                if self.current.as_ref().is_none_or(|it| it.number != number) {
                    self.finish_session();
                    self.current = Some(Partial {
                        number,
                        ..Partial::default()
                    });
                }
                if !self.ended.contains(&number) {
                    let entry = read_session_entry(key, value)?;
                    self.take_session_entry(entry)?;
                }
            }
            _ => return Err(DamagedEntry),
        }
        Ok(())
    }

    fn take_session_entry(&mut self, entry: SessionEntry) -> Result<(), DamagedEntry> {
        let current = self.current.as_mut().expect("it was begun");
        // Without its record, a session's entries are what came in after its end: they may
        // name messages that are gone.
        if current.record.is_none() && !matches!(entry, SessionEntry::Record(_)) {
            return Ok(());
        }
        let rest = &mut current.rest;
        match entry {
            SessionEntry::Record(record) => current.record = Some(record),
            SessionEntry::Sent(below) => rest.sent_below = below,
            SessionEntry::Subscription(filter, options, id) => {
                rest.subscriptions.push((filter, options, id));
            }
            SessionEntry::Received(id) => rest.received.push(id),
            SessionEntry::Queue(sequence, entry) => {
                if let QueueEntry::Shared(queued) = &entry {
                    current.shared.push((sequence, queued.message));
                }
                rest.queue.push(queued(&self.messages, sequence, entry)?);
            }
        }
        Ok(())
    }

    fn finish_session(&mut self) {
        let Some(Partial {
            number,
            record,
            rest,
            shared,
        }) = self.current.take()
        else {
            return;
        };
        let Some(record) = record else {
            self.found.dead.push(number);
            return;
        };
        for (sequence, id) in shared {
            self.found.shared.join(id, (number, sequence));
        }
        self.found.restored.sessions.push(RestoredSession {
            session: number,
            record,
            subscriptions: rest.subscriptions,
            queue: rest.queue,
            sent_below: rest.sent_below,
            received: rest.received,
        });
    }

    fn finish(self) -> Found {
        let mut found = self.found;
        for id in self.messages.into_keys() {
            if !found.shared.is_used(id) {
                found.unused.push(shared_key(id).into());
            }
        }
        // Also those of which nothing but the note is left.
        let dead: HashSet<u64> = found.dead.drain(..).chain(self.ended).collect();
        found.dead = dead.into_iter().collect();
        found.dead.sort_unstable();
        let by_topic = |(_, one): &(u8, StoredMessage), (_, other): &(u8, StoredMessage)| {
            one.topic().cmp(other.topic())
        };
        found.restored.retained.sort_by(by_topic);
        found
    }
}

fn queued(
    messages: &HashMap<u64, StoredMessage>,
    sequence: u64,
    entry: QueueEntry,
) -> Result<RestoredMessage, DamagedEntry> {
    let queued = match entry {
        QueueEntry::Released => {
            return Ok(RestoredMessage {
                sequence,
                qos: 2,
                retain: false,
                ids: Box::default(),
                message: None,
                group: None,
            });
        }
        QueueEntry::Message(queued) => queued,
        QueueEntry::Shared(queued) => {
            let message = messages.get(&queued.message).ok_or(DamagedEntry)?;
            queued.with(message.clone())
        }
    };
    Ok(RestoredMessage {
        sequence,
        qos: queued.qos,
        retain: queued.retain,
        ids: queued.ids,
        message: Some(queued.message),
        group: queued.group,
    })
}
