//! The groups of clients that share a subscription and are at home on a shard.

use super::index::Index;
use super::share::Share;
use crate::wire::Options;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;

/// All groups of a shard.
#[derive(Debug, Default)]
pub(super) struct Groups {
    numbers: HashMap<Arc<Share>, GroupNumber>,
    groups: HashMap<GroupNumber, Group>,
    index: Index<GroupNumber>,
    /// The last number that was given.
    last: u64,
}

/// A group that has members. Never used again when it has none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct GroupNumber(u64);

/// A group with at least one member.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) share: Arc<Share>,
    /// In the order in which they came.
    pub(super) members: Vec<Member>,
    /// Whose turn it is: which of the members, counted on without end.
    pub(super) turn: usize,
}

/// A session in a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) slot: u32,
    pub(super) options: Options,
    pub(super) id: Option<NonZero<u32>>,
}

impl Groups {
    /// Adds a member, or replaces what it asked for before; true when it is new.
    pub(super) fn join(&mut self, share: &Arc<Share>, member: Member) -> bool {
        let number = match self.numbers.get(share) {
            Some(number) => *number,
            None => self.begin(share),
        };
        let Some(group) = self.groups.get_mut(&number) else {
            unreachable!("every number has its group");
        };
        let same = |it: &&mut Member| it.slot == member.slot;
        if let Some(known) = group.members.iter_mut().find(same) {
            *known = member;
            return false;
        }
        group.members.push(member);
        true
    }

    fn begin(&mut self, share: &Arc<Share>) -> GroupNumber {
        self.last += 1;
        let number = GroupNumber(self.last);
        self.numbers.insert(Arc::clone(share), number);
        self.index.insert(share.filter(), number);
        let group = Group {
            share: Arc::clone(share),
            members: vec![],
            turn: 0,
        };
        self.groups.insert(number, group);
        number
    }

    /// Removes a member, and with the last one the group; false when it is none.
    pub(super) fn leave(&mut self, share: &Share, slot: u32) -> bool {
        let Some(number) = self.numbers.get(share).copied() else {
            return false;
        };
        let Some(group) = self.groups.get_mut(&number) else {
            return false;
        };
        let before = group.members.len();
        group.members.retain(|it| it.slot != slot);
        let left = group.members.len() < before;
        if group.members.is_empty() {
            self.groups.remove(&number);
            self.numbers.remove(share);
            self.index.remove(share.filter(), number);
        }
        left
    }

    /// The groups that share the messages of `topic`.
    pub(super) fn matching(&self, topic: &str) -> Vec<(GroupNumber, &Group)> {
        let mut found = vec![];
        if !self.groups.is_empty() {
            self.index
                .matching(topic, |it| found.push((it, self.get(it))));
        }
        found
    }

    /// The number of the group, while it has members.
    pub(super) fn number(&self, share: &Share) -> Option<GroupNumber> {
        self.numbers.get(share).copied()
    }

    fn get(&self, number: GroupNumber) -> &Group {
        self.groups
            .get(&number)
            .expect("the index holds only groups that have members")
    }

    pub(super) fn get_mut(&mut self, number: GroupNumber) -> &mut Group {
        self.groups
            .get_mut(&number)
            .expect("what is remembered is forgotten with the group")
    }
}
