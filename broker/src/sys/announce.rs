//! What the engine tells everybody who may read it, on topics of its own.

use super::tell::NOBODY;
use crate::gate::Context;
use crate::permit::WritePermit;
use crate::record::{Message, RecordWriter};
use std::sync::Arc;

/// What announcements begin with.
const ANNOUNCEMENTS: &str = "$SYS/access/";

/// Announces for the engine. Cheap to clone.
#[derive(Clone)]
pub struct Announcer(Arc<Context>);

impl Announcer {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self(context)
    }

    /// Publishes a retained message with QoS 1 on `$SYS/access/` and `topic`. Whoever reads it
    /// needs a right, as for any other topic, but for `identity` and `offers`, which everybody may
    /// read. Nothing happens when the gate is closing.
    pub async fn announce(&self, topic: &str, payload: &[u8]) {
        let (mut record, now) = (RecordWriter::default(), self.0.clock.now());
        let message = Message {
            qos: 1,
            retain: true,
            expiry: None,
            properties: &[],
            payload,
        };
        let permit = WritePermit::of_the_gate(&format!("{ANNOUNCEMENTS}{topic}"));
        record.push(&permit, &message, now);
        let passed = self.0.pass_on(0, record.finish(NOBODY), None).await;
        if passed.is_err() {
            tracing::debug!(topic, "nobody is told: the gate is closing");
        }
    }
}

impl std::fmt::Debug for Announcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Announcer(..)")
    }
}
