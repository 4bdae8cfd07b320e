//! Wills: the last message of a client that was lost (MQTT 5.0 §3.1.2.5).

use super::Handle;
use crate::decision;
use crate::gate::Context;
use crate::record::{Message, RecordWriter};
use crate::statistics::{Outcome, Stage};
use crate::wire::WillRequest;
use tanglegate_core::TopicName;

/// Publishes a will, if its client may publish it at this moment. A delay is not waited for:
/// the session ends with its connection, and the will with the session.
pub(super) async fn publish(context: &Context, handle: &Handle, will: WillRequest) {
    let now = context.clock.now();
    let counters = &context.counters;
    let Ok(topic) = TopicName::parse(&will.topic) else {
        return counters.decided(Stage::Will, Outcome::Unsupported);
    };
    let limits = context.limits.of(handle.subject);
    match decision::permit_publish(&context.view, limits, handle.subject, &topic, now) {
        Ok(_permit) => counters.decided(Stage::Will, Outcome::Permitted),
        Err(refusal) => return counters.decided(Stage::Will, &refusal),
    }
    let mut record = RecordWriter::default();
    let message = Message {
        topic: &will.topic,
        qos: will.qos.min(1),
        retain: will.retain,
        expiry: will.expiry,
        properties: &will.forwarded,
        payload: &will.payload,
    };
    record.push(&message, now);
    let record = record.finish(handle.session);
    if context.pass_on(handle.shard.number, record).await.is_err() {
        tracing::warn!(
            session = handle.session,
            "a will was lost with the message log"
        );
    }
}
