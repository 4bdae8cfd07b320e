//! The event log, its writer and its projections against a real PostgreSQL.

mod append_only;
mod faults;
mod market;
mod recording;
