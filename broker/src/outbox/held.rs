//! What a client makes the gate hold besides the messages that wait for it. It is counted in the
//! client's share of what all clients of its kind may hold, so that **nothing that grows at a
//! client's will is bounded for that client alone**.

/// What a subscription costs besides the text of its filter, and what a level costs where there
/// are wildcards: a node with a table of its own.
const SUBSCRIPTION: usize = 256;
const LEVEL: usize = 512;
/// The text of a filter is kept by the session, by the index, and while retained messages are
/// looked up for it.
const COPIES: usize = 3;

/// What it costs to remember an identifier of a QoS 2 message.
pub(crate) const IDENTIFIER: usize = 8;

/// Bytes, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    /// For the connection: packets that have not come whole, messages on their way into the log,
    /// answers, topic aliases, permits. Identifiers of QoS 2 messages are among them until the
    /// client is away.
    pub(crate) connection: usize,
    /// For subscriptions.
    pub(crate) subscriptions: usize,
    /// For identifiers of QoS 2 messages of a client that is away.
    pub(crate) identifiers: usize,
    /// For the will.
    pub(crate) will: usize,
}

impl Held {
    /// All of them.
    pub(super) fn total(self) -> usize {
        self.connection + self.subscriptions + self.identifiers + self.will
    }
}

/// Bytes that a subscription on `filter` takes, `$share/…` included.
pub(crate) fn subscription_cost(filter: &str) -> usize {
    let levels = if filter.contains(['+', '#']) {
        filter.split('/').count()
    } else {
        0
    };
    SUBSCRIPTION + COPIES * filter.len() + levels * LEVEL
}
