//! Clients that mean no good, or know no better: sessions of packets with mistakes in them, by
//! the ten thousand, and connections that are opened and never used.

mod half_open;
mod mutated;
mod valid;
