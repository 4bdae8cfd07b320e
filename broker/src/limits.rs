//! Bounds on everything that a client can make the gate hold or do.

use crate::rate::Rate;
use std::time::Duration;
use tanglegate_core::SubscriberId;

/// The bounds of one gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, all together.
    pub connections: usize,
    /// Open connections from one address (IPv4), or from one /64 network (IPv6).
    pub connections_per_address: usize,
    /// Open connections of clients without a login.
    pub anonymous_connections: usize,
    /// Of those, from one address.
    pub anonymous_per_address: usize,
    /// Open connections of which nobody knows yet whose they are: the CONNECT has not come, or
    /// its login waits to be checked.
    pub opening: usize,
    /// Of those, from one address.
    pub opening_per_address: usize,
    /// Bytes of the CONNECTs of all those connections together, beyond the first 2 KiB of each. A
    /// client gets no more than is left for the others.
    pub opening_bytes: usize,
    /// New connections. Half of a burst is kept for addresses from which somebody has logged in
    /// during the last day. Beyond it they are closed unread.
    pub connects: Rate,
    /// New connections from one address.
    pub connects_per_address: Rate,
    /// CONNECTs without a login from one address.
    pub anonymous_connects_per_address: Rate,
    /// Time from the connection to a complete CONNECT.
    pub connect_within: Duration,
    /// Size of a CONNECT in bytes, before anybody is known.
    pub connect_bytes: usize,
    /// Passwords hashed at the same time. Each takes one thread and the verifier's memory cost.
    pub logins_at_once: usize,
    /// Passwords waiting for their turn; beyond it a CONNECT is answered "server busy".
    pub logins_waiting: usize,
    /// Of those, from one address.
    pub logins_waiting_per_address: usize,
    /// Right logins that are remembered, so that they need not be hashed again. 0: none.
    pub logins_remembered: usize,
    /// How long a right login is remembered. It stays bound to the password: when that changes,
    /// it is forgotten at once.
    pub logins_remembered_for: Duration,
    /// How long a session is kept for a client who is away, at most, whatever it asks for. 0:
    /// every session ends with its connection. Clients without a login have none that is kept.
    pub session_expiry: Duration,
    /// Sessions that are kept beyond their connections, of clients who are connected or away. A
    /// 5.0 client that asks for more is told that its session ends with the connection; 3.1.1
    /// cannot say that, and refuses the client.
    pub kept_sessions: usize,
    /// The same for one login.
    pub kept_sessions_per_login: usize,
    /// Retained messages in the store.
    pub retained_messages: usize,
    /// Bytes of retained messages in the store, topics and properties included.
    pub retained_bytes: usize,
    /// Answers to keys that are kept until they are picked up. Beyond it the oldest are forgotten;
    /// the event log still has them.
    pub answers: usize,
    /// Their bytes, with what keeping them costs, 384 each.
    pub answer_bytes: usize,
    /// Requests of clients that wait for the engine, at 4 KiB. Beyond it they are refused.
    pub engine_requests_waiting: usize,
    /// Requests to the engine of clients without a login from one address.
    pub anonymous_engine_requests_per_address: Rate,
    /// Bytes of published messages on their way to the shards; publishers wait beyond it.
    pub log_bytes: usize,
    /// Bytes that all clients with a login together make the gate hold, beyond the first 2 KiB of
    /// each: messages that wait for them, packets that have not come whole, subscriptions, wills,
    /// topic aliases, permits, identifiers in use. A client gets no more than is left for the
    /// others.
    pub known_bytes: usize,
    /// The same of all clients without one.
    pub anonymous_bytes: usize,
    /// What a client with a login may do.
    pub known: ClientLimits,
    /// What a client without one may do.
    pub anonymous: ClientLimits,
}

