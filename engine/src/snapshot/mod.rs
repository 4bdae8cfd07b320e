//! What the log had amounted to after some of its events, kept so that a past instant is folded
//! from there and not from the first event on.
//!
//! **A snapshot decides nothing.** It can be thrown away, its hash tree has to be the log's own,
//! and a fold from the first event on gives the same answer; a test holds that. Each one has the
//! whole state but the payments that were applied before the snapshot that it follows: these change
//! no more, so each is written once, and taking the next snapshot needs none of them.

mod bytes;
mod form;
mod open;
mod seal;
mod table;
mod take;
mod taker;

pub use bytes::FormError;
pub(crate) use open::{Applied, Opened, newest};
pub use open::{Fault, Refused};
pub use take::{Next, Taken, take_next};
pub use taker::Taker;

/// Events between two snapshots, usually.
pub const EVERY: u64 = 1_000_000;
