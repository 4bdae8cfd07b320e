//! What is recorded in the store, and what comes back from it.

use crate::message::StoredMessage;
use crate::wire::Options;
use std::num::NonZero;
use std::sync::Arc;
use tanglegate_core::{SubscriberId, Timestamp};

/// One change of what is stored. Changes take effect in the order in which they are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A session began, or its state changed. The record replaces the one before.
    Session { session: u64, record: SessionRecord },
    /// A session is over: everything of it is removed. Its number must not be used again while
    /// the server runs.
    EndSession { session: u64 },
    /// A subscription, new or changed.
    Subscribe {
        session: u64,
        /// As the client wrote it, with `$share/…`.
        filter: Box<str>,
        options: Options,
        /// The subscription identifier.
        id: Option<NonZero<u32>>,
    },
    /// A subscription is over.
    Unsubscribe { session: u64, filter: Box<str> },
    /// A message is queued for a session. A session never uses a sequence number twice, and
    /// they rise.
    Queue {
        session: u64,
        sequence: u64,
        /// 1 or 2: the one it is delivered with.
        qos: u8,
        /// The retain flag it is delivered with.
        retain: bool,
        /// Identifiers of the subscriptions that it matched.
        ids: Box<[u32]>,
        message: StoredMessage,
        /// Of which group this client alone got it.
        group: Option<GroupRecord>,
    },
    /// All messages with smaller sequence numbers were handed to a connection once.
    Sent { session: u64, below: u64 },
    /// QoS 2: the PUBREC came, so the message may be forgotten and PUBREL is due.
    Released { session: u64, sequence: u64 },
    /// A queued message was acknowledged to the end, expired, or is no longer permitted.
    Done { session: u64, sequence: u64 },
    /// A QoS 2 message was received and its PUBREL has not come yet.
    Received { session: u64, packet_id: u16 },
    /// The PUBREL came.
    ForgetReceived { session: u64, packet_id: u16 },
    /// The last retained message of its topic.
    Retain {
        /// The one it was published with.
        qos: u8,
        message: StoredMessage,
    },
    /// A topic has no retained message any more.
    Unretain { topic: Box<str> },
}

/// The group of which one client got a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupRecord {
    /// As clients write it, with `$share/…`.
    pub(crate) filter: Box<str>,
    /// 0, 1 or 2: the one it was published with.
    pub(crate) qos: u8,
    /// The retain flag it was published with.
    pub(crate) retain: bool,
}

/// The state of a session, besides its subscriptions and messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    /// The login that it belongs to.
    pub(crate) owner: SubscriberId,
    pub(crate) client_id: Arc<str>,
    /// Seconds that it outlives its connection; 0xFFFF_FFFF: it does not expire (MQTT 5.0
    /// §3.1.2.11.2).
    pub(crate) expiry_seconds: u32,
    /// When its connection ended; `None` while it is connected. A session of which this was
    /// recorded last when the server died has lost its connection at some later time.
    pub(crate) away_since: Option<Timestamp>,
    pub(crate) will: Option<StoredWill>,
}

/// A will that has not been published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredWill {
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Seconds between the end of the connection and its publication (MQTT 5.0 §3.1.3.2.2).
    pub(crate) delay_seconds: u32,
    /// When it is to be published, once the connection has ended.
    pub(crate) due: Option<Timestamp>,
    /// Seconds that the message is worth keeping from its publication on; the message itself
    /// carries no expiry.
    pub(crate) expiry_seconds: Option<u32>,
    pub(crate) message: StoredMessage,
}

/// Everything that was in the store when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// By their numbers. New sessions get larger ones.
    pub(crate) sessions: Vec<RestoredSession>,
    /// The QoS of each retained message, and the message; by topic.
    pub(crate) retained: Vec<(u8, StoredMessage)>,
}

/// A session that outlived the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RestoredSession {
    pub(crate) session: u64,
    pub(crate) record: SessionRecord,
    /// Filter as the client wrote it, options, subscription identifier.
    pub(crate) subscriptions: Vec<(Box<str>, Options, Option<NonZero<u32>>)>,
    /// In the order of their sequence numbers.
    pub(crate) queue: Vec<RestoredMessage>,
    /// Messages below were handed to a connection once: they are sent again with DUP
    /// ([MQTT-3.3.1-1]).
    pub(crate) sent_below: u64,
    /// Packet identifiers of received QoS 2 messages whose PUBREL has not come, ascending.
    pub(crate) received: Vec<u16>,
}

/// A message that was queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestoredMessage {
    pub(crate) sequence: u64,
    /// 1 or 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) ids: Box<[u32]>,
    /// `None` when the PUBREC came: only PUBREL is due then.
    pub(crate) message: Option<StoredMessage>,
    /// Of which group this client alone got it.
    pub(crate) group: Option<GroupRecord>,
}
