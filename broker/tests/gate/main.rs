//! The gate over real TCP: with clients of other people, and byte by byte.

mod client;
mod wire;

mod aliases;
mod connecting;
mod correspondence;
mod exactly_once;
mod floods;
mod handshakes;
mod interoperability;
mod leases;
mod limits;
mod memory;
mod publishing;
mod restarts;
mod retained;
mod session_life;
mod shared;
mod subscribing;
mod sys;
mod transports;
mod wills;

use tanglegate_stage as stage;
use tanglegate_stage::authority;
