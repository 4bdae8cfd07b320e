//! The ground under the event log: a PostgreSQL server.
//!
//! Production names its server with `DATABASE_URL`; [`settings::check`] refuses one that could
//! forget an acknowledged commit. A first run names none, and [`PrivatePostgres`] then runs a
//! server of its own: a child process on a Unix socket in a folder that nobody else can enter.
//! See `docs/adr/0003-private-postgresql-for-the-first-run.md`.

mod account;
mod cluster;
mod command;
mod discover;
mod error;
mod folder;
mod install;
mod leftover;
mod private;
mod process;
pub mod settings;
#[doc(hidden)]
pub mod testing;

pub use discover::Binaries;
pub use error::PostgresError;
pub use folder::default_folder;
pub use private::{PrivatePostgres, Settings, running};

/// The oldest PostgreSQL major version that we run on.
pub const OLDEST_MAJOR: u32 = 15;
