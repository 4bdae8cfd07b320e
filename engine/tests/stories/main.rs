//! The whole engine as people meet it: the program itself, a ledger behind HTTP, and clients that
//! other people wrote. One binary, so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod bench;
mod client;
#[path = "../npm/mod.rs"]
mod npm;
#[path = "../pip/mod.rs"]
mod pip;
mod process;
mod raw;
mod shop;

mod access_why;
mod anchored;
mod audit;
mod buying;
mod buying_hostile;
mod buying_interrupted;
mod claiming;
mod configuration;
mod control_door;
mod database_away;
mod example_buyers;
mod gate_refusals;
mod kept_sessions;
mod killed_again_and_again;
mod listeners;
mod live_data;
mod many_readers;
mod metrics;
mod names;
mod other_chain;
mod payments_astray;
mod proving;
mod secrets;
mod shutdown;
mod troubled_node;
mod two_engines;
mod typescript_buyer;
