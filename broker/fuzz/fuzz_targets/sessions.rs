//! Whole sessions: two clients, a clock, leases, and noise from a third one, against a real gate
//! and the model that the property tests use.

#![no_main]

#[path = "../../tests/worlds/hearing.rs"]
mod hearing;
#[path = "../../tests/worlds/line.rs"]
mod line;
#[path = "../../tests/worlds/peer.rs"]
mod peer;
#[path = "../../tests/worlds/publishing.rs"]
mod publishing;
#[path = "../../tests/worlds/step.rs"]
mod step;
#[path = "../../tests/worlds/subscribing.rs"]
mod subscribing;
#[path = "../../tests/worlds/table.rs"]
mod table;
#[path = "../../tests/worlds/world.rs"]
mod world;

use std::sync::Mutex;

/// One gate serves all worlds, up to the first one that is broken.
static TABLE: Mutex<Option<table::Table>> = Mutex::new(None);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut table = TABLE.lock().expect("the first broken world ends everything");
    let table = table.get_or_insert_with(|| table::Table::new().expect("a gate"));
    let steps = step::steps(&step::cells(bytes));
    if let Err(line::Broken(words)) = world::play(table, &steps) {
        panic!("{words}\n{steps:#?}");
    }
});
