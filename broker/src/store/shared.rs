//! Messages that several queues hold are on the disk once.

use std::collections::HashMap;

/// Which entries of queues share which message.
#[derive(Debug, Default)]
pub(super) struct SharedMessages {
    /// The largest id in use, or more.
    last: u64,
    /// Ids of messages, and how many entries need them.
    users: HashMap<u64, u32>,
    /// Session and sequence number of each entry that stands for a shared message.
    entries: HashMap<(u64, u64), u64>,
}

impl SharedMessages {
    /// The id for a message that is about to be shared.
    pub(super) fn new_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// An entry stands for message `id` from now on.
    pub(super) fn join(&mut self, id: u64, entry: (u64, u64)) {
        self.last = self.last.max(id);
        *self.users.entry(id).or_default() += 1;
        self.entries.insert(entry, id);
    }

    /// An entry is no more, or says something else. The message that nobody needs after that.
    pub(super) fn leave(&mut self, entry: (u64, u64)) -> Option<u64> {
        if self.entries.is_empty() {
            return None;
        }
        let id = self.entries.remove(&entry)?;
        let users = self.users.get_mut(&id).expect("it has this user");
        *users -= 1;
        if *users > 0 {
            return None;
        }
        self.users.remove(&id);
        Some(id)
    }

    /// True when some entry needs message `id`.
    pub(super) fn is_used(&self, id: u64) -> bool {
        self.users.contains_key(&id)
    }
}
