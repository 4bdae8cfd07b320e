//! Who may know whom. What the architecture promises is held against manifests and sources.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each package and those of ours that it may depend on, for its tests too.
const MAY_KNOW: [(&str, &[&str]); 7] = [
    ("tanglegate-crypto", &[]),
    ("tanglegate-core", &[]),
    ("tanglegate-devnet", &[]),
    (
        "tanglegate-broker",
        &["tanglegate-crypto", "tanglegate-core", "tanglegate-stage"],
    ),
    (
        "tanglegate-stage",
        &["tanglegate-core", "tanglegate-broker"],
    ),
    (
        "tanglegate",
        &[
            "tanglegate-crypto",
            "tanglegate-core",
            "tanglegate-broker",
            "tanglegate-devnet",
        ],
    ),
    (
        "tanglegate-proptest",
        &["tanglegate-crypto", "tanglegate-core", "tanglegate-broker"],
    ),
];

/// What a package must do without: names of dependencies, or what they begin with before `*`.
const MUST_NOT_KNOW: [(&str, &[&str]); 3] = [
    (
        "tanglegate-core",
        &[
            "async*",
            "axum*",
            "chrono",
            "crossbeam*",
            "fastrand",
            "futures*",
            "getrandom",
            "hyper*",
            "log",
            "minicbor*",
            "mio",
            "parking_lot*",
            "postgres*",
            "rand*",
            "rayon",
            "reqwest",
            "rumqtt*",
            "serde*",
            "smol",
            "sqlx*",
            "time",
            "tokio*",
            "tracing*",
            "uuid",
        ],
    ),
    (
        "tanglegate-broker",
        &[
            "axum*",
            "bcs",
            "hyper*",
            "iota*",
            "postgres*",
            "reqwest",
            "sqlx*",
            "tokio-postgres",
        ],
    ),
    ("tanglegate", &["rumqttd"]),
];

/// Words that stand for what the core has no business with: the clock, the machine, chance.
const NOT_IN_THE_CORE: [&str; 11] = [
    "SystemTime",
    "Instant::now",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::sync::atomic",
    "std::time",
    "thread",
    "RandomState",
    "println!",
];

fn root() -> &'static Path {
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    room.parent().expect("the room stands in the workspace")
}

/// The workspace's packages with the names of their dependencies of every kind.
fn packages() -> Vec<(String, Vec<String>)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {errors}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let name = |it: &Value| {
        it["name"]
            .as_str()
            .expect("everything has a name")
            .to_owned()
    };
    let list = |it: &Value| it.as_array().expect("a list").clone();
    list(&metadata["packages"])
        .iter()
        .map(|it| {
            (
                name(it),
                list(&it["dependencies"]).iter().map(name).collect(),
            )
        })
        .collect()
}

/// The files of a folder and of those in it, except what is fetched or built.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).expect("a folder of the workspace can be read");
    for entry in entries {
        let entry = entry.expect("a folder of the workspace can be read");
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().expect("every entry has a kind");
        if kind.is_dir()
            && ![".git", "target", "node_modules"]
                .iter()
                .any(|it| name == *it)
        {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found.sort_unstable();
    found
}

/// Sources below a folder of the workspace, with their paths in it.
fn sources(folder: &str) -> Vec<(String, String)> {
    let paths = files(&root().join(folder));
    let sources: Vec<(String, String)> = paths
        .into_iter()
        .filter(|it| it.extension().is_some_and(|it| it == "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            (shown(&path), text)
        })
        .collect();
    assert!(sources.len() > 3, "hardly any sources in {folder}");
    sources
}

fn shown(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap_or(path);
    path.to_string_lossy().replace('\\', "/")
}

#[test]
fn no_room_knows_one_above_it() {
    let packages = packages();
    for (name, dependencies) in &packages {
        let (_, allowed) = MAY_KNOW
            .iter()
            .find(|(it, _)| it == name)
            .unwrap_or_else(|| panic!("{name} has no place among the rooms: give it one here"));
        let ours = dependencies
            .iter()
            .filter(|it| it.starts_with("tanglegate"));
        for dependency in ours {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}; it may on {allowed:?}"
            );
        }
    }
    for (room, _) in MAY_KNOW {
        assert!(
            packages.iter().any(|(it, _)| it == room),
            "where is {room}?"
        );
    }
}

#[test]
fn the_core_and_the_gate_do_without_what_is_not_theirs() {
    let packages = packages();
    for (room, forbidden) in MUST_NOT_KNOW {
        let (_, dependencies) = packages
            .iter()
            .find(|(it, _)| it == room)
            .unwrap_or_else(|| panic!("where is {room}?"));
        for dependency in dependencies {
            let refused = forbidden.iter().find(|it| is_meant(it, dependency));
            assert!(refused.is_none(), "{room} must do without {dependency}");
        }
    }
    assert!(is_meant("rand*", "rand_chacha") && is_meant("log", "log"));
    assert!(!is_meant("log", "log4rs") && !is_meant("rand*", "brand"));
}

fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[test]
fn the_core_has_no_clock_no_chance_and_no_machine() {
    for (path, text) in sources("engine/core/src") {
        for (number, line) in (1..).zip(text.lines()) {
            for word in NOT_IN_THE_CORE {
                assert!(
                    !line.contains(word),
                    "{path}:{number}: '{word}': let the value come in as an argument"
                );
            }
        }
    }
}

#[test]
fn one_file_of_the_gate_names_rumqttd() {
    for (path, text) in sources("broker/src") {
        let is_router = path == "broker/src/router.rs" || path.starts_with("broker/src/router/");
        assert!(
            is_router || !text.contains("rumqttd"),
            "{path} names rumqttd: what it needs of it belongs into broker/src/router.rs"
        );
    }
}

/// Places that exist on one machine only, and registries that another has elsewhere.
fn names_a_place_of_ours(text: &str) -> Option<String> {
    for path in ["/work/", "/root/", "../shared"] {
        let mut at = text.match_indices(path);
        let is_start = |before: Option<char>| {
            before.is_none_or(|it| !it.is_alphanumeric() && !"_-.}>".contains(it))
        };
        if at.any(|(at, _)| is_start(text[..at].chars().next_back())) {
            return Some(path.to_owned());
        }
    }
    let labels = [
        "artifactory",
        "crates",
        "goproxy",
        "index",
        "mirror",
        "mirrors",
        "nexus",
        "npm",
        "npmjs",
        "proxy",
        "pypi",
        "pythonhosted",
        "registry",
        "verdaccio",
    ];
    let hosts = text.split("://").skip(1).map(|rest| {
        let is_host = |it: char| it.is_ascii_alphanumeric() || "-.".contains(it);
        rest.split(|it| !is_host(it)).next().unwrap_or_default()
    });
    let is_registry = |host: &&str| host.split(['.', '-']).any(|it| labels.contains(&it));
    let mut registries = hosts.filter(is_registry).map(str::to_owned);
    registries.next()
}

#[test]
fn no_file_names_a_place_that_others_do_not_have() {
    let itself = "proptest/tests/rooms.rs";
    let paths = files(root());
    assert!(
        paths.iter().any(|it| shown(it) == itself),
        "nothing is read"
    );
    for path in paths {
        if shown(&path) == itself {
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file of the workspace can be read");
        let found = names_a_place_of_ours(&String::from_utf8_lossy(&bytes));
        let path = shown(&path);
        assert_eq!(found, None, "{path} names it; say it without that place");
    }
}

#[test]
fn the_search_for_places_finds_them_and_nothing_else() {
    for text in [
        "see /work/main",
        "(/root/x)",
        "include!(\"../shared/x\")",
        "from a room: ../../shared",
        "\"https://registry.example.org/x\"",
        "http://npm.example.org:4873",
        "sparse+https://index.example.org",
        "https://pkg-mirror.example.org",
    ] {
        assert!(names_a_place_of_ours(text).is_some(), "{text}");
    }
    for text in [
        "registry+https://github.com/rust-lang/crates.io-index",
        "https://indexer.testnet.iota.cafe",
        "target/work/x and {home}/root/x",
        "https://example.invalid/registry",
        "a registry",
    ] {
        assert_eq!(names_a_place_of_ours(text), None, "{text}");
    }
}

#[test]
fn lock_files_name_no_source_but_the_public_one() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("there is a lock file");
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let mut sources = lock.lines().filter(|it| it.starts_with("source = "));
    let other = sources.find(|it| *it != public);
    assert_eq!(
        other, None,
        "Cargo.lock names a source that others do not have"
    );
    let paths = files(root());
    for path in &paths {
        let name = path.file_name().unwrap_or_default();
        assert!(
            name != ".npmrc" && name != "pip.conf",
            "{} sends others to a registry of ours",
            shown(path)
        );
        if name == "package-lock.json" {
            let text = std::fs::read_to_string(path).expect("lock files are UTF-8");
            let resolved = text.contains("\"resolved\"");
            assert!(
                !resolved,
                "{}: npm install --omit-lockfile-registry-resolved",
                shown(path)
            );
        }
    }
    let ours = [".cargo/config.toml", ".cargo/config"];
    for path in ours {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        let replaced = text.contains("replace-with") || text.contains("[registries");
        assert!(!replaced, "{path} sends others to a registry of ours");
    }
}
