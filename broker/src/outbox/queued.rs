//! A message with QoS 1 or 2 that waits for one client.

use super::{Left, Portion};
use crate::message::StoredMessage;
use crate::permit::ReadPermit;
use std::sync::Arc;
use tanglegate_core::Timestamp;

/// What a queued message costs besides its own bytes: its place in the line, which it keeps until
/// all before it are done, and counters.
pub(super) const OVERHEAD: usize = 64;

/// A message for one client.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) message: StoredMessage,
    /// 1 or 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Identifiers of the subscriptions that it is delivered for; `None` without any.
    pub(crate) ids: Option<Arc<[u32]>>,
    /// The permit to read it; `None` when it has ended, or is yet to be asked for because the
    /// message came back from the store.
    pub(crate) permit: Option<ReadPermit>,
    /// Of which group this client alone got it.
    pub(crate) share: Option<Box<Portion>>,
}

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The right to read it has ended.
    Ended,
    /// It has expired.
    Expired,
}

/// Messages that were removed because the right to read them has ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Nobody gets these.
    pub(crate) dropped: u64,
    /// Others of their group may.
    pub(crate) shared: Vec<Left>,
}

impl Queued {
    /// Bytes that a message takes while it is queued.
    pub(crate) fn cost(message: &StoredMessage) -> usize {
        OVERHEAD + message.len()
    }

    /// The permit under which it is sent at `now`, or why it must not be. A QoS 2 message whose
    /// handshake was `begun` expires no more ([MQTT-4.3.3-7], [MQTT-4.3.3-13]).
    pub(super) fn permit_at(&self, now: Timestamp, begun: bool) -> Result<ReadPermit, Unsent> {
        match self.permit {
            Some(permit) if now < permit.until() => {
                let expired = !begun && now >= self.message.expires();
                if expired {
                    Err(Unsent::Expired)
                } else {
                    Ok(permit)
                }
            }
            _ => Err(Unsent::Ended),
        }
    }
}
