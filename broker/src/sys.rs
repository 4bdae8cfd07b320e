//! What the server says about itself and its clients, on topics below `$SYS` that nobody else
//! writes.

mod announce;
mod broker;
mod load;
mod me;
mod tell;

pub use announce::Announcer;
pub(crate) use me::{DENIED, LEASE, ME, denied, lease};
pub(crate) use tell::tell;
