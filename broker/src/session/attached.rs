//! A connection's places in the rest of the gate, given back however it ends, and the session
//! that it serves, which is left to the next connection or ends with this one.

use super::end::{End, NoRoom};
use super::will::{LastWord, Then, Will};
use super::{Handle, end_session};
use crate::door::Admission;
use crate::gate::Context;
use crate::outbox::{IDENTIFIER, Keep, Outbox};
use crate::registry::{Away, Claim};
use crate::store::Mark;
use crate::wire::{Fault, Goodbye, Version};
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::Waker;
use tanglegate_core::{Position, SubscriberId, Timestamp};

/// Who was let in, and on which terms.
#[derive(Debug)]
pub(super) struct Guest {
    /// `None` is an anonymous client.
    pub(super) subject: Option<SubscriberId>,
    pub(super) password_set_at: Option<Position>,
    pub(super) client_id: Arc<str>,
    /// True when it wants no session but a new one.
    pub(super) clean: bool,
    /// How long its session is kept when it is away, in seconds; 0 ends it with the connection,
    /// `u32::MAX` keeps it for ever.
    pub(super) expiry_seconds: u32,
    /// True when it has not asked for more than 0.
    pub(super) asked_for_none: bool,
    pub(super) will: Option<Box<Will>>,
    pub(super) version: Version,
    /// Largest packet that the client takes, in bytes.
    pub(super) packet_bytes: u32,
    /// QoS 1 messages that the client takes at a time.
    pub(super) in_flight: u16,
    /// The task of the connection.
    pub(super) task: Waker,
}

/// The places. Also after a panic they are given back.
pub(super) struct Attached {
    pub(super) context: Arc<Context>,
    pub(super) handle: Arc<Handle>,
    /// Until the session is given up: the connection is in charge of it.
    charge: Option<Box<Charge>>,
    /// The end of a right that the alarm is set to; [`Timestamp::FOREVER`] for none.
    alarm: Mutex<Timestamp>,
    pub(super) admission: Admission,
}

/// What a connection that is in charge of a session knows of its future.
struct Charge {
    /// `None` is an anonymous client's, whose session ends with the connection.
    claim: Option<Claim>,
    expiry_seconds: u32,
    /// The client has asked for a session that ends with the connection.
    asked_for_none: bool,
    will: Option<Box<Will>>,
}

/// What came of taking the places.
pub(super) struct Taken {
    pub(super) attached: Attached,
    /// True when the client goes on with the session that it left.
    pub(super) is_resumed: bool,
    /// What has to be safe before the client hears of it.
    pub(super) mark: Mark,
}

impl Attached {
    /// Takes the places. The session that `claim` has found goes on, unless its client wants a
    /// new one. A will of its that is due at `now` or by this was published before.
    ///
    /// # Errors
    /// When there is no room for the client's will. A session that would have gone on is left as
    /// it was, with the will that it had.
    pub(super) fn take(
        context: Arc<Context>,
        guest: Guest,
        mut claim: Option<Claim>,
        admission: Admission,
        now: Timestamp,
    ) -> Result<Taken, NoRoom> {
        let found = claim.as_ref().and_then(Claim::found);
        let resumed = match found {
            Some(away) if goes_on(away, guest.clean, now) => {
                if !makes_room(
                    &away.handle,
                    away.will.as_ref().map(|(_, it)| &**it),
                    &guest,
                ) {
                    return Err(NoRoom::of(guest.subject));
                }
                Some(Arc::clone(&away.handle))
            }
            Some(away) => {
                end_session(&context, &away.handle);
                None
            }
            None => None,
        };
        if let Some(claim) = &mut claim {
            claim.take_found();
            if guest.expiry_seconds == 0 {
                claim.keep_no_more();
            }
        }
        let is_resumed = resumed.is_some();
        let handle = match resumed {
            Some(handle) => handle,
            None => {
                let handle = new_session(&context, &guest);
                if !makes_room(&handle, None, &guest) {
                    handle.detach();
                    return Err(NoRoom::of(guest.subject));
                }
                handle
            }
        };
        let limits = context.limits.of(guest.subject);
        let in_flight = guest.in_flight.min(limits.in_flight);
        let holds = guest.expiry_seconds != 0;
        // Before the outbox takes QoS 0 packets: shards make them as the client speaks.
        handle.set_terms(guest.version, guest.packet_bytes);
        handle.outbox.lock().connect(in_flight, holds);
        handle.connect(guest.password_set_at, guest.task);
        context.counters.sessions.one();
        context.counters.open_sessions.one();
        if is_resumed {
            context.view.came_back(&handle);
        } else {
            context.view.let_in(&handle);
        }
        if let Some(claim) = &claim {
            claim.serve(&handle);
        }
        let mark = handle.record_connected(guest.expiry_seconds, guest.will.as_deref());
        let attached = Self {
            context,
            handle,
            charge: Some(Box::new(Charge {
                claim,
                expiry_seconds: guest.expiry_seconds,
                asked_for_none: guest.asked_for_none,
                will: guest.will,
            })),
            alarm: Mutex::new(Timestamp::FOREVER),
            admission,
        };
        Ok(Taken {
            attached,
            is_resumed,
            mark,
        })
    }

