//! Sells access to MQTT topics and enforces exactly what was paid for.
//!
//! The engine is the shell around `tanglegate-core`: it fetches from the ledger, writes to
//! PostgreSQL, feeds the gate and answers the operator. See `docs/ARCHITECTURE.md`.

pub mod audit;
pub mod bench;
pub mod buy;
pub mod buyers;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod event_log;
pub mod heads;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod plug;
pub mod postgres;
pub mod projections;
pub mod proof;
pub mod serve;
pub mod snapshot;
pub mod wallet;
pub mod writer;
