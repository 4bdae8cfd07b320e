//! Who gets the messages of a topic, remembered for the next message on it.

use super::Slots;
use super::index::Index;
use std::collections::HashMap;
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
    /// True when all of them leave the client's own messages out.
    pub(super) no_local: bool,
    /// Identifiers of those that have one ([MQTT-3.3.4-3]).
    pub(super) ids: Vec<u32>,
    /// Exclusive end of the right to read the topic, as of `rights_version`.
    pub(super) until: Timestamp,
    pub(super) rights_version: u64,
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
    let mut found: Vec<Recipient> = vec![];
    for entry in entries {
        let slot = slots.get(entry.slot);
        let subscription = slot.subscription(entry.subscription);
        let options = subscription.options;
        let id = subscription.id.map(u32::from);
        match found.last_mut() {
            Some(last) if last.slot == entry.slot => {
                last.qos = last.qos.max(options.qos);
                last.retain_as_published |= options.retain_as_published;
                last.no_local &= options.no_local;
                last.ids.extend(id);
            }
            _ => found.push(Recipient {
                slot: entry.slot,
                qos: options.qos,
                retain_as_published: options.retain_as_published,
                no_local: options.no_local,
                ids: id.into_iter().collect(),
                until: slot.read_until(topic),
                rights_version: slot.rights_version,
            }),
        }
    }
    found
}
