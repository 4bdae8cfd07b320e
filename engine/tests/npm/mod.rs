//! JavaScript from npm, pinned by a lock file and installed once per lock under the target folder.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

const REMEDY: &str = "run ./test, which installs it";

/// A folder with the files of `tests/<source>` and the packages that its lock file names.
pub(crate) fn installed(source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(source);
    let lock = fs::read(source.join("package-lock.json")).unwrap();
    let stem = source.file_name().and_then(|it| it.to_str()).unwrap();
    let name = format!("{stem}-{}", hex::encode(&Sha256::digest(lock)[..8]));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    fs::create_dir_all(&folder).unwrap();
    // Several test processes may come here at once; the lock ends with the file.
    let guard = File::create(folder.with_extension("lock")).unwrap();
    guard.lock().unwrap();
    for entry in fs::read_dir(&source).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            bring(&entry.path(), &folder.join(entry.file_name()));
        }
    }
    let done = folder.join("installed");
    if !done.exists() {
        install(&folder);
        File::create(done).unwrap();
    }
    folder
}

/// Copies a file in one step: another test may run it right now.
fn bring(from: &Path, to: &Path) {
    let wanted = fs::read(from).unwrap();
    match fs::read(to) {
        Ok(there) if there == wanted => return,
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{}: {error}", to.display()),
        _ => {}
    }
    let beside = to.with_extension("new");
    fs::write(&beside, wanted).unwrap();
    fs::rename(beside, to).unwrap();
}

fn install(folder: &Path) {
    let outcome = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("npm cannot be run ({error}): {REMEDY}"));
    let words = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        outcome.status.success(),
        "npm ci failed in {}: {words}",
        folder.display()
    );
}
