//! Python packages, pinned by a file and installed once per file under the target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

const REMEDY: &str = "run ./test, which installs it";

/// The Python of an environment that has the packages which `requirements` names.
pub(crate) fn installed(requirements: &Path) -> PathBuf {
    let wanted = fs::read(requirements).unwrap();
    let name = format!("python-{}", hex::encode(&Sha256::digest(wanted)[..8]));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    // Several test processes may come here at once; the lock ends with the file.
    let guard = File::create(folder.with_extension("lock")).unwrap();
    guard.lock().unwrap();
    let (python, done) = (folder.join("bin/python"), folder.join("installed"));
    if !done.exists() {
        // Debian's own, for which `./test` installs venv.
        let debian = Path::new("/usr/bin/python3");
        let ours = debian.exists().then_some(debian);
        let system = ours.unwrap_or(Path::new("python3"));
        run(Command::new(system)
            .args(["-m", "venv", "--clear"])
            .arg(&folder));
        let pip = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:"];
        let mut pip_install = Command::new(&python);
        run(pip_install.args(pip).arg("--requirement").arg(requirements));
        File::create(done).unwrap();
    }
    python
}

fn run(command: &mut Command) {
    let outcome = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run ({error}): {REMEDY}"));
    let words = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{command:?}: {words}: {REMEDY}");
}
