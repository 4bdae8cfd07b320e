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
