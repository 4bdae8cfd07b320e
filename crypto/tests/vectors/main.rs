//! The vectors of `crypto/vectors`: that each has the outcome it states, and that they are the ones
//! that this version makes, byte for byte. `TANGLEGATE_WRITE_VECTORS=1` writes them anew.

mod announcements;
mod answers;
mod hex_bytes;
mod keys;
mod memos;

use hex_bytes::Hex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;

/// A file of vectors.
#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct File<V> {
    about: String,
    vectors: Vec<V>,
}

/// Bytes that look random and are the same each time.
fn bytes<const N: usize>(name: &str) -> [u8; N] {
    let hash = Sha256::digest(format!("tanglegate vectors: {name}"));
    hash[..N].try_into().expect("at most 32 are asked for")
}

/// Reads the file of this name, after the vectors were compared with those in it.
fn kept<V: Serialize + DeserializeOwned>(name: &str, about: &str, made: Vec<V>) -> Vec<V> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let about = about.to_owned();
    let file = File {
        about,
        vectors: made,
    };
    let mut text = serde_json::to_string_pretty(&file).expect("plain structures");
    text.push('\n');
    if std::env::var_os("TANGLEGATE_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).expect("the folder of vectors can be written");
    }
    let found = std::fs::read_to_string(&path).expect("the vectors are part of the source");
    assert!(
        found == text,
        "{name} is not what this version makes; what is published stays readable for ever"
    );
    let file: File<V> = serde_json::from_str(&found).expect("as it was written");
    file.vectors
}

fn hex(bytes: &[u8]) -> Hex {
    Hex(bytes.to_vec())
}

/// `docs/PROTOCOL.md` §8 shows what some vectors hold, in lines and groups.
#[test]
fn the_bytes_in_the_specification_are_those_of_the_vectors() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).expect("in the source");
    let text: String = read("../docs/PROTOCOL.md").split_whitespace().collect();
    let shown = [
        ("memos.json", "the example of the specification", "memo"),
        ("memos.json", "the example of the specification", "secret"),
        ("memos.json", "the example of the specification", "payer"),
        ("memos.json", "the example of the specification", "entropy"),
        (
            "answers.json",
            "the example of the specification",
            "reply_private",
        ),
        (
            "answers.json",
            "the example of the specification",
            "reply_public",
        ),
        (
            "answers.json",
            "the example of the specification",
            "entropy",
        ),
        ("announcements.json", "a key for one client", "identity"),
        ("announcements.json", "a key for one client", "signed"),
        ("announcements.json", "a receipt", "body"),
    ];
    for (file, name, field) in shown {
        let all: serde_json::Value =
            serde_json::from_str(&read(&format!("vectors/{file}"))).expect("JSON");
        let vectors = all["vectors"].as_array().expect("vectors");
        let vector = vectors.iter().find(|it| it["name"] == name).expect(name);
        let bytes = vector[field].as_str().expect("digits");
        assert!(
            text.contains(bytes),
            "{file}, {name}: its {field} is not shown"
        );
    }
}
