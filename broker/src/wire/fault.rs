//! What is wrong with a packet.

use super::Reason;
use mqtt_protocol_core::mqtt::result_code::MqttError;

/// A packet that must not be: the connection ends ([MQTT-4.13.1-1]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The bytes are no packet.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The packet breaks a rule.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The packet is larger than was announced.
    #[error("the packet is larger than the {limit} bytes that are accepted")]
    TooLarge {
        /// The bound in bytes.
        limit: u32,
    },
    /// The packet carries a topic that is none.
    #[error("not the name of a topic: {0}")]
    TopicName(&'static str),
    /// A topic alias that was not announced or not set.
    #[error("topic alias {0} is not in use, or beyond the maximum")]
    TopicAlias(u16),
    /// The answer would be larger than the client takes.
    #[error(
        "the answer would be larger than the {limit} bytes that this client takes; name fewer \
         filters in one packet"
    )]
    Unanswerable {
        /// The client's bound in bytes.
        limit: usize,
    },
    /// More filters in one packet than are looked at.
    #[error("one packet may name at most {most} filters here; send them in several")]
    TooManyFilters {
        /// The bound.
        most: usize,
    },
    /// More messages in flight than were announced.
    #[error("more messages in flight than the announced receive maximum")]
    ReceiveMaximum,
}

impl Fault {
    /// How MQTT 5.0 names it.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::MalformedPacket,
            Self::Protocol(_) => Reason::ProtocolError,
            Self::TooLarge { .. } | Self::Unanswerable { .. } => Reason::PacketTooLarge,
            Self::TooManyFilters { .. } => Reason::QuotaExceeded,
            Self::TopicName(_) => Reason::TopicNameInvalid,
            Self::TopicAlias(_) => Reason::TopicAliasInvalid,
            Self::ReceiveMaximum => Reason::ReceiveMaximumExceeded,
        }
    }
}

impl From<MqttError> for Fault {
    fn from(error: MqttError) -> Self {
        match error {
            MqttError::ProtocolError => Self::Protocol("the packet has contents it must not have"),
            _ => Self::Malformed("the packet's contents cannot be read"),
        }
    }
}
