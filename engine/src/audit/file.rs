//! The portable file: a log as lines of JSON that anybody can read and check without us
//! (`docs/AUDIT.md`, "The file").

mod input;
mod line;
mod output;

pub use output::Exported;

use super::anchors::{Anchors, KeptAnchor};
use super::finding::Finding;
use super::verify::{Verifier, Whole};
use super::walk::{Batch, Behind, check};
use crate::event_log::{EventLogError, Vault, decode};
use input::Input;
use line::{Line, Owned, hash};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Events that are read at a time.
const WINDOW: u64 = 50_000;

/// A file that cannot be written, or is not one.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system says no.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It exists, and nobody said that it is to be continued.
    #[error("{0} exists: name another file, or continue it with --resume")]
    Exists(PathBuf),
    /// A line is not what it should be.
    #[error("line {line} of {path} is not one of a log: {what}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// It is another file than the one that is to be continued.
    #[error("{path} was exported for {found}, and is continued for {wanted}")]
    Other {
        /// Which file.
        path: PathBuf,
        /// Whose events it discloses.
        found: String,
        /// Whose were asked for.
        wanted: String,
    },
    /// What it says does not fit together.
    #[error(transparent)]
    Finding(#[from] Finding),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] EventLogError),
}

/// The anchors that a file names, unchecked. What cannot be read is left to [`verify_file`].
///
/// # Errors
/// When the file cannot be read.
pub fn anchors_of_file(path: &Path) -> Result<Vec<KeptAnchor>, FileError> {
    let file = File::open(path).map_err(|source| FileError::Io {
        path: path.to_owned(),
        source,
    })?;
    let (mut input, mut anchors) = (Input::of(path, &file), Anchors::default());
    input.title()?;
    while let Some(line) = input.next()? {
        let Some(Line::Event(event)) = Line::parse(&line) else {
            continue;
        };
        if let Ok(owned) = Owned::of(&event) {
            let row = owned.stored(&event);
            let read = decode(row.kind, row.schema_version, row.body, &Vault::default());
            if let Ok(event) = read {
                anchors.add(row.position, row.recorded_at, &event);
            }
        }
    }
    Ok(anchors.kept)
}

/// Checks a file, offline.
///
/// # Errors
/// With the first thing that does not fit, or when it cannot be read.
pub fn verify_file(
    path: &Path,
    mut verifier: Verifier,
    mut progress: impl FnMut(u64),
) -> Result<Whole, FileError> {
    let file = File::open(path).map_err(|source| FileError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut input = Input::of(path, &file);
    let subject = input.title()?;
    while let Some(line) = input.next()? {
        let read = Line::parse(&line).ok_or_else(|| {
            input.wrong("it is neither an event nor a leaf, a commit or a tree head")
        })?;
        match read {
            Line::Event(event) => {
                let owned = Owned::of(&event).map_err(|it| input.wrong(it))?;
                verifier.event(&owned.stored(&event), None)?;
                if verifier.size().is_multiple_of(WINDOW) {
                    progress(verifier.size());
                }
            }
            // It could be a change of keys.
            Line::Withheld(it) if subject.is_none() => {
                return Err(Finding::Withheld(it.position).into());
            }
            Line::Withheld(it) => {
                let leaf = hash(&it.leaf).ok_or_else(|| input.wrong("its leaf is no hash"))?;
                verifier.withheld(it.position, leaf)?;
            }
            Line::Batch(it) => {
                let root = hash(&it.root).ok_or_else(|| input.wrong("its root is no hash"))?;
                let batch = Some(Batch {
                    previous: it.previous_size,
                    size: it.size,
                    root,
                });
                check(&mut verifier, Some(Behind { batch, note: None }))?;
            }
            Line::Head(it) => verifier.head(verifier.size(), &it.head)?,
        }
    }
    let (events, announced) = (verifier.size(), verifier.announced());
    if events != announced {
        return Err(Finding::Length { events, announced }.into());
    }
    Ok(verifier.finish()?)
}
