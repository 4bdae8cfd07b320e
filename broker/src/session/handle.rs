//! How the rest of the gate reaches a session.

use super::Order;
use crate::outbox::Outbox;
use crate::shard::Shard;
use std::fmt;
use std::sync::Arc;
use tanglegate_core::{Position, Rights, SubscriberId};

/// A session, from outside.
pub(crate) struct Handle {
    /// Identity of the session, never used again.
    pub(crate) session: u64,
    /// Whose it is; `None` is an anonymous client.
    pub(crate) subject: Option<SubscriberId>,
    /// The event that set the password that it logged in with.
    pub(crate) password_set_at: Option<Position>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) shard: Arc<Shard>,
    /// Its number on the shard.
    pub(crate) slot: u32,
}

impl Handle {
    /// From now on these are its rights. Everything queued for it is looked at again before it
    /// is handed over.
    pub(crate) fn set_rights(&self, rights: Rights) {
        self.shard.set_rights(self.slot, rights);
        self.outbox.change_rights();
    }

    /// It has no rights any more and ends.
    pub(crate) fn cut(&self, order: Order) {
        self.set_rights(Rights::none());
        self.outbox.order(order);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.session)
    }
}
