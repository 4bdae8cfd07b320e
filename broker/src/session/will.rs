//! Wills: the last message of a client that was lost (MQTT 5.0 §3.1.2.5).

use super::Handle;
use crate::decision;
use crate::gate::Context;
use crate::message::StoredMessage;
use crate::record::{Message, RecordWriter};
use crate::statistics::{Outcome, Stage};
use crate::wire::WillRequest;
use tanglegate_core::{Timestamp, TopicName};

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

/// Publishes a will, if its client may publish it at this moment.
pub(crate) async fn publish(context: &Context, handle: &Handle, will: &Will) {
    let (now, message, counters) = (context.clock.now(), &will.message, &context.counters);
    let Ok(topic) = TopicName::parse(message.topic()) else {
        return counters.decided(Stage::Will, Outcome::Unsupported);
    };
    let limits = context.limits.of(handle.subject);
    let permit = match decision::permit_publish(&context.view, limits, handle.subject, &topic, now)
    {
        Ok((_, permit)) => {
            counters.decided(Stage::Will, Outcome::Permitted);
            permit
        }
        Err(refusal) => return counters.decided(Stage::Will, &refusal),
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
    if context
        .pass_on(handle.shard.number, record, None)
        .await
        .is_err()
    {
        tracing::warn!(
            session = handle.session,
            "a will was lost with the message log"
        );
    }
}
