//! The event log, its writer and its projections against a real PostgreSQL.

mod answers;
mod append_only;
mod buying;
mod erasure;
mod faults;
mod market;
mod on_the_ledger;
mod proving;
mod recording;
mod signing;
mod snapshots;
mod tampering;
