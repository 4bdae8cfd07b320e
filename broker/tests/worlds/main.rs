//! Two clients and a clock, drawn by lot and held against a simple model of the standard: what
//! may arrive, what must, in which order and how often, and that nothing arrives after the end of
//! the right it needs.

mod hearing;
mod line;
mod peer;
mod publishing;
mod step;
mod subscribing;
mod table;
mod world;

use line::Broken;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use table::Table;
use world::play;

/// Worlds that are played on one gate.
const AT_ONE_TABLE: u32 = 200;

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// Plays worlds, on a new table after a broken promise.
#[derive(Default)]
struct Tables {
    table: Option<Table>,
    played: u32,
}

impl Tables {
    fn play(&mut self, cells: &[[u8; 4]]) -> Result<(), Broken> {
        let mut table = match self.table.take() {
            Some(table) if !self.played.is_multiple_of(AT_ONE_TABLE) => table,
            _ => Table::new()?,
        };
        self.played += 1;
        play(&mut table, &step::steps(cells))?;
        self.table = Some(table);
        Ok(())
    }
}

/// How many worlds: `TANGLEGATE_WORLDS`, or few enough for every day.
fn worlds() -> u32 {
    let wish = std::env::var("TANGLEGATE_WORLDS").ok();
    wish.and_then(|it| it.parse().ok()).unwrap_or(200)
}

#[test]
fn whatever_happens_two_clients_get_what_the_standard_promises() {
    let config = ProptestConfig {
        cases: worlds(),
        // Broken worlds are saved as files, which the fuzzer reads too.
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    };
    let tables = RefCell::new(Tables::default());
    let worlds = vec(any::<[u8; 4]>(), 1..60);
    let outcome = TestRunner::new(config).run(&worlds, |cells| {
        let played = tables.borrow_mut().play(&cells);
        played.map_err(|Broken(words)| TestCaseError::fail(words))
    });
    if let Err(proptest::test_runner::TestError::Fail(why, cells)) = outcome {
        let path = folder("tests/worlds/kept").join("found.world");
        std::fs::write(&path, cells.concat()).expect("a folder to write into");
        let steps = step::steps(&cells);
        panic!("{why}\nsaved as {}\n{steps:#?}", path.display());
    }
    outcome.expect("worlds can be drawn");
}

#[test]
fn worlds_that_were_once_broken_are_whole() {
    let mut tables = Tables::default();
    for kept in ["tests/worlds/kept", "fuzz/corpus/sessions"] {
        let entries = std::fs::read_dir(folder(kept)).expect("worlds are kept with the code");
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let cells = step::cells(&std::fs::read(&path).expect("a readable file"));
            if let Err(Broken(words)) = tables.play(&cells) {
                let steps = step::steps(&cells);
                panic!("{}: {words}\n{steps:#?}", path.display());
            }
        }
    }
}
