//! Clients that mean no good, or know no better: sessions of packets with mistakes in them, by
//! the ten thousand, and connections that are opened and never used.

#[path = "../gate/stage.rs"]
#[expect(dead_code, reason = "not all that a stage can do happens here")]
mod stage;

mod half_open;
mod mutated;
mod valid;
