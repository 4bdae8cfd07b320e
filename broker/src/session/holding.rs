//! What a connection makes the gate hold besides queued messages.

use super::connected::{Connection, UNCOUNTED};
use super::end::{End, NoRoom};
use crate::outbox::IDENTIFIER;

impl Connection {
    /// Bytes that the connection makes the gate hold now.
    pub(super) fn holding(&self) -> usize {
        let packets = self.partial.capacity() + self.record.cost();
        let answers = self.answers + self.acks.cost() + self.me.cost();
        let own_aliases = self.own_aliases.as_ref().map_or(0, |it| it.cost());
        let known =
            own_aliases + self.aliases.cost() + self.permits.cost() + self.identifiers * IDENTIFIER;
        let conversation = self.conversation.as_ref().map_or(0, |it| it.cost());
        packets + answers + known + conversation
    }

    /// Counts it, where it has become more; that it has become less is told when the connection
    /// rests.
    pub(super) fn hold(&mut self) -> Result<(), End> {
        let holding = self.holding();
        if holding <= self.counted {
            return Ok(());
        }
        let mut queue = self.handle().outbox.lock();
        let fits = queue.hold(|held| held.connection = holding - UNCOUNTED);
        drop(queue);
        if !fits {
            return Err(End::NoRoom(self.no_room()));
        }
        self.counted = holding;
        Ok(())
    }

    /// Gives back what is held no more. Only a connection that has nothing to do does so: one that
    /// is busy would ask for it again at once, and whoever waits for room would be woken in vain.
    pub(super) fn rest(&mut self) {
        let holding = self.holding().clamp(UNCOUNTED, self.counted);
        let mut queue = self.handle().outbox.lock();
        if holding < self.counted {
            let _less = queue.hold(|held| held.connection = holding - UNCOUNTED);
        }
        queue.rest();
        drop(queue);
        self.counted = holding;
    }

    /// Says which bound is reached.
    pub(super) fn no_room(&self) -> NoRoom {
        NoRoom::of(self.handle().subject)
    }
}
