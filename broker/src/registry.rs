//! Who is connected under which client identifier.
//!
//! A client identifier belongs to a login: nobody can take over another login's session. An
//! anonymous client has no login to own one, so its identifier stands for its connection alone:
//! two anonymous clients may use the same one, and neither ends the other. Without that, anybody
//! could cut any anonymous client off. Nothing is lost by it, because sessions end with their
//! connections.

use crate::session::{Handle, Order};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tanglegate_core::SubscriberId;

/// Sessions of logins.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<HashMap<Key, Arc<Handle>>>);

/// A login and one of its client identifiers.
type Key = (SubscriberId, Arc<str>);

impl Registry {
    /// Enters a session; the one that had the identifier ends ([MQTT-3.1.4-3]).
    pub(crate) fn enter(&self, client_id: &Arc<str>, handle: &Arc<Handle>) {
        let Some(subject) = handle.subject else {
            return;
        };
        let key = (subject, Arc::clone(client_id));
        let previous = self.0.lock().insert(key, Arc::clone(handle));
        if let Some(previous) = previous {
            previous.outbox.order(Order::TakenOver);
        }
    }

    /// Removes a session, unless another has taken its place.
    pub(crate) fn leave(&self, client_id: &Arc<str>, handle: &Handle) {
        let Some(subject) = handle.subject else {
            return;
        };
        let mut sessions = self.0.lock();
        if let Entry::Occupied(known) = sessions.entry((subject, Arc::clone(client_id)))
            && known.get().session == handle.session
        {
            known.remove();
        }
    }
}
