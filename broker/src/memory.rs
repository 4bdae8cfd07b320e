//! How much memory clients can make the gate use, all together. Whatever grows at a client's will
//! is bounded by one of the [`Limits`](crate::Limits) for all clients together, and this is their
//! sum, in bytes that the allocator is asked for.
//!
//! What people and machines with other rights make it use is not in it: the access table, which
//! grows with what was bought, and the database.

use crate::budget::FREE;
use crate::correspondence::REQUEST;
use crate::entrance::{ListenerSettings, Transport};
use crate::gate::Settings;
use crate::{outbox, router, shard, store};
use std::fmt;

/// Vectors grow by doubling: what is counted by its length takes at most twice as much.
const GROWTH: usize = 2;
/// A connection that is served, with its session: tasks, tables, the kernel's handle, and what
/// each may hold without being asked.
const CONNECTION: usize = (4 << 10) + GROWTH * (FREE + (1 << 10));
/// The greeting of a connection, on top of it: a future with its buffers, and the first bytes of
/// the CONNECT.
const OPENING: usize = (8 << 10) + GROWTH * FREE;
/// A session whose client is away.
const SESSION: usize = (3 << 10) + GROWTH * FREE;
/// TLS of a connection: its state, a record in each direction, and the longest handshake message
/// that is taken, 64 KiB (RFC 8446 §4 would allow more).
const TLS: usize = 100 << 10;
/// WebSocket of a connection: a piece that waits to leave.
const FRAMES: usize = 18 << 10;
/// One thread's buffer for what is read.
const SCRATCH: usize = 64 << 10;
/// A login that was right, and an address that came lately, with the tables' spare places.
const LOGIN: usize = 256;
const ADDRESSES: usize = 2 * (1 << 16) * 256;
/// The program itself, without any client.
const PROGRAM: usize = 32 << 20;

/// What clients can make the gate use at most, by what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryBound(Vec<(&'static str, usize)>);

impl MemoryBound {
    /// All together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let parts = self.0.iter().map(|(_, bytes)| *bytes);
        parts.fold(0, usize::saturating_add)
    }

    /// Each part with its name, in bytes.
    #[must_use]
    pub fn parts(&self) -> &[(&'static str, usize)] {
        &self.0
    }
}

/// In MiB, as for people.
impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, bytes)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{name} {} MiB", bytes.div_ceil(1 << 20))?;
        }
        Ok(())
    }
}

impl Settings {
    /// How much memory a gate with these settings lets clients use.
    #[must_use]
    pub fn memory_bound(&self) -> MemoryBound {
        let limits = &self.limits;
        let (known, anonymous) = (&limits.known, &limits.anonymous);
        let identifier = known.client_id_bytes.max(anonymous.client_id_bytes);
        let packet = known.packet_bytes.max(anonymous.packet_bytes) as usize;
        let topic = known.topic_bytes.max(anonymous.topic_bytes);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let times = usize::saturating_mul;
        let logins = times(limits.logins_remembered, LOGIN).saturating_add(
            times(
                limits.logins_at_once,
                self.password_cost.memory_kib as usize,
            ) << 10,
        );
        let places = times(limits.connections, CONNECTION + identifier)
            .saturating_add(times(limits.opening.min(limits.connections), OPENING));
        MemoryBound(vec![
            ("clients with a login", times(GROWTH, limits.known_bytes)),
            ("anonymous clients", times(GROWTH, limits.anonymous_bytes)),
            ("clients that connect", times(GROWTH, limits.opening_bytes)),
            ("connections", places),
            (
                "TLS and WebSocket",
                layers(&self.listeners, limits.connections),
            ),
            (
                "kept sessions",
                times(limits.kept_sessions, SESSION + identifier),
            ),
            ("retained messages", limits.retained_bytes),
            ("answers to keys", limits.answer_bytes),
            (
                "requests to the engine",
                times(limits.engine_requests_waiting, REQUEST),
            ),
            (
                "messages between shards",
                times(GROWTH, router::memory(limits.log_bytes) + packet),
            ),
            (
                "audiences",
                times(self.shards.max(1), shard::remembered(topic)),
            ),
            ("store", self.store.as_ref().map_or(0, |_| store::MEMORY)),
            ("logins and addresses", logins.saturating_add(ADDRESSES)),
            (
                "buffers",
                times(threads, SCRATCH + GROWTH * packet) + outbox::POOL_MEMORY,
            ),
            ("program", PROGRAM),
        ])
    }
}

/// What the layers between TCP and MQTT take, when the dearest listeners are full.
fn layers(listeners: &[ListenerSettings], connections: usize) -> usize {
    let cost = |it: &ListenerSettings| {
        let frames = if it.transport == Transport::WebSocket {
            FRAMES
        } else {
            0
        };
        frames + it.tls.as_ref().map_or(0, |_| TLS)
    };
    let mut listeners: Vec<_> = listeners
        .iter()
        .map(|it| (cost(it), it.connections))
        .collect();
    listeners.sort_unstable_by(|one, other| other.cmp(one));
    let (mut left, mut bytes) = (connections, 0_usize);
    for (cost, most) in listeners {
        let here = most.min(left);
        left -= here;
        bytes = bytes.saturating_add(here.saturating_mul(cost));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TlsSettings;
    use crate::limits::Limits;

    fn settings(limits: Limits) -> Settings {
        Settings {
            limits,
            ..Settings::new(([127, 0, 0, 1], 0).into())
        }
    }

    #[test]
    fn the_usual_bounds_need_less_than_four_gigabytes_and_wider_ones_more() {
        let usual = settings(Limits::default()).memory_bound();
        assert!(usual.bytes() < 4 << 30, "{usual}");
        let wider = settings(Limits {
            known_bytes: Limits::default().known_bytes + 100,
            ..Limits::default()
        });
        assert_eq!(wider.memory_bound().bytes(), usual.bytes() + 200);
        let endless = settings(Limits {
            connections: usize::MAX,
            ..Limits::default()
        });
        assert_eq!(endless.memory_bound().bytes(), usize::MAX);
    }

    #[test]
    fn the_dearest_listeners_count_first_and_no_further_than_there_are_connections() {
        let plain = ListenerSettings::new(([127, 0, 0, 1], 0).into());
        let sockets = ListenerSettings {
            transport: Transport::WebSocket,
            connections: 10,
            ..plain.clone()
        };
        let tls = ListenerSettings {
            tls: Some(TlsSettings {
                certificates: "c".into(),
                key: "k".into(),
                clients: None,
            }),
            connections: 20,
            ..plain.clone()
        };
        let all = [plain, sockets, tls];
        assert_eq!(layers(&all, 25), 20 * TLS + 5 * FRAMES);
        assert_eq!(layers(&all, 100), 20 * TLS + 10 * FRAMES);
    }
}
