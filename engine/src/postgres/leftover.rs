//! What an earlier server left behind: processes that still run, and a lock file that lies.
//!
//! The caller holds the folder, so whatever runs here belongs to no living engine.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::PostgresError;
use super::folder::SOCKET_FILE;

/// How long a fast shutdown may take, before it becomes an immediate one and then a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Process id that the server wrote into its lock file.
pub(super) fn postmaster(data: &Path) -> Option<Pid> {
    let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    Pid::from_raw(file.lines().next()?.trim().parse().ok()?)
}

/// Whether the server has written that it accepts connections: the eighth line of its lock file.
pub(super) fn is_ready(data: &Path, server: Pid) -> bool {
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = file.lines().map(str::trim);
    lines.next() == Some(&server.as_raw_nonzero().to_string()) && lines.nth(6) == Some("ready")
}

/// Folder of the server's socket, by the fifth line of its lock file.
pub(super) fn socket(data: &Path) -> Option<PathBuf> {
    let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    file.lines()
        .nth(4)
        .filter(|line| line.starts_with('/'))
        .map(PathBuf::from)
}

/// Ends the server of an engine that was killed, waits for the last of its processes, and
/// removes a lock file that names a stranger.
pub(super) fn clear(data: &Path, progress: &dyn Fn(&str)) -> Result<(), PostgresError> {
    let Some(named) = postmaster(data) else {
        return Ok(());
    };
    if runs_here(named, data) {
        progress(&format!(
            "stopping the server of an earlier run (process {named:?})"
        ));
        stop(named, data)?;
    }
    // Without their server its other processes end by themselves, but not at once.
    let deadline = Instant::now() + PATIENCE;
    while let Some(pid) = processes_in(data).first() {
        if Instant::now() > deadline {
            return Err(leftover(*pid, data));
        }
        sleep(Duration::from_millis(20));
    }
    // The number may belong to another program by now, and PostgreSQL would believe the file.
    if postmaster(data) == Some(named) && is_alive(named) && !runs_here(named, data) {
        let lock = data.join("postmaster.pid");
        fs::remove_file(&lock).map_err(PostgresError::files("remove", &lock))?;
    }
    Ok(())
}

/// Removes the lock of a socket that no server on `data` holds any more. A server that was killed
/// leaves it, and the next one would believe it while the number in it is another's, or not yet
/// free.
pub(super) fn unlock(socket: &Path, data: &Path) -> Result<(), PostgresError> {
    let lock = socket.join(format!("{SOCKET_FILE}.lock"));
    let file = fs::read_to_string(&lock).unwrap_or_default();
    let named = file.lines().next().and_then(|it| it.trim().parse().ok());
    if named
        .and_then(Pid::from_raw)
        .is_some_and(|it| runs_here(it, data))
    {
        return Ok(());
    }
    match fs::remove_file(&lock) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(PostgresError::files("remove", &lock)(error))
        }
        _ => Ok(()),
    }
}

