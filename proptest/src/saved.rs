//! Worlds as files: one line of JSON for each payment and each step, `#` before remarks.

use crate::{Payment, Step, World};
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// A world that cannot be saved or read.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file system says no.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// A line that is none.
    #[error("line {line} is no payment and no step: {source}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Payment(Payment),
    Step(Step),
}

/// The world as text, with a remark before it.
#[must_use]
pub fn write_world(world: &World, remark: &str) -> String {
    let remark = remark.lines().map(|it| format!("# {it}\n"));
    let payments = world.payments.iter().cloned().map(Line::Payment);
    let steps = world.steps.iter().cloned().map(Line::Step);
    let lines = payments.chain(steps).map(|it| {
        let json = serde_json::to_string(&it).expect("numbers and names always serialise");
        json + "\n"
    });
    remark.chain(lines).collect()
}

/// Reads what [`write_world`] wrote.
///
/// # Errors
/// When a line is neither remark, payment nor step.
pub fn read_world(text: &str) -> Result<World, SaveError> {
    let mut world = World::default();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = serde_json::from_str(line).map_err(|source| SaveError::Line {
            line: number,
            source,
        })?;
        match read {
            Line::Payment(payment) => world.payments.push(payment),
            Line::Step(step) => world.steps.push(step),
        }
    }
    Ok(world)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("worlds")
}

/// Saves a world beside the others, under a name made from what is in it.
///
/// # Errors
/// When the file cannot be written.
pub fn save_world(world: &World, remark: &str) -> Result<PathBuf, SaveError> {
    let mut hasher = DefaultHasher::new();
    write_world(world, "").hash(&mut hasher);
    let path = folder().join(format!("found-{:016x}.world", hasher.finish()));
    let at_path = |source| SaveError::File {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(folder()).map_err(at_path)?;
    std::fs::write(&path, write_world(world, remark)).map_err(at_path)?;
    Ok(path)
}

/// Every saved world with its file, in the order of their names.
///
/// # Errors
/// When the folder or a file in it cannot be read.
pub fn saved_worlds() -> Result<Vec<(PathBuf, World)>, SaveError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| SaveError::File { path, source }
    };
    let folder = folder();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(at(&folder))? {
        paths.push(entry.map_err(at(&folder))?.path());
    }
    paths.retain(|it| it.extension().is_some_and(|it| it == "world"));
    paths.sort_unstable();
    let mut worlds = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(at(&path))?;
        let world = read_world(&text)?;
        worlds.push((path, world));
    }
    Ok(worlds)
}
