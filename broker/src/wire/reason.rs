//! Reason codes of MQTT 5.0 (§2.4), and what MQTT 3.1.1 says in their place.

/// Why something was refused or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reason {
    Success = 0x00,
    GrantedQos1 = 0x01,
    GrantedQos2 = 0x02,
    NoSubscriptionExisted = 0x11,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecific = 0x83,
    UnsupportedVersion = 0x84,
    ClientIdNotValid = 0x85,
    BadLogin = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    BadAuthenticationMethod = 0x8C,
    ServerShuttingDown = 0x8B,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    ConnectionRateExceeded = 0x9F,
}

impl Reason {
    /// The byte on the wire.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The return code of a 3.1.1 CONNACK (MQTT 3.1.1 table 3.1). A fault has none: there the
    /// connection is closed without an answer.
    pub(crate) fn connect_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedVersion => Some(1),
            Self::ClientIdNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::QuotaExceeded
            | Self::ConnectionRateExceeded
            | Self::ServerShuttingDown => Some(3),
            Self::BadLogin => Some(4),
            Self::NotAuthorized => Some(5),
            _ => None,
        }
    }

    /// The return code of a 3.1.1 SUBACK.
    pub(crate) fn subscribe_return_code(self) -> u8 {
        match self {
            Self::Success | Self::GrantedQos1 | Self::GrantedQos2 => self.code(),
            _ => 0x80,
        }
    }
}
