//! The MQTT gate of Tanglegate: sessions, shards and the permits they enforce.
//!
//! A [`Gate`] speaks MQTT 3.1.1 and 5.0 to clients and asks an [`AccessView`] what each of them
//! may do. Whoever folds the event log feeds the view:
//!
//! ```text
//! publisher ── session ── batch record ── log ──┬── shard ── outbox ── session ── reader
//!                 │                             └── shard ── …             │
//!              may he write?                                        may he still read?
//!                 └──────────────────── AccessView ──────────────────────┘
//! ```
//!
//! **No message is handed to a socket at or after the end of the right it needs.** No record
//! takes a message and no outbox holds one without the permit that a check gave; the end of it
//! travels with every queued packet and is compared with the clock right before each
//! write; live, retained and will messages all go through the same outbox. When rights change,
//! everything queued is looked at again before the next byte leaves.

mod access;
mod alarm;
mod budget;
mod clock;
mod correspondence;
mod decision;
mod door;
mod entrance;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod inquiry;
mod keeper;
mod limits;
mod listener;
pub mod login;
mod memory;
mod message;
mod outbox;
mod passing;
mod permit;
mod rate;
mod recent;
mod record;
mod registry;
mod retained;
mod router;
mod session;
mod shard;
mod socket;
mod statistics;
mod store;
mod sys;
mod wire;

pub use access::AccessView;
pub use clock::{Clock, ManualClock};
pub use correspondence::{
    Correspondence, KeyNews, Reply, Request, RequestTopic, SealedAnswer, TooLong,
};
pub use entrance::{
    CertificateName, ClientCertificates, ListenerSettings, TlsError, TlsSettings, Transport,
};
pub use gate::{Gate, GateError, Settings};
pub use inquiry::{Answer, Asked, Inquiry};
pub use ipnet::IpNet;
pub use limits::{ClientLimits, Limits};
pub use memory::MemoryBound;
pub use rate::Rate;
pub use session::needs_no_right;
pub use statistics::{Decisions, ListenerStatistics, Outcome, Stage, Statistics, StatisticsReader};
pub use store::{Safety, StoreError, StoreSettings};
pub use sys::Announcer;
