//! Installing the server where there is none, on machines whose package manager we know.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::command::tail;
use super::{Binaries, PostgresError};

/// The script that installs packages without starting their services.
const SCRIPT: &str = include_str!("install-debian.sh");

/// Why nothing is installed here by ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hindrance {
    Forbidden,
    OtherSystem,
    NoRights,
}

impl Hindrance {
    fn note(self) -> &'static str {
        match self {
            Self::Forbidden => "nothing was installed, as TANGLEGATE_INSTALL=never asks",
            Self::OtherSystem => "it installs itself only where there is apt-get",
            Self::NoRights => "installing it takes root, or sudo without a password",
        }
    }
}

/// Finds the server's programs, or installs them and looks again.
pub(super) fn find_or_install(progress: &dyn Fn(&str)) -> Result<Binaries, PostgresError> {
    let (looked_in, note) = match Binaries::find(None) {
        Err(PostgresError::NotFound { looked_in, note }) => (looked_in, note),
        found_or_failed => return found_or_failed,
    };
    match way() {
        Ok(sudo) => {
            progress("no PostgreSQL here; installing Debian's with apt-get (about a minute)");
            install(sudo)?;
            Binaries::find(None)
        }
        Err(hindrance) => {
            let note = note.into_iter().chain([hindrance.note().to_owned()]);
            let note = Some(note.collect::<Vec<_>>().join("; "));
            Err(PostgresError::NotFound { looked_in, note })
        }
    }
}

/// How to install: `true` where it takes sudo.
fn way() -> Result<bool, Hindrance> {
    let asked = std::env::var("TANGLEGATE_INSTALL").unwrap_or_default();
    let debian = Path::new("/etc/debian_version").exists() && succeeds("apt-get", &["--version"]);
    let root = rustix::process::geteuid().is_root();
    choose(&asked, debian, root, || succeeds("sudo", &["-n", "true"]))
}

fn choose(
    asked: &str,
    debian: bool,
    root: bool,
    sudo_works: impl FnOnce() -> bool,
) -> Result<bool, Hindrance> {
    match () {
        () if asked == "never" => Err(Hindrance::Forbidden),
        () if !debian => Err(Hindrance::OtherSystem),
        () if root => Ok(false),
        () if sudo_works() => Ok(true),
        () => Err(Hindrance::NoRights),
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn install(sudo: bool) -> Result<(), PostgresError> {
    let call: &[&str] = if sudo { &["sudo", "-n", "sh"] } else { &["sh"] };
    let failed = |output: String| PostgresError::Install {
        command: "apt-get install -y --no-install-recommends postgresql".to_owned(),
        output,
    };
    let mut child = Command::new(call[0])
        .args(&call[1..])
        .args(["-s", "--", "postgresql"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A shell that ended early says why on its own.
        let _ = stdin.write_all(SCRIPT.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(tail(&output.stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_against_the_owners_will_or_without_his_rights() {
        assert_eq!(
            choose("never", true, true, || true),
            Err(Hindrance::Forbidden)
        );
        assert_eq!(
            choose("", false, true, || true),
            Err(Hindrance::OtherSystem)
        );
        assert_eq!(choose("", true, false, || false), Err(Hindrance::NoRights));
    }

    #[test]
    fn root_installs_without_sudo_and_others_with_it() {
        assert_eq!(
            choose("", true, true, || panic!("root asks nobody")),
            Ok(false)
        );
        assert_eq!(choose("", true, false, || true), Ok(true));
    }
}
