//! A session's places in the rest of the gate, given back however it ends.

use super::Handle;
use crate::gate::Context;
use crate::listener::Admission;
use crate::outbox::Outbox;
use crate::wire::Version;
use parking_lot::Mutex;
use std::sync::Arc;
use tanglegate_core::{Position, SubscriberId, Timestamp};

/// Who was let in.
#[derive(Debug)]
pub(super) struct Guest {
    /// `None` is an anonymous client.
    pub(super) subject: Option<SubscriberId>,
    pub(super) password_set_at: Option<Position>,
    pub(super) client_id: Arc<str>,
    pub(super) version: Version,
    /// Largest packet that the client takes, in bytes.
    pub(super) packet_bytes: u32,
    /// QoS 1 messages that the client takes at a time.
    pub(super) in_flight: u16,
}

/// The places. Also after a panic they are given back.
pub(super) struct Attached {
    pub(super) context: Arc<Context>,
    pub(super) handle: Arc<Handle>,
    client_id: Arc<str>,
    /// The end of a right that the alarm is set to.
    alarm: Mutex<Option<Timestamp>>,
    _admission: Admission,
}

impl Attached {
    /// Takes the places. The session that has the client identifier ends.
    pub(super) fn new(context: Arc<Context>, guest: &Guest, admission: Admission) -> Self {
        let session = context.next_session();
        let shard = Arc::clone(context.shard_of(session));
        let limits = match guest.subject {
            Some(_) => &context.limits.known,
            None => &context.limits.anonymous,
        };
        let in_flight = guest.in_flight.min(limits.in_flight);
        let outbox = Arc::new(Outbox::new(limits.queued_bytes, in_flight));
        let (version, packet_bytes) = (guest.version, guest.packet_bytes);
        let slot = shard.attach(session, Arc::clone(&outbox), version, packet_bytes);
        let handle = Arc::new(Handle {
            session,
            subject: guest.subject,
            password_set_at: guest.password_set_at,
            outbox,
            shard,
            slot,
        });
        context.counters.sessions.one();
        context.counters.open_sessions.one();
        let attached = Self {
            context,
            handle,
            client_id: Arc::clone(&guest.client_id),
            alarm: Mutex::new(None),
            _admission: admission,
        };
        let Self {
            context,
            handle,
            client_id,
            ..
        } = &attached;
        context.registry.enter(client_id, handle);
        context.view.watch(handle);
        attached
    }

    /// Has the session woken at `end`, or no more.
    pub(super) fn set_alarm(&self, end: Option<Timestamp>) {
        let mut alarm = self.alarm.lock();
        if *alarm == end {
            return;
        }
        let (context, handle) = (&self.context, &self.handle);
        if let Some(old) = std::mem::replace(&mut *alarm, end) {
            context.alarm.unset(old, handle.session);
        }
        if let Some(end) = end {
            context.alarm.set(end, handle.session, &handle.outbox);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let Self {
            context,
            handle,
            client_id,
            ..
        } = &*self;
        context.view.unwatch(handle);
        context.registry.leave(client_id, handle);
        handle.shard.detach(handle.slot);
        self.set_alarm(None);
        self.context.counters.open_sessions.one_less();
    }
}
