//! Who gets the messages of a topic, remembered for the next message on it.

use super::index::{Entry, Index};
use super::{Slot, Slots};
use std::collections::HashMap;
use std::sync::Arc;
use tanglegate_core::Timestamp;

/// Topics and recipients that are remembered at most. Beyond it all are forgotten: it only
/// costs matching them again.
const TOPICS: usize = 4_096;
const RECIPIENTS: usize = 200_000;

/// One client that gets the messages of a topic, for one or more of its subscriptions.
#[derive(Debug, Clone)]
pub(super) struct Recipient {
    pub(super) slot: u32,
    /// The highest QoS of the subscriptions ([MQTT-3.3.4-2]).
    pub(super) qos: u8,
    /// True when one of them keeps the retain flag as published.
    pub(super) retain_as_published: bool,
    /// Whose messages these are.
    pub(super) whose: Whose,
    /// Identifiers of those that have one ([MQTT-3.3.4-3]); `None` without any.
    pub(super) ids: Option<Arc<[u32]>>,
    /// Exclusive end of the right to read the topic, as of `rights_version`.
    pub(super) until: Timestamp,
    pub(super) rights_version: u64,
}

/// Whose messages a recipient gets. A client has two recipients where only some of its
/// subscriptions leave its own messages out: those say nothing about how it gets its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Everybodys,
    /// All but the client's own ([MQTT-3.8.3-3]).
    Others,
    /// The client's own only.
    Own,
}

impl Recipient {
    /// True when it gets the messages of the client's own, or those of others.
    pub(super) fn gets(&self, own: bool) -> bool {
        match self.whose {
            Whose::Everybodys => true,
            Whose::Others => !own,
            Whose::Own => own,
        }
    }
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    topics: HashMap<Box<str>, Vec<Recipient>>,
    recipients: usize,
}

impl Recipients {
    /// Forgets everything: subscriptions have changed.
    pub(super) fn forget(&mut self) {
        self.topics.clear();
        self.recipients = 0;
    }

    /// The recipients of `topic`.
    pub(super) fn of(&mut self, topic: &str, index: &Index, slots: &Slots) -> &mut [Recipient] {
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= TOPICS || self.recipients >= RECIPIENTS {
                self.forget();
            }
            let found = find(topic, index, slots);
            self.recipients += found.len();
            self.topics.insert(topic.into(), found);
        }
        self.topics
            .get_mut(topic)
            .map_or(&mut [], Vec::as_mut_slice)
    }
}

fn find(topic: &str, index: &Index, slots: &Slots) -> Vec<Recipient> {
    let mut entries = vec![];
    index.matching(topic, |entry| entries.push(entry));
    // One after the other for each client.
    entries.sort_unstable();
    let mut found = vec![];
    for entries in entries.chunk_by(|one, other| one.slot == other.slot) {
        let slot = slots.get(entries[0].slot);
        let options = |it: &Entry| slot.subscription(it.subscription).options;
        let (others, all): (Vec<Entry>, Vec<Entry>) =
            entries.iter().partition(|it| options(it).no_local);
        if others.is_empty() {
            found.push(recipient(topic, slot, entries, Whose::Everybodys));
            continue;
        }
        found.push(recipient(topic, slot, entries, Whose::Others));
        if !all.is_empty() {
            found.push(recipient(topic, slot, &all, Whose::Own));
        }
    }
    found
}

/// One client, for these subscriptions of its.
fn recipient(topic: &str, slot: &Slot, entries: &[Entry], whose: Whose) -> Recipient {
    let id = |it: &Entry| slot.subscription(it.subscription).id.map(u32::from);
    let ids: Arc<[u32]> = entries.iter().filter_map(id).collect();
    let mut recipient = Recipient {
        slot: entries[0].slot,
        qos: 0,
        retain_as_published: false,
        whose,
        ids: (!ids.is_empty()).then_some(ids),
        until: slot.read_until(topic),
        rights_version: slot.rights_version,
    };
    for entry in entries {
        let subscription = slot.subscription(entry.subscription);
        recipient.qos = recipient.qos.max(subscription.options.qos);
        recipient.retain_as_published |= subscription.options.retain_as_published;
    }
    recipient
}
