//! What the log says about one subject: his own events, the rules, and what was for sale.

use super::Archive;
use crate::event_log::{EventLogError, OwnedEvent, Vault};
use std::collections::BTreeSet;
use tanglegate_core::{
    Acl, Audience, Contradiction, Event, PaymentId, Position, Recorded, RuleId, Stream,
    SubscriberId,
};

/// An event with its row.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) row: OwnedEvent,
    pub(super) event: Event,
}

impl Entry {
    fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: Position(self.row.position),
            recorded_at: self.row.recorded_at,
            event: &self.event,
        }
    }
}

/// Everything that one subject's rights rest on, in the order of the log.
#[derive(Debug)]
pub(super) struct History {
    subject: Option<SubscriberId>,
    entries: Vec<Entry>,
}

impl History {
    /// Reads it, up to `up_to`. Without a subject: of clients without a login.
    pub(super) async fn read(
        archive: &mut Archive,
        subject: Option<SubscriberId>,
        up_to: Position,
    ) -> Result<Self, EventLogError> {
        let log = &mut archive.log;
        let own: Vec<Stream> = subject.map(Stream::Subscriber).into_iter().collect();
        let mut rows = log.events_of(&own, up_to).await?;
        for shared in ["rule/", "offer/"] {
            rows.extend(log.events_of_all(shared, up_to).await?);
        }
        rows.sort_unstable_by_key(|it| it.position);
        let mut history = Self {
            subject,
            entries: decoded(rows)?,
        };
        history.leave_out_others();
        Ok(history)
    }

    /// Rules for somebody else say nothing about the subject.
    fn leave_out_others(&mut self) {
        let subject = self.subject;
        let mut ours: BTreeSet<RuleId> = BTreeSet::new();
        self.entries.retain(|it| match &it.event {
            Event::RuleGiven { rule } => {
                let his = match rule.audience {
                    Audience::Everyone => true,
                    Audience::Subscriber(id) => Some(id) == subject,
                };
                his && ours.insert(rule.id)
            }
            Event::RuleRemoved { rule } => ours.contains(rule),
            _ => true,
        });
    }

    /// Its events up to `position`.
    pub(super) fn until(&self, position: Position) -> &[Entry] {
        let number = self
            .entries
            .partition_point(|it| it.row.position <= position.0);
        &self.entries[..number]
    }

    /// The access table of the subject, as of `position`.
    ///
    /// # Errors
    /// When the events contradict each other.
    pub(super) fn table(&self, position: Position) -> Result<Acl, Contradiction> {
        let mut acl = Acl::default();
        for entry in self.until(position) {
            acl.apply_some(entry.recorded())?;
        }
        Ok(acl)
    }
}

/// Rows with what they say. Personal data stays sealed: nothing here needs it.
pub(super) fn decoded(rows: Vec<OwnedEvent>) -> Result<Vec<Entry>, EventLogError> {
    let (vault, mut entries) = (Vault::default(), Vec::with_capacity(rows.len()));
    for row in rows {
        let position = row.position;
        let event = row
            .decode(&vault)
            .map_err(|source| EventLogError::Body { position, source })?;
        entries.push(Entry { row, event });
    }
    Ok(entries)
}

/// The events of one payment.
pub(super) async fn of_payment(
    archive: &mut Archive,
    payment: PaymentId,
) -> Result<Vec<Entry>, EventLogError> {
    let up_to = archive.last().await?;
    let stream = [Stream::Payment(payment)];
    decoded(archive.log.events_of(&stream, up_to).await?)
}
