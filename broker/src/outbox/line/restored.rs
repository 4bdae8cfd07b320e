//! What was kept of a line over the end of the server.

use super::{Entry, Line, Stage};
use crate::outbox::{Portion, Queued};
use crate::store::{Mark, RestoredMessage};

impl Line {
    /// Brings back what was kept, into a line that is empty still. The right to read a message
    /// is looked up before it is sent.
    pub(in crate::outbox) fn restore(&mut self, messages: Vec<RestoredMessage>, sent_below: u64) {
        let first = messages.first().map(|it| it.sequence);
        self.first = first.unwrap_or(sent_below).max(1);
        (self.next, self.sent_below) = (self.first, sent_below.max(self.first));
        self.sent_recorded = self.sent_below;
        for restored in messages {
            // Those in between are done, and hold their places.
            while self.end() < restored.sequence {
                self.entries.push_back(Entry::done());
            }
            let queued = restored.message.map(|message| Queued {
                message,
                qos: restored.qos,
                retain: restored.retain,
                ids: (!restored.ids.is_empty()).then(|| restored.ids.into()),
                permit: None,
                share: restored
                    .group
                    .as_ref()
                    .and_then(Portion::restore)
                    .map(Box::new),
            });
            self.bytes += queued.as_ref().map_or(0, |it| it.message.len());
            self.entries.push_back(Entry {
                qos: restored.qos,
                stage: match (&queued, restored.sequence < self.sent_below) {
                    (None, _) => Stage::Released,
                    (Some(_), true) => Stage::Sent,
                    (Some(_), false) => Stage::Waiting,
                },
                queued,
                again: false,
                recalled: false,
                mark: Mark::default(),
            });
        }
        // No sequence is used twice.
        while self.end() < self.sent_below {
            self.entries.push_back(Entry::done());
        }
    }
}
