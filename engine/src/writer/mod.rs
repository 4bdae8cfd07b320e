//! The one place where facts are made: commands come in, are decided against the state in
//! memory, and become true together when the database commits them.
//!
//! One task, one connection, one transaction at a time. While a commit is under way the next
//! commands gather, so the busier it is, the more of them share a commit.

mod batch;
mod contact;
mod handle;
mod memory;
mod start;
mod task;

pub use contact::Contact;
pub use handle::{Recording, SubmitError, WriterHandle};
pub(crate) use memory::Memory;
pub use start::{StartError, Started, start};
pub use task::{News, Settings};
