//! Signed tree heads: made while the engine runs, kept beside the log, in the data folder and by
//! whoever reads `$SYS/access/log/head`. From then on nobody can rewrite what they cover and not
//! be found out: neither an operator, nor a superuser of the database.

mod folder;
mod keys;
mod signer;

pub use folder::{KeyError, KeyFolder};
pub use signer::{HeadSettings, Heads, Signer, SignerError};
