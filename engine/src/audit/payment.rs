//! The life of one payment.

use super::Archive;
use super::explain::{Link, link};
use super::history::{Entry, decoded};
use crate::event_log::EventLogError;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use tanglegate_core::{Digest, Event, PaymentId, Position, Stream};

/// What became of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Life {
    /// Which: digest and index.
    pub payment: String,
    /// Whether it bought time or stands on an account.
    pub booked: bool,
    /// What became of it, in words.
    pub fate: String,
    /// Everything that happened to it and because of it, oldest first.
    pub chain: Vec<Link>,
}

/// The payments of one transaction, in the order of their indices.
///
/// # Errors
/// When the log cannot be read, or an event in it is not the one that was written.
pub async fn life_of(archive: &mut Archive, digest: Digest) -> Result<Vec<Life>, EventLogError> {
    let up_to = archive.last().await?;
    let streams = format!("payment/{digest}:");
    let rows = archive.log.events_of_all(&streams, up_to).await?;
    let mut payments: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut order: Vec<PaymentId> = Vec::new();
    for entry in decoded(rows)? {
        // What one command led to belongs together; a claim is another command.
        let first = entry.row.causation.unwrap_or(entry.row.position);
        let stream = entry.row.stream.clone();
        payments.entry(stream).or_default().insert(first);
        if let Event::PaymentConfirmed { confirmation } = &entry.event {
            order.push(confirmation.payment);
        }
    }
    let mut lives: Vec<Life> = Vec::with_capacity(order.len());
    for payment in order {
        let commands = payments.remove(&Stream::Payment(payment).to_string());
        let mut chain = Vec::new();
        for first in commands.unwrap_or_default() {
            let caused = archive.log.events_caused_by(Position(first)).await?;
            chain.extend(decoded(caused)?);
        }
        let (booked, fate) = fate(&chain);
        lives.push(Life {
            payment: payment.to_string(),
            booked,
            fate,
            chain: chain.iter().map(link).collect(),
        });
    }
    Ok(lives)
}

fn fate(chain: &[Entry]) -> (bool, String) {
    let fates = chain.iter().rev().find_map(|it| match &it.event {
        Event::PaymentApplied {
            subscriber,
            spent,
            credit,
            offer,
            ..
        } => Some((
            true,
            format!(
                "booked for subscriber {subscriber}: {spent} bought time of {offer}; {credit} was \
                 then on account"
            ),
        )),
        Event::PaymentUnmatched { reason, .. } => {
            Some((false, format!("waits to be claimed: {reason}")))
        }
        _ => None,
    });
    fates.unwrap_or((false, "confirmed, and not booked yet".to_owned()))
}
