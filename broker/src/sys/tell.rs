//! Publishes the statistics, as retained messages of the server's own.

use super::broker::Report;
use crate::gate::Context;
use crate::permit::WritePermit;
use crate::record::{Message, RecordWriter};
use crate::statistics::StatisticsReader;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// The session that the server's own messages come from. No client ever has it.
pub(super) const NOBODY: u64 = 0;

/// Tells the statistics every `interval` until the message log stops. Whoever reads them needs a
/// right like for any other topic.
pub(crate) async fn tell(context: &Context, statistics: StatisticsReader, interval: Duration) {
    let mut report = Report::new(context.clock.now());
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = context.clock.now();
        let mut record = RecordWriter::default();
        // Where it keeps nobody waiting: it looks at every session.
        let reader = statistics.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reader.read()).await else {
            return;
        };
        for (topic, value) in report.news(now, &read) {
            let message = Message {
                qos: 0,
                retain: true,
                expiry: None,
                properties: &[],
                payload: value.as_bytes(),
            };
            record.push(&WritePermit::of_the_gate(&topic), &message, now);
        }
        if record.is_empty() {
            continue;
        }
        if context
            .pass_on(0, record.finish(NOBODY), None)
            .await
            .is_err()
        {
            return;
        }
    }
}