/// The bounds of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// Largest packet from the client in bytes, fixed header included.
    pub packet_bytes: u32,
    /// Subscriptions at the same time. One packet names at most as many filters, or 256 if those
    /// are more.
    pub subscriptions: usize,
    /// Levels in a topic name or topic filter.
    pub topic_levels: usize,
    /// Bytes of a topic name or topic filter.
    pub topic_bytes: usize,
    /// Bytes queued for the client. Beyond it QoS 0 messages are dropped; a client that lets
    /// QoS 1 and 2 messages pile up to it is disconnected.
    pub queued_bytes: usize,
    /// Messages queued for the client, with the same consequences.
    pub queued_messages: usize,
    /// Time for which the client's socket may take nothing while something waits; then the
    /// connection is over, whatever the client still sends.
    pub stalled: Duration,
    /// PUBLISH, SUBSCRIBE, UNSUBSCRIBE and PINGREQ packets from the client. One that sends more is
    /// read from more slowly; `None` is as many as it likes.
    pub requests: Option<Rate>,
    /// Bytes of those packets.
    pub request_bytes: Option<Rate>,
    /// Requests to the engine, e.g. claims and vouchers. Beyond it they are refused; eight may be
    /// open at the same time.
    pub engine_requests: Rate,
    /// Messages with QoS 1 and 2 in flight, each way.
    pub in_flight: u16,
    /// Longest keep-alive, if there is one. A 5.0 client that asks for more, or for none, is told
    /// to keep this one; 3.1.1 cannot announce it, and only replaces none by this one.
    pub keep_alive: Option<Duration>,
    /// Topic aliases at the same time, each way. To the client, no more than it takes.
    pub topic_aliases: u16,
    /// Length of a client identifier in bytes.
    pub client_id_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 10_000,
            anonymous_connections: 10_000,
            anonymous_per_address: 1_000,
            opening: 10_000,
            opening_per_address: 2_000,
            opening_bytes: 64 << 20,
            connects: Rate::new(20_000, 40_000),
            connects_per_address: Rate::new(1_000, 10_000),
            anonymous_connects_per_address: Rate::new(100, 1_000),
            connect_within: Duration::from_secs(10),
            connect_bytes: 64 << 10,
            logins_at_once: std::thread::available_parallelism().map_or(1, usize::from),
            logins_waiting: 1_000,
            logins_waiting_per_address: 100,
            logins_remembered: 100_000,
            logins_remembered_for: Duration::from_secs(24 * 3_600),
            session_expiry: Duration::from_secs(7 * 24 * 60 * 60),
            kept_sessions: 10_000,
            kept_sessions_per_login: 100,
            retained_messages: 100_000,
            retained_bytes: 64 << 20,
            answers: 65_536,
            answer_bytes: 96 << 20,
            engine_requests_waiting: 1_024,
            anonymous_engine_requests_per_address: Rate::new(20, 100),
            log_bytes: 8 << 20,
            known_bytes: 512 << 20,
            anonymous_bytes: 64 << 20,
            known: ClientLimits::known(),
            anonymous: ClientLimits::anonymous(),
        }
    }
}

impl Limits {
    /// What a client may do; `None` is an anonymous one.
    #[must_use]
    pub fn of(&self, subject: Option<SubscriberId>) -> &ClientLimits {
        match subject {
            Some(_) => &self.known,
            None => &self.anonymous,
        }
    }

    /// [`Limits::session_expiry`] as MQTT counts it: `u32::MAX` is for ever.
    pub(crate) fn session_expiry_seconds(&self) -> u32 {
        u32::try_from(self.session_expiry.as_secs()).unwrap_or(u32::MAX)
    }
}

/// Filters that one packet may name in any case: clients name all that they know of at once, and
/// are told of each whether there is room for it.
const FILTERS: usize = 256;

impl ClientLimits {
    /// Filters that one packet may name.
    pub(crate) fn filters(&self) -> usize {
        self.subscriptions.max(FILTERS)
    }

    /// The usual bounds of a client with a login.
    #[must_use]
    pub fn known() -> Self {
        Self {
            packet_bytes: 1 << 20,
            subscriptions: 1_000,
            topic_levels: 64,
            topic_bytes: 8 << 10,
            queued_bytes: 4 << 20,
            queued_messages: 100_000,
            stalled: Duration::from_secs(60),
            requests: None,
            request_bytes: None,
            engine_requests: Rate::new(10, 50),
            in_flight: 1_024,
            keep_alive: None,
            topic_aliases: 16,
            client_id_bytes: 1_024,
        }
    }

    /// The usual bounds of a client without one.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            packet_bytes: 64 << 10,
            subscriptions: 16,
            topic_levels: 16,
            topic_bytes: 1 << 10,
            queued_bytes: 256 << 10,
            queued_messages: 4_000,
            stalled: Duration::from_secs(60),
            requests: Some(Rate::new(10, 100)),
            request_bytes: Some(Rate::new(64 << 10, 256 << 10)),
            engine_requests: Rate::new(2, 20),
            in_flight: 64,
            keep_alive: Some(Duration::from_secs(600)),
            topic_aliases: 16,
            client_id_bytes: 256,
        }
    }
}