/// Fast shutdown, then an immediate one: the log of the server survives both.
fn stop(server: Pid, data: &Path) -> Result<(), PostgresError> {
    for signal in [Signal::INT, Signal::QUIT] {
        if matches!(kill_process(server, signal), Err(error) if error != Errno::SRCH) {
            return Err(leftover(server, data));
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !runs_here(server, data) {
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
    }
    Err(leftover(server, data))
}

fn leftover(pid: Pid, data: &Path) -> PostgresError {
    PostgresError::Leftover {
        pid: pid.as_raw_nonzero().get(),
        folder: data.to_owned(),
    }
}

/// Processes whose working folder is `data`, which is where each one of a server works. Empty
/// where the system has no `/proc`.
pub(super) fn processes_in(data: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let works_here = |entry: fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        (fs::read_link(entry.path().join("cwd")).ok()? == data).then_some(pid)
    };
    processes.flatten().filter_map(works_here).collect()
}

/// Whether that process is a server on `data`, and not a stranger that was given its number.
pub(super) fn runs_here(pid: Pid, data: &Path) -> bool {
    if cfg!(target_os = "linux") {
        processes_in(data).contains(&pid)
    } else {
        ps_says(pid, data)
    }
}

/// The same by `ps`: the server is always called with `-D <data>`.
fn ps_says(pid: Pid, data: &Path) -> bool {
    let pid = pid.as_raw_nonzero().to_string();
    let output = Command::new("ps")
        .args(["-ww", "-o", "args=", "-p", &pid])
        .output();
    let called = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    called.is_ok_and(|called| called.contains(&format!("-D {}", data.display())))
}

/// A process that we may not signal is alive too.
fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid) != Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::testing::TestFolder;
    use std::process::Stdio;

    #[test]
    fn a_lock_file_that_names_a_stranger_is_removed_and_the_stranger_lives() {
        let folder = TestFolder::create().expect("a folder");
        let mut stranger = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .expect("ran");
        let lock = folder.path().join("postmaster.pid");
        fs::write(
            &lock,
            format!("{}\n{}\n", stranger.id(), folder.path().display()),
        )
        .expect("ok");
        clear(folder.path(), &|_| ()).expect("cleared");
        assert!(!lock.exists(), "PostgreSQL would have believed it");
        assert!(
            stranger.try_wait().expect("our child").is_none(),
            "the stranger still runs"
        );
        stranger
            .kill()
            .and_then(|()| stranger.wait())
            .expect("our child");
    }

    #[test]
    fn the_lock_of_a_socket_is_removed_unless_a_server_here_holds_it() {
        let folder = TestFolder::create().expect("a folder");
        let lock = folder.path().join(".s.PGSQL.5432.lock");
        let us = std::process::id();
        let here = std::env::current_dir().expect("we are somewhere");
        fs::write(&lock, format!("{us}\n{}\n", here.display())).expect("written");
        if cfg!(target_os = "linux") {
            unlock(folder.path(), &here).expect("left alone");
            assert!(lock.exists(), "we work here");
        }
        unlock(folder.path(), folder.path()).expect("removed");
        assert!(!lock.exists(), "we are no server on that folder");
        unlock(folder.path(), folder.path()).expect("there is nothing to remove");
    }

    #[test]
    fn a_process_that_works_in_the_folder_is_asked_to_stop() {
        let folder = TestFolder::create().expect("a folder");
        let mut orphan = Command::new("sleep")
            .arg("60")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("ran");
        let lock = format!("{}\n", orphan.id());
        fs::write(folder.path().join("postmaster.pid"), lock).expect("written");
        // Its parent lives, so somebody must fetch its end; a real orphan has none that forgets.
        let fetched = std::thread::spawn(move || orphan.wait().expect("our child"));
        clear(folder.path(), &|_| ()).expect("cleared");
        assert!(
            !fetched.join().expect("no panic").success(),
            "it ended by the signal"
        );
    }

    #[test]
    fn the_ready_line_counts_only_for_the_server_that_wrote_it() {
        let folder = TestFolder::create().expect("a folder");
        let lines = "4711\n/data\n1700000000\n5432\n/socket\n\n  1 2\nready   \n";
        fs::write(folder.path().join("postmaster.pid"), lines).expect("written");
        let pid = |raw| Pid::from_raw(raw).expect("positive");
        assert!(is_ready(folder.path(), pid(4711)));
        assert!(!is_ready(folder.path(), pid(4712)));
        fs::write(
            folder.path().join("postmaster.pid"),
            lines.replace("ready", "starting"),
        )
        .expect("written");
        assert!(!is_ready(folder.path(), pid(4711)));
    }

    #[test]
    fn ps_finds_a_server_by_its_arguments() {
        let data = Path::new("/nonexistent/data");
        let mut server = Command::new("sh")
            .args(["-c", "read line", "-D", "/nonexistent/data"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("ran");
        let pid = Pid::from_raw(server.id().cast_signed()).expect("positive");
        let found = ps_says(pid, data);
        let other = ps_says(pid, Path::new("/nonexistent/other"));
        drop(server.stdin.take());
        server.wait().expect("our child");
        if Command::new("ps").output().is_ok() {
            assert!(found && !other);
        }
    }
}
