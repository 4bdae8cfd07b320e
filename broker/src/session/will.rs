//! Wills: the last message of a client that was lost (MQTT 5.0 §3.1.2.5).
//!
//! Where a session survives the server, its will does: the store forgets it only behind all that
//! its publication has changed there. A server that dies in between publishes it once more.

use super::{Handle, end_session};
use crate::decision;
use crate::gate::Context;
use crate::message::StoredMessage;
use crate::passing::Waiting;
use crate::record::{Message, RecordWriter};
use crate::router::LogStopped;
use crate::statistics::{Outcome, Stage};
use crate::wire::WillRequest;
use std::sync::Arc;
use tanglegate_core::{Timestamp, TopicName};
use tokio::sync::oneshot;

/// What is to be published when a client is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// How long the client may be away before it is published.
    pub(crate) delay_seconds: u32,
    /// How long it is worth keeping once it is published.
    pub(crate) expiry_seconds: Option<u32>,
    /// Topic, properties and payload; it does not expire before it is published.
    pub(crate) message: StoredMessage,
}

impl Will {
    /// Bytes that it takes.
    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + self.message.len()
    }

    /// It is not held for that session any more.
    pub(super) fn give_back_room(&self, handle: &Handle) {
        let mut queue = handle.outbox.lock();
        let _less = queue.hold(|held| held.will = held.will.saturating_sub(self.cost()));
    }
}

impl From<&WillRequest> for Will {
    fn from(asked: &WillRequest) -> Self {
        let forever = Timestamp::FOREVER;
        Self {
            qos: asked.qos,
            retain: asked.retain,
            delay_seconds: asked.delay,
            expiry_seconds: asked.expiry,
            message: StoredMessage::new(&asked.topic, &asked.forwarded, &asked.payload, forever),
        }
    }
}

/// A will that is due, and what is to be done once it is published.
#[derive(Debug)]
pub(crate) struct LastWord {
    pub(crate) handle: Arc<Handle>,
    pub(crate) will: Box<Will>,
    pub(crate) then: Then,
}

/// What follows a will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The session, whose client is away since then, is kept without it.
    Forget(Timestamp),
    /// The session ends.
    End,
    /// That is done.
    Nothing,
}

impl LastWord {
    /// Publishes it, and does what follows. When the log has stopped, the will stays in the store
    /// for the time after the next start.
    pub(crate) async fn publish(self, context: &Context) {
        let Self { handle, will, then } = self;
        if let Err(stopped) = publish(context, &handle, &will).await {
            let (session, kept) = (handle.session, handle.store.is_some());
            return tracing::warn!(session, kept, %stopped, "a will is not published");
        }
        will.give_back_room(&handle);
        match then {
            Then::Forget(since) => context.registry.forget_will(&handle, since),
            Then::End => end_session(context, &handle),
            Then::Nothing => {}
        }
    }
}

/// Publishes a will, if its client may publish it at this moment. When it returns, all shards
/// have it, and what is kept of it is recorded.
pub(super) async fn publish(
    context: &Context,
    handle: &Handle,
    will: &Will,
) -> Result<(), LogStopped> {
    let (now, message, counters) = (context.clock.now(), &will.message, &context.counters);
    let Ok(topic) = TopicName::parse(message.topic()) else {
        counters.decided(Stage::Will, Outcome::Unsupported);
        return Ok(());
    };
    let limits = context.limits.of(handle.subject);
    let permit = match decision::permit_publish(&context.view, limits, handle.subject, &topic, now)
    {
        Ok((_, permit)) => {
            counters.decided(Stage::Will, Outcome::Permitted);
            permit
        }
        Err(refusal) => {
            counters.decided(Stage::Will, &refusal);
            return Ok(());
        }
    };
    let mut record = RecordWriter::default();
    let message = Message {
        qos: will.qos,
        retain: will.retain,
        expiry: will.expiry_seconds,
        properties: message.properties(),
        payload: message.payload(),
    };
    record.push(&permit, &message, now);
    let record = record.finish(handle.session);
    let (word, read) = oneshot::channel();
    let waiting = Some(Waiting::Word(word));
    context
        .pass_on(handle.shard.number, record, waiting)
        .await?;
    read.await.map_err(|_| LogStopped::behind_us())
}
