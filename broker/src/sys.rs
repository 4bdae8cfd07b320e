//! What the server says about itself and its clients, on topics below `$SYS` that nobody else
//! writes. Two of them everybody may read, whatever his rights: who the engine is, and
//! what it sells.

mod announce;
mod broker;
mod load;
mod me;
mod tell;

pub use announce::Announcer;

/// What the engine announces to everybody.
pub(crate) const PUBLIC: [&str; 2] = ["$SYS/access/identity", "$SYS/access/offers"];
pub(crate) use me::{DENIED, LEASE, ME, denied, lease};
pub(crate) use tell::tell;
