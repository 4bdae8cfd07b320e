//! The table of `docs/CONFORMANCE.md` is whole, and names tests that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Sections of MQTT 5.0 with the numbers of their statements.
const STATEMENTS: [(&str, std::ops::RangeInclusive<u8>); 56] = [
    ("1.5.4", 1..=3),
    ("1.5.5", 1..=1),
    ("1.5.7", 1..=1),
    ("2.1.3", 1..=1),
    ("2.2.1", 2..=6),
    ("2.2.2", 1..=1),
    ("3.1.0", 1..=2),
    ("3.1.2", 1..=30),
    ("3.1.3", 1..=12),
    ("3.1.4", 1..=6),
    ("3.2.0", 1..=2),
    ("3.2.2", 1..=22),
    ("3.3.1", 1..=13),
    ("3.3.2", 1..=20),
    ("3.3.4", 1..=10),
    ("3.4.2", 1..=3),
    ("3.5.2", 1..=3),
    ("3.6.1", 1..=1),
    ("3.6.2", 1..=3),
    ("3.7.2", 1..=3),
    ("3.8.1", 1..=1),
    ("3.8.3", 1..=5),
    ("3.8.4", 1..=8),
    ("3.9.2", 1..=2),
    ("3.9.3", 1..=2),
    ("3.10.1", 1..=1),
    ("3.10.3", 1..=2),
    ("3.10.4", 1..=6),
    ("3.11.2", 1..=2),
    ("3.11.3", 1..=2),
    ("3.12.4", 1..=1),
    ("3.14.0", 1..=1),
    ("3.14.1", 1..=1),
    ("3.14.2", 1..=4),
    ("3.14.4", 1..=3),
    ("3.15.1", 1..=1),
    ("3.15.2", 1..=3),
    ("4.1.0", 1..=2),
    ("4.2.0", 1..=1),
    ("4.3.1", 1..=1),
    ("4.3.2", 1..=5),
    ("4.3.3", 1..=13),
    ("4.4.0", 1..=2),
    ("4.5.0", 1..=2),
    ("4.6.0", 1..=6),
    ("4.7.0", 1..=1),
    ("4.7.1", 1..=2),
    ("4.7.2", 1..=1),
    ("4.7.3", 1..=4),
    ("4.8.2", 1..=6),
    ("4.9.0", 1..=3),
    ("4.12.0", 1..=7),
    ("4.12.1", 1..=2),
    ("4.13.1", 1..=1),
    ("4.13.2", 1..=1),
    ("6.0.0", 1..=4),
];

/// What stands in the last column where no test is named.
const WORDS: [&str; 4] = [
    "Clients only",
    "By construction: ",
    "Not met: ",
    "Not tested: ",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The last column of each statement's row.
fn table() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("docs/CONFORMANCE.md")).expect("the table");
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|it| it.starts_with("| MQTT-")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, statement, what, held, _] = cells[..] else {
            panic!("three columns: {line}");
        };
        assert!(!what.is_empty(), "{statement} asks something");
        let before = table.insert(statement.to_owned(), held.to_owned());
        assert_eq!(before, None, "{statement} stands here once");
    }
    table
}

/// Names of all tests below a folder.
fn tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            tests(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                let name = line.trim_start_matches("async ").strip_prefix("fn ");
                match name.and_then(|it| it.split(['(', '<']).next()) {
                    Some(name) if is_test => {
                        names.insert(name.to_owned());
                        is_test = false;
                    }
                    Some(_) => is_test = false,
                    None => is_test |= line.starts_with("#[test]") || line.contains("::test"),
                }
            }
        }
    }
}

#[test]
fn every_statement_of_the_standard_stands_in_the_table() {
    let table = table();
    let mut wanted = BTreeSet::new();
    for (section, numbers) in STATEMENTS {
        wanted.extend(numbers.map(|number| format!("MQTT-{section}-{number}")));
    }
    let there: BTreeSet<String> = table.keys().cloned().collect();
    assert_eq!(there, wanted);
}

#[test]
fn every_test_that_the_table_names_exists() {
    let mut names = BTreeSet::new();
    for folder in [
        "broker/src",
        "broker/tests",
        "engine/core/src",
        "engine/tests",
    ] {
        tests(&root().join(folder), &mut names);
    }
    for (statement, held) in table() {
        let mut named = 0;
        for name in held.split('`').skip(1).step_by(2) {
            assert!(names.contains(name), "{statement}: there is no test {name}");
            named += 1;
        }
        let is_explained = WORDS.iter().any(|words| held.starts_with(words));
        assert!(
            named > 0 || is_explained,
            "{statement}: {held:?} says nothing"
        );
    }
}
