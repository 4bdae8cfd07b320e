//! How PostgreSQL's programs are called.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::account::Account;

/// Variables that a program of ours may inherit. Everything else stays behind: the environment
/// of the engine holds secrets, and `PG*` variables would redirect the server.
const INHERITED: [&str; 5] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TMPDIR",
    "TZ",
];

/// A call of `program` as `account`, with nothing to read and an environment without secrets.
pub(super) fn command(program: impl AsRef<OsStr>, account: &Account, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .env_clear()
        .env("LC_ALL", "C");
    command.envs(
        INHERITED
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?))),
    );
    account.apply(&mut command);
    command
}

/// The last lines of what a program printed: enough to see why it failed, on one line.
pub(super) fn tail(output: &[u8]) -> String {
    const LINES: usize = 12;
    let output = String::from_utf8_lossy(output);
    let lines: Vec<_> = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return "(it printed nothing)".to_owned();
    }
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_our_environment_do_not_reach_the_server() {
        let account = Account::choose().expect("this machine has an account");
        let mut env = command("env", &account, Path::new("/"));
        let output = env.output().expect("`env` runs");
        let output = String::from_utf8_lossy(&output.stdout);
        assert!(output.contains("LC_ALL=C"));
        for line in output.lines() {
            let name = line.split('=').next().unwrap_or_default();
            assert!(
                name == "LC_ALL" || INHERITED.contains(&name),
                "{name} was inherited"
            );
        }
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let long: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let tail = tail(long.as_bytes());
        assert!(
            tail.starts_with("line 88 | ") && tail.ends_with("| line 99"),
            "{tail}"
        );
        assert_eq!(super::tail(b" \n"), "(it printed nothing)");
    }
}