    /// The client takes leave, and may say anew for how long its session is kept.
    pub(super) fn part(&mut self, goodbye: Goodbye) -> Result<End, Fault> {
        let most = self.context.limits.session_expiry_seconds();
        if let (Some(charge), Some(seconds)) = (&mut self.charge, goodbye.session_expiry) {
            if charge.asked_for_none && seconds != 0 {
                // MQTT 5.0 §3.14.2.2.2
                return Err(Fault::Protocol(
                    "the session's expiry was 0 and cannot be raised",
                ));
            }
            // Without a place among the kept sessions, 0 was announced and it stays 0.
            if charge.expiry_seconds != 0 {
                charge.expiry_seconds = seconds.min(most);
            }
        }
        Ok(match goodbye.with_will {
            true => End::GoodbyeWithWill,
            false => End::Goodbye,
        })
    }

    /// Gives the session up: it is kept for its client, or it ends. Returns the will that is due
    /// at once. Nothing of the session may be touched after it.
    pub(super) fn leave(&mut self, with_will: bool) -> Option<LastWord> {
        let charge = *self.charge.take()?;
        self.set_alarm(None);
        let (context, handle) = (&self.context, &self.handle);
        handle.disconnect();
        context.budget(handle.subject).forget(handle.session);
        let identifiers = handle.received.lock().len() * IDENTIFIER;
        {
            let mut queue = handle.outbox.lock();
            queue.disconnect();
            queue.hold_anyway(|held| held.identifiers = identifiers);
        }
        context.counters.open_sessions.one_less();
        let (will, unwanted) = match with_will {
            true => (charge.will, None),
            false => (None, charge.will),
        };
        if let Some(unwanted) = unwanted {
            unwanted.give_back_room(handle);
        }
        let claim = match charge.claim {
            Some(claim) if charge.expiry_seconds != 0 => claim,
            // The claim, if there is one, goes last: who gets it finds nothing.
            _no_longer => {
                let (handle, is_kept) = (Arc::clone(handle), handle.store.is_some());
                // What the store knows of the session it knows until the will is published.
                let then = match &will {
                    Some(_) if is_kept => Then::End,
                    _ => {
                        end_session(context, &handle);
                        Then::Nothing
                    }
                };
                return will.map(|will| LastWord { handle, will, then });
            }
        };
        let now = context.clock.now();
        let due = |will: &Will| now.plus_millis(u64::from(will.delay_seconds) * 1_000);
        let mut away = Away {
            handle: Arc::clone(handle),
            expiry_seconds: charge.expiry_seconds,
            since: now,
            will: will.map(|will| (due(&will), will)),
        };
        // With the will, also when that is due at once: it is forgotten behind its publication.
        handle.record_away(&away);
        let due_now = away.will.take_if(|(due, _)| *due <= now);
        claim.leave(away);
        let (handle, then) = (Arc::clone(handle), Then::Forget(now));
        due_now.map(|(_, will)| LastWord { handle, will, then })
    }

    /// Has the session woken at `end`, or no more.
    pub(super) fn set_alarm(&self, end: Option<Timestamp>) {
        let end = end.unwrap_or(Timestamp::FOREVER);
        let old = std::mem::replace(&mut *self.alarm.lock(), end);
        if old == end {
            return;
        }
        let (context, handle) = (&self.context, &self.handle);
        if old != Timestamp::FOREVER {
            context.alarm.unset(old, handle.session);
        }
        if end != Timestamp::FOREVER {
            context.alarm.set(end, handle.session, &handle.outbox);
        }
    }
}

impl Drop for Attached {
    /// Without a proper end the client counts as lost.
    fn drop(&mut self) {
        let Some(last) = self.leave(true) else {
            return;
        };
        let context = Arc::clone(&self.context);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { last.publish(&context).await });
        }
    }
}

/// Counts the client's will instead of the one that its session had; false, and nothing changes,
/// when there is no room for it.
fn makes_room(handle: &Handle, before: Option<&Will>, guest: &Guest) -> bool {
    let cost = |it: Option<&Will>| it.map_or(0, Will::cost);
    handle.outbox.lock().hold(|held| {
        // From here on the connection counts them.
        held.identifiers = 0;
        held.will = held.will.saturating_sub(cost(before)) + cost(guest.will.as_deref());
    })
}

/// True when the client goes on with the session that it left.
fn goes_on(away: &Away, clean: bool, now: Timestamp) -> bool {
    !clean && now < away.ends_at()
}

/// The will of the session that `claim` has found, if it is due by now or by what its client asks
/// for. It is due at the latest when its session ends; whoever comes back before spares it
/// ([MQTT-3.1.3-9]).
pub(super) fn will_due(claim: &Claim, clean: bool, now: Timestamp) -> Option<LastWord> {
    let away = claim.found()?;
    let (due, will) = away.will.as_ref()?;
    let is_due = !goes_on(away, clean, now) || *due <= now;
    is_due.then(|| LastWord {
        handle: Arc::clone(&away.handle),
        will: will.clone(),
        then: Then::Nothing,
    })
}

fn new_session(context: &Context, guest: &Guest) -> Arc<Handle> {
    let session = context.next_session();
    let shard = Arc::clone(context.shard_of(session));
    let limits = context.limits.of(guest.subject);
    let is_kept = context.store.is_durable() && guest.expiry_seconds != 0;
    let store = is_kept.then(|| context.store.clone());
    let keep = store.clone().map(|store| Keep { store, session });
    let outbox = Outbox::new(context.room(guest.subject), limits.in_flight, keep);
    let outbox = Arc::new(outbox);
    let slot = shard.attach(
        session,
        Arc::clone(&outbox),
        guest.version,
        guest.packet_bytes,
    );
    let client_id = Arc::clone(&guest.client_id);
    let place = (shard, slot);
    Arc::new(Handle::new(
        session,
        guest.subject,
        client_id,
        outbox,
        place,
        store,
    ))
}
