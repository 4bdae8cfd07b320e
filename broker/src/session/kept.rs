//! What the store is told of a session, and how sessions come back from it after a restart.

use super::{Handle, Will};
use crate::gate::Context;
use crate::outbox::{IDENTIFIER, Keep, Outbox, subscription_cost};
use crate::permit::SubscribePermit;
use crate::registry::Away;
use crate::shard::Interest;
use crate::store::{Change, Mark, RestoredSession, SessionRecord, Store, StoredWill};
use crate::wire::Version;
use std::sync::Arc;
use tanglegate_core::Timestamp;

impl Handle {
    /// Records a change of a session that survives the server; of others nothing is recorded,
    /// and the mark is safe at once.
    pub(crate) fn record(&self, change: impl FnOnce(u64) -> Change) -> Mark {
        match &self.store {
            Some(store) => store.record(change(self.session)),
            None => Mark::default(),
        }
    }

    /// Records that its client is connected, and what is to happen when it is lost.
    pub(super) fn record_connected(&self, expiry_seconds: u32, will: Option<&Will>) -> Mark {
        self.record_state(expiry_seconds, None, will.map(|it| it.stored(None)))
    }

    /// Records that its client is away.
    pub(crate) fn record_away(&self, away: &Away) -> Mark {
        let will = away.will.as_ref();
        let will = will.map(|(due, will)| will.stored(Some(*due)));
        self.record_state(away.expiry_seconds, Some(away.since), will)
    }

    fn record_state(
        &self,
        expiry_seconds: u32,
        away_since: Option<Timestamp>,
        will: Option<StoredWill>,
    ) -> Mark {
        let Some(owner) = self.subject else {
            return Mark::default();
        };
        let client_id = Arc::clone(&self.client_id);
        self.record(|session| Change::Session {
            session,
            record: SessionRecord {
                owner,
                client_id,
                expiry_seconds,
                away_since,
                will,
            },
        })
    }
}

impl Will {
    fn stored(&self, due: Option<Timestamp>) -> StoredWill {
        StoredWill {
            qos: self.qos,
            retain: self.retain,
            delay_seconds: self.delay_seconds,
            due,
            expiry_seconds: self.expiry_seconds,
            message: self.message.clone(),
        }
    }
}

impl From<StoredWill> for Will {
    fn from(stored: StoredWill) -> Self {
        Self {
            qos: stored.qos,
            retain: stored.retain,
            delay_seconds: stored.delay_seconds,
            expiry_seconds: stored.expiry_seconds,
            message: stored.message,
        }
    }
}

/// True once everything up to `mark` is safe; false when the store fails before.
pub(super) async fn safe(store: &Store, mark: Mark) -> bool {
    if store.is_safe(mark) {
        return true;
    }
    let (told, safe) = tokio::sync::oneshot::channel();
    // Nobody waits any more when it cannot be told.
    store.when_safe(mark, move || {
        let _ = told.send(());
    });
    safe.await.is_ok()
}

/// Brings a session back whose client is away. One that was connected when the server ended
/// counts as lost by now.
pub(crate) fn restore(context: &Context, restored: RestoredSession) {
    let RestoredSession {
        session,
        record,
        subscriptions,
        queue,
        sent_below,
        received,
    } = restored;
    let now = context.clock.now();
    let shard = Arc::clone(context.shard_of(session));
    let limits = context.limits.of(Some(record.owner));
    let store = context.store.clone();
    let keep = Some(Keep { store, session });
    let room = context.room(Some(record.owner));
    let outbox = Outbox::new(room, limits.in_flight, keep);
    {
        let mut line = outbox.lock();
        line.restore(queue, sent_below);
        line.disconnect();
    }
    let outbox = Arc::new(outbox);
    // Until its client connects, nothing is made into packets for it.
    let slot = shard.attach(session, Arc::clone(&outbox), Version::V5, u32::MAX);
    let key = (record.owner, Arc::clone(&record.client_id));
    let store = Some(context.store.clone());
    let place = (shard, slot);
    let owner = Some(record.owner);
    let handle = Arc::new(Handle::new(
        session,
        owner,
        record.client_id,
        outbox,
        place,
        store,
    ));
    let identifiers = received.len() * IDENTIFIER;
    let filters: usize = subscriptions
        .iter()
        .map(|(text, ..)| subscription_cost(text))
        .sum();
    handle.outbox.lock().hold_anyway(|held| {
        (held.identifiers, held.subscriptions) = (identifiers, filters);
    });
    for (text, options, id) in subscriptions {
        match Interest::parse(&text) {
            Ok(it) => {
                let most = limits.subscriptions;
                let permit = SubscribePermit::restored(it);
                handle.subscribe(&context.shards, &permit, options, id, most);
            }
            Err(error) => {
                tracing::warn!(session, filter = &*text, %error, "a subscription was not restored");
            }
        }
    }
    handle.received.lock().extend(received);
    context.view.watch(&handle);
    let since = record.away_since.unwrap_or(now);
    let will = record.will.map(|stored| {
        let after = u64::from(stored.delay_seconds) * 1_000;
        let due = stored.due.unwrap_or_else(|| since.plus_millis(after));
        (due, Box::new(Will::from(stored)))
    });
    if let Some((_, will)) = &will {
        handle
            .outbox
            .lock()
            .hold_anyway(|held| held.will = will.cost());
    }
    let away = Away {
        handle: Arc::clone(&handle),
        expiry_seconds: record.expiry_seconds,
        since,
        will,
    };
    if record.away_since.is_none() {
        handle.record_away(&away);
    }
    context.registry.restore(key, away);
}
