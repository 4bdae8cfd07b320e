//! The server as our child: it ends when we do, however we end.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process, waitid};
use tokio::sync::watch;

/// A running child. Dropping it does not end the child.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// The number as long as it is surely the child's: a signal to it cannot hit a stranger.
    alive: Arc<Mutex<Option<Pid>>>,
    ended: watch::Receiver<Option<String>>,
}

impl Process {
    /// Starts `command` in a process group of its own, so that an interrupt typed at the terminal
    /// ends us and not the server under us, and asks the system to interrupt it when we are gone.
    /// `held` is dropped when the child has ended, and not before.
    pub(super) fn spawn(mut command: Command, held: impl Send + 'static) -> io::Result<Process> {
        command.process_group(0);
        end_with_us(&mut command);
        let (started, starting) = mpsc::sync_channel(1);
        let (ending, ended) = watch::channel(None);
        let alive = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&alive);
        // Linux sends the signal when the *thread* ends that made the child, so this one stays.
        thread::Builder::new()
            .name("postgres".into())
            .spawn(move || {
                let child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => return drop(started.send(Err(error))),
                };
                let pid = pid_of(&child);
                *theirs.lock() = Some(pid);
                // A failed send means that the caller is gone: then the child just runs on with us.
                let _ = started.send(Ok(pid));
                let how = wait(child, &theirs);
                drop(held);
                let _ = ending.send(Some(how));
            })?;
        let pid = starting.recv().map_err(io::Error::other)??;
        Ok(Process { pid, alive, ended })
    }

    /// Sends a signal, unless the child has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.alive.lock() {
            // It is our own child and not yet waited for, so this cannot fail.
            let _ = kill_process(pid, signal);
        }
    }

    /// How the child ended, if it has.
    pub(super) fn ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits for the end of the child and says how it ended.
    pub(super) async fn wait(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "its watcher is gone".to_owned(),
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()).expect("a child has a positive process id")
}

/// Waits for the child; its number is given free only after nobody can signal it any more.
fn wait(mut child: Child, alive: &Mutex<Option<Pid>>) -> String {
    let seen = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let interrupted = Err(rustix::io::Errno::INTR);
    while waitid(WaitId::Pid(pid_of(&child)), seen).map(drop) == interrupted {}
    let mut alive = alive.lock();
    *alive = None;
    match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => format!("unknown end: {error}"),
    }
}

/// Asks for an interrupt (PostgreSQL's fast shutdown) when our end comes.
#[allow(unsafe_code)]
fn end_with_us(command: &mut Command) {
    let us = getpid();
    let ask = move || {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        rustix::process::set_parent_process_death_signal(Some(Signal::INT))?;
        // We may have died before the child could ask.
        if getppid() == Some(us) {
            Ok(())
        } else {
            Err(io::Error::from(rustix::io::Errno::CHILD))
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls and builds an error from
    // its number; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_let_go_only_when_the_child_has_ended() {
        struct Held(mpsc::Sender<()>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.send(()).expect("the test listens");
            }
        }
        let (sender, let_go) = mpsc::channel();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::spawn(command, Held(sender)).expect("sleep runs");
        assert_eq!((process.ended(), let_go.try_recv().is_err()), (None, true));
        process.signal(Signal::INT);
        let how = process.wait().await;
        assert!(how.contains("signal: 2"), "{how}");
        let_go.try_recv().expect("let go before the end is told");
        process.signal(Signal::KILL); // Hits nobody: the number is no longer ours.
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_and_not_a_child() {
        let error = Process::spawn(Command::new("/nonexistent"), ()).expect_err("no such file");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
