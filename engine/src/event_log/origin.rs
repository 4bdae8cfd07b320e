//! Where a command came from: the event's metadata.

/// Who asked. One byte in the event's `meta` column, so that it can be extended behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The engine itself.
    Engine,
    /// The ledger.
    Ledger,
    /// A person with the operator's tools.
    Operator,
    /// A buyer, over MQTT.
    Buyer,
}

impl Origin {
    /// The bytes that stand in the log.
    #[must_use]
    pub fn to_meta(self) -> &'static [u8] {
        match self {
            Self::Engine => &[0],
            Self::Ledger => &[1],
            Self::Operator => &[2],
            Self::Buyer => &[3],
        }
    }

    /// The word for it.
    #[must_use]
    pub fn describe(meta: &[u8]) -> &'static str {
        match meta.first() {
            Some(0) => "engine",
            Some(1) => "ledger",
            Some(2) => "operator",
            Some(3) => "buyer",
            _ => "unknown",
        }
    }
}
