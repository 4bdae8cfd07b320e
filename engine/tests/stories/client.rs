//! Mosquitto's clients: a reader, and a device that writes the time into every message.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use crate::process::{Process, eventually, now_ms};

/// A name and its password.
pub(crate) type Login<'a> = Option<(&'a str, &'a str)>;

fn mosquitto(program: &str, port: u16, version: &str, login: Login<'_>) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", version]);
    if let Some((username, password)) = login {
        command.args(["-u", username, "-P", password]);
    }
    command
}

/// `mosquitto_sub`, which prints topic and payload of every message.
pub(crate) struct Reader {
    process: Process,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Reader {
    pub(crate) fn start(port: u16, version: &str, login: Login<'_>, filters: &[&str]) -> Self {
        let mut command = mosquitto("mosquitto_sub", port, version, login);
        for filter in filters {
            command.args(["-t", filter]);
        }
        command
            .arg("-v")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::spawn(command.stderr(Stdio::null()));
        let output = BufReader::new(process.stdout());
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = Arc::clone(&lines);
        // Ends with the process.
        spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                shared.lock().unwrap().push(line);
            }
        });
        Self { process, lines }
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The beats that came on a topic.
    pub(crate) fn beats(&self, topic: &str) -> Vec<Beat> {
        let lines = self.lines.lock().unwrap();
        let on_topic = lines
            .iter()
            .filter_map(|it| it.strip_prefix(topic)?.strip_prefix(' '));
        on_topic.map(Beat::read).collect()
    }

    /// Waits until so many more beats have come than now.
    pub(crate) fn goes_on(&self, topic: &str, more: usize) {
        let before = self.beats(topic).len();
        eventually("the reader receives more", || {
            (self.beats(topic).len() >= before + more).then_some(())
        });
    }

    /// Whether the client still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }
}

/// What such a client says and how it ends, when it ends by itself.
pub(crate) fn told(
    program: &str,
    port: u16,
    version: &str,
    login: Login<'_>,
    arguments: &[&str],
) -> String {
    let mut command = mosquitto(program, port, version, login);
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = [output.stdout, output.stderr].concat();
    format!("{} [{}]", String::from_utf8_lossy(&words), output.status)
}

/// A message of a [`Heart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) number: u64,
    /// When it was sent, in milliseconds since 1970.
    pub(crate) sent_at: u64,
}

impl Beat {
    pub(crate) fn read(payload: &str) -> Self {
        let (number, sent_at) = payload.split_once(' ').expect("two numbers");
        Self {
            number: number.parse().unwrap(),
            sent_at: sent_at.parse().unwrap(),
        }
    }
}

/// True when no beat is missing, repeated or out of order.
pub(crate) fn unbroken(beats: &[Beat]) -> bool {
    beats.windows(2).all(|it| it[1].number == it[0].number + 1)
}

/// A device: `mosquitto_pub -l`, fed with a line a hundred times a second.
pub(crate) struct Heart {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    process: Process,
}

impl Heart {
    pub(crate) fn start(port: u16, version: &str, login: Login<'_>, topic: &str) -> Self {
        let mut command = mosquitto("mosquitto_pub", port, version, login);
        command.args(["-l", "-t", topic]).stdin(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let mut input = process.stdin();
        let stopped = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stopped);
        let thread = spawn(move || {
            for number in 0.. {
                // The device is gone when the gate is.
                if seen.load(Ordering::Relaxed) || writeln!(input, "{number} {}", now_ms()).is_err()
                {
                    return;
                }
                sleep(Duration::from_millis(10));
            }
        });
        Self {
            stopped,
            thread: Some(thread),
            process,
        }
    }

    pub(crate) fn beats(&mut self) -> bool {
        self.process.ended().is_none()
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}
