//! What a buyer is told about his payment.

use super::keyring::Keyring;
use crate::event_log::Entropy;
use std::fmt;
use tanglegate_core::{
    Access, Address, Event, Nanos, PasswordVerifier, PaymentId, Position, Timestamp,
};
use tanglegate_crypto::{
    KeyId, LONGEST_REASON, LONGEST_RECEIPT_FILTER, Outcome, Receipt, seal_answer,
};
use zeroize::Zeroizing;

/// How long an answer is told to whoever asks for it.
const TOLD_FOR: u64 = 7 * 24 * 3_600_000;

/// The way to answer a buyer, from the opened memo.
#[derive(Clone)]
pub struct Reply {
    pub(super) keyring: Keyring,
    pub(super) key_id: KeyId,
    pub(super) reply_key: [u8; 32],
    pub(super) offer: String,
    pub(super) username: String,
    /// The password that was made, in case one is wanted.
    pub(super) made: Zeroizing<String>,
    pub(super) verifier: PasswordVerifier,
    pub(super) payment: PaymentId,
    pub(super) seller: Address,
    pub(super) amount: Nanos,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply(to {})", self.key_id)
    }
}

impl Reply {
    /// The announcement that tells him what `events` made of his payment. `position` is that of
    /// the first of them; `claimed` says who was paid how much, of a payment that waited.
    pub(crate) fn announce(
        &self,
        events: &[Event],
        claimed: Option<(Address, Nanos)>,
        position: Position,
        recorded_at: Timestamp,
        entropy: &mut Entropy,
    ) -> Option<Event> {
        let (seller, amount) = claimed.unwrap_or((self.seller, self.amount));
        let mut receipt = self.receipt(position, recorded_at);
        (receipt.seller, receipt.amount) = (seller.0, amount.0);
        events.iter().for_each(|it| self.tell(it, &mut receipt));
        let signed = Zeroizing::new(self.keyring.announce(&receipt));
        let (identity, seed) = (self.keyring.identity(), Zeroizing::new(entropy.bytes()));
        let sealed = seal_answer(&seed, &self.reply_key, &identity, self.key_id, &signed);
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::error!(%error, payment = %self.payment, "a buyer could not be answered");
                return None;
            }
        };
        let subscriber = events.iter().find_map(|it| match it {
            Event::PaymentApplied { subscriber, .. } => Some(*subscriber),
            _ => None,
        });
        Some(Event::AnswerAnnounced {
            payment: self.payment,
            subscriber,
            key_id: *self.key_id.as_bytes(),
            sealed: sealed.into(),
            until: recorded_at.plus_millis(TOLD_FOR),
        })
    }

    /// As of a refusal without a reason.
    fn receipt(&self, position: Position, recorded_at: Timestamp) -> Receipt {
        Receipt {
            digest: self.payment.digest.0,
            index: self.payment.index,
            seller: self.seller.0,
            amount: self.amount.0,
            recorded_at: recorded_at.0,
            position: position.0,
            outcome: Outcome::Refused,
            reason: None,
            offer: self.offer.clone(),
            username: self.username.clone(),
            password: None,
            filter: None,
            access: None,
            from: None,
            until: None,
            credit: 0,
        }
    }

    fn tell(&self, event: &Event, receipt: &mut Receipt) {
        match event {
            Event::SubscriberRegistered { verifier, .. }
            | Event::PasswordChanged { verifier, .. }
                if verifier.as_ref() == Some(&self.verifier) =>
            {
                receipt.password = Some(self.made.clone());
            }
            Event::PaymentApplied { credit, .. } => {
                receipt.outcome = Outcome::OnAccount;
                receipt.credit = credit.0;
            }
            Event::PaymentUnmatched { reason, .. } => {
                let text = format!("{}: {reason}", reason.as_str());
                receipt.reason = Some(cut(&text, LONGEST_REASON));
            }
            Event::LeaseGranted {
                filter,
                access,
                from,
                until,
                ..
            }
            | Event::LeaseExtended {
                filter,
                access,
                from,
                until,
                ..
            } => {
                let filter = filter.as_str();
                receipt.outcome = Outcome::TimeBought;
                receipt.filter =
                    (filter.len() <= LONGEST_RECEIPT_FILTER).then(|| filter.to_owned());
                receipt.access = Some(code(*access));
                (receipt.from, receipt.until) = (Some(from.0), Some(until.0));
            }
            _ => {}
        }
    }
}

/// As in offers and receipts.
pub(crate) fn code(access: Access) -> u8 {
    match access {
        Access::Read => 1,
        Access::Write => 2,
        Access::ReadWrite => 3,
    }
}

fn cut(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    text[..end].to_owned()
}
