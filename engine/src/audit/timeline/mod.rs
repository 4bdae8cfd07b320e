//! One subject's life on one time axis: what he paid, what he might do, and when he might not.

mod axis;
mod lanes;
mod page;
mod picture;
#[cfg(test)]
mod tests;

use super::explain::{Link, link};
use super::history::{Entry, History, of_payment};
use super::{Archive, When};
use crate::event_log::EventLogError;
use std::collections::BTreeSet;
use tanglegate_core::{Digest, Event, PaymentId, Position, SubscriberId, Timestamp};

/// Which part of whose life is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Whose.
    pub subject: SubscriberId,
    /// What he is called on the page: any text.
    pub called: String,
    /// The first instant of the picture; without one, his first event.
    pub from: Option<When>,
    /// The last one; without one, the last event or the end of his last lease.
    pub to: Option<When>,
}

/// An event on a timeline.
#[derive(Debug, Clone)]
struct Told {
    at: Timestamp,
    event: Event,
    link: Link,
}

/// Everything that a picture is made of.
#[derive(Debug, Clone)]
pub struct Timeline {
    called: String,
    subject: SubscriberId,
    /// What of it is in the picture: a first instant, and a later one.
    from: Timestamp,
    to: Timestamp,
    /// When it was drawn, by the clock of who asked.
    now: Timestamp,
    /// The last event of the log that was known.
    position: Position,
    told: Vec<Told>,
}

/// Reads what a timeline is made of. `None` when the log knows nobody of that identity. `now` is
/// the asking machine's clock.
///
/// # Errors
/// When the log cannot be read, or an event in it is not the one that was written.
pub async fn timeline(
    archive: &mut Archive,
    span: &Span,
    now: Timestamp,
) -> Result<Option<Timeline>, EventLogError> {
    let position = archive.last().await?;
    let history = History::read(archive, Some(span.subject), position).await?;
    let mut entries: Vec<Entry> = history.until(position).to_vec();
    // What was for sale to everybody is not his.
    entries.retain(|it| !is_offer(&it.event));
    if !entries.iter().any(|it| is_registration(&it.event)) {
        return Ok(None);
    }
    let mut payments = archive.payments_of(span.subject).await?;
    payments.extend(entries.iter().filter_map(|it| bought_with(&it.event)));
    for payment in payments {
        entries.extend(of_payment(archive, payment).await?);
    }
    entries.sort_unstable_by_key(|it| it.row.position);
    let told: Vec<Told> = entries.iter().map(told).collect();
    let (mut from, mut to) = lanes::extent(&told, now);
    if let Some(when) = span.from {
        from = archive.moment(when, now).await?.at;
    }
    if let Some(when) = span.to {
        to = archive.moment(when, now).await?.at;
    }
    Ok(Some(Timeline {
        called: span.called.clone(),
        subject: span.subject,
        from,
        // A picture is of some time.
        to: to.max(from.plus_millis(1)),
        now,
        position,
        told,
    }))
}

impl Timeline {
    /// One HTML file with the picture and the events in words. It needs nothing else, and runs no
    /// script.
    #[must_use]
    pub fn page(&self) -> String {
        page::page(self)
    }

    /// How many events there are.
    #[must_use]
    pub fn events(&self) -> usize {
        self.told.len()
    }
}

fn told(entry: &Entry) -> Told {
    Told {
        at: entry.row.recorded_at,
        event: entry.event.clone(),
        link: link(entry),
    }
}

fn is_offer(event: &Event) -> bool {
    matches!(
        event,
        Event::OfferPublished { .. } | Event::OfferWithdrawn { .. }
    )
}

fn is_registration(event: &Event) -> bool {
    matches!(event, Event::SubscriberRegistered { .. })
}

fn bought_with(event: &Event) -> Option<PaymentId> {
    match event {
        Event::LeaseGranted { payment, .. } | Event::LeaseExtended { payment, .. } => {
            Some(*payment)
        }
        _ => None,
    }
}

impl Archive {
    /// The payments that were booked for a subscriber, of which some bought no time yet.
    async fn payments_of(
        &mut self,
        subject: SubscriberId,
    ) -> Result<BTreeSet<PaymentId>, EventLogError> {
        let query = "select digest, index::int from projection.payment where subscriber = $1";
        let rows: Vec<(String, i32)> = sqlx::query_as(query)
            .bind(subject.to_string())
            .fetch_all(self.log.connection())
            .await?;
        let payment = |(digest, index): (String, i32)| {
            Some(PaymentId {
                digest: Digest::parse(&digest).ok()?,
                index: u16::try_from(index).ok()?,
            })
        };
        Ok(rows.into_iter().filter_map(payment).collect())
    }
}
