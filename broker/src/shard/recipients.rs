//! Who gets the messages of a topic, remembered for the next message on it.

use super::groups::{GroupNumber, Groups};
use super::index::{Entry, Index};
use super::{Slot, Slots};
use crate::permit::ReadRight;
use crate::wire::Options;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;

/// Topics and recipients that are remembered at most. Beyond it all are forgotten: it only
/// costs matching them again.
const TOPICS: usize = 4_096;
const RECIPIENTS: usize = 200_000;

/// Bytes that one shard's memory of recipients takes at most, with topics of at most `topic` bytes.
/// The last topic to come in may have as many recipients again.
pub(crate) fn remembered(topic: usize) -> usize {
    TOPICS.saturating_mul(topic + 128) + 2 * RECIPIENTS * 2 * size_of::<Recipient>()
}

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
    /// The right to read the topic, as of `rights_version`.
    pub(super) right: ReadRight,
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

    /// Looks the right up again, if rights have changed.
    pub(super) fn bring_up_to_date(&mut self, topic: &str, slot: &Slot) {
        if self.rights_version != slot.rights_version {
            self.right = slot.right_to_read(topic);
            self.rights_version = slot.rights_version;
        }
    }
}

/// Who gets the messages of one topic.
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// All of these.
    pub(super) all: Vec<Recipient>,
    /// One of the members of each of these.
    pub(super) shared: Vec<(GroupNumber, Vec<Recipient>)>,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    topics: HashMap<Box<str>, Audience>,
    recipients: usize,
}

impl Recipients {
    /// Forgets everything: subscriptions have changed.
    pub(super) fn forget(&mut self) {
        self.topics.clear();
        self.recipients = 0;
    }

    /// Who gets the messages of `topic`.
    pub(super) fn of(
        &mut self,
        topic: &str,
        index: &Index<Entry>,
        groups: &Groups,
        slots: &Slots,
    ) -> &mut Audience {
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= TOPICS || self.recipients >= RECIPIENTS {
                self.forget();
            }
            let found = Audience {
                all: find(topic, index, slots),
                shared: find_shared(topic, groups, slots),
            };
            let members = found.shared.iter().map(|(_, members)| members.len());
            self.recipients += found.all.len() + members.sum::<usize>();
            self.topics.insert(topic.into(), found);
        }
        self.topics.get_mut(topic).expect("it was just found")
    }
}

fn find(topic: &str, index: &Index<Entry>, slots: &Slots) -> Vec<Recipient> {
    let mut entries = vec![];
    index.matching(topic, |entry| entries.push(entry));
    // One after the other for each client.
    entries.sort_unstable();
    let mut found = vec![];
    for entries in entries.chunk_by(|one, other| one.slot == other.slot) {
        let number = entries[0].slot;
        let slot = slots.get(number);
        let wish = |it: &Entry| {
            let subscription = slot.subscription(it.subscription);
            (subscription.options, subscription.id)
        };
        let wishes: Vec<Wish> = entries.iter().map(wish).collect();
        let (others, all): (Vec<Wish>, Vec<Wish>) = wishes
            .iter()
            .copied()
            .partition(|(options, _)| options.no_local);
        if others.is_empty() {
            found.push(recipient(topic, number, slot, &wishes, Whose::Everybodys));
            continue;
        }
        found.push(recipient(topic, number, slot, &wishes, Whose::Others));
        if !all.is_empty() {
            found.push(recipient(topic, number, slot, &all, Whose::Own));
        }
    }
    found
}

/// The members of the groups, in their order.
fn find_shared(topic: &str, groups: &Groups, slots: &Slots) -> Vec<(GroupNumber, Vec<Recipient>)> {
    let groups = groups.matching(topic).into_iter();
    let found = groups.map(|(number, group)| {
        let members = group.members.iter().map(|it| {
            let (slot, wish) = (slots.get(it.slot), (it.options, it.id));
            recipient(topic, it.slot, slot, &[wish], Whose::Everybodys)
        });
        (number, members.collect())
    });
    found.collect()
}

/// How one subscription is to be served, and its identifier.
type Wish = (Options, Option<NonZero<u32>>);

/// One client, for these subscriptions of its.
fn recipient(topic: &str, number: u32, slot: &Slot, wishes: &[Wish], whose: Whose) -> Recipient {
    let id = |(_, id): &Wish| id.map(u32::from);
    let ids: Arc<[u32]> = wishes.iter().filter_map(id).collect();
    let mut recipient = Recipient {
        slot: number,
        qos: 0,
        retain_as_published: false,
        whose,
        ids: (!ids.is_empty()).then_some(ids),
        right: slot.right_to_read(topic),
        rights_version: slot.rights_version,
    };
    for (options, _) in wishes {
        recipient.qos = recipient.qos.max(options.qos);
        recipient.retain_as_published |= options.retain_as_published;
    }
    recipient
}
