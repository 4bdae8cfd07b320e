//! Leases that end under load: how many messages come after the end, on every path there is.
//!
//! Every message carries the instant at which it was published, and the leases end by the same
//! machine's clock. So a message that carries its reader's end or a later instant was certainly
//! handed over after it. A session that was away until its end, a retained message asked for
//! after it and the will of who may no longer write are counted whatever they carry. Each path
//! has a control as well, whose lease does not end: without a message for it, counting proves
//! nothing.

mod away;
mod watching;

use super::client::Client;
use super::load::{Running, join, start};
use super::packet::{Hello, Version, publish};
use super::scene::{Scene, WRITER};
use super::server::{Ground, Memory, Server};
use anyhow::ensure;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tanglegate_core::{Access, Timestamp};
use watching::{Reader, Task};

/// Topics with traffic.
const TOPICS: usize = 20;
/// Messages per second, all topics together.
const RATE: u64 = 20_000;
/// The span in which the leases end, in milliseconds.
const SPAN: u64 = 1_000;
/// How long everything is watched after the last end, in milliseconds.
const AFTERWARDS: u64 = 1_500;
/// Who sees all wills.
const WATCHER: &str = "watcher";

/// The way a message takes to who may read it, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Live,
    Acknowledged,
    Wildcard,
    Shared,
    Retained,
    Queued,
    Will,
}

impl Path {
    const ALL: [(Self, usize); 7] = [
        (Self::Live, 40),
        (Self::Acknowledged, 20),
        (Self::Wildcard, 10),
        (Self::Shared, 10),
        (Self::Retained, 10),
        (Self::Queued, 5),
        (Self::Will, 5),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Live => "live, QoS 0",
            Self::Acknowledged => "live, QoS 1",
            Self::Wildcard => "live, by #",
            Self::Shared => "shared subscription",
            Self::Retained => "retained, subscribed again and again",
            Self::Queued => "queued for who was away",
            Self::Will => "will of who lost the right to write",
        }
    }

    fn qos(self) -> u8 {
        u8::from(matches!(self, Self::Acknowledged | Self::Queued))
    }
}

/// A lease and what its holder does with it.
#[derive(Debug, Clone)]
struct Holder {
    number: usize,
    name: String,
    path: Path,
    /// Its topic.
    topic: String,
    /// Milliseconds since 1970; controls have none.
    end: Option<u64>,
}

impl Holder {
    /// Old and new clients alternate; members of a group are neighbours.
    fn version(&self) -> Version {
        if self.number.is_multiple_of(2) {
            Version::V311
        } else {
            Version::V5
        }
    }

    fn filter(&self) -> String {
        match self.path {
            Path::Wildcard => "#".to_owned(),
            // Two members each, and the control has one of its own.
            Path::Shared => format!(
                "$share/g{}-{}/{}",
                self.number / 2,
                self.end.is_some(),
                self.topic
            ),
            _ => self.topic.clone(),
        }
    }

    fn hello(&self) -> Hello<'_> {
        Hello::new(self.version(), &self.name, &self.name)
    }
}

/// What became of the messages on one path.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    leases: u64,
    /// Messages within the right.
    rightful: u64,
    /// Messages after its end.
    late: u64,
    /// Messages that the control got after all leases had ended.
    control: u64,
    /// The path is refused from the start.
    refused: bool,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.leases += other.leases;
        self.rightful += other.rightful;
        self.late += other.late;
        self.control += other.control;
        self.refused |= other.refused;
    }
}

/// Lets `leases` leases end within a second; returns the table, and an error when a message came
/// after the end.
pub(super) fn measure(program: PathBuf, leases: usize) -> anyhow::Result<String> {
    let begin = now() + 3_000 + 5 * leases as u64;
    let holders = holders(leases, begin);
    let ground = Ground::prepare(program, &scene(&holders), false)?;
    let gate = ground.start_gate(Memory::System)?;
    let (tallies, published) = run(&gate, &holders, begin)?;
    let text = table(leases, &tallies, published, begin);
    let late: u64 = tallies.iter().map(|(_, it)| it.late).sum();
    ensure!(
        late == 0,
        "{late} messages came after the end of the right:\n{text}"
    );
    for (path, tally) in &tallies {
        ensure!(
            tally.refused || tally.control > 0,
            "nothing came to whose right goes on ({}), so nothing is proved:\n{text}",
            path.name()
        );
    }
    Ok(text)
}

fn holders(leases: usize, begin: u64) -> Vec<Holder> {
    let share = |(path, percent): (Path, usize)| [path].repeat((leases * percent / 100).max(1));
    let ending: Vec<Path> = Path::ALL.into_iter().flat_map(share).collect();
    let count = ending.len();
    let controls = Path::ALL.map(|(path, _)| path);
    let all = ending.into_iter().chain(controls).enumerate();
    all.map(|(number, path)| Holder {
        number,
        name: format!("end-{number}"),
        path,
        topic: match path {
            Path::Retained => format!("ends/retained/{}", number % TOPICS),
            Path::Will => format!("ends/will/{number}"),
            // A group is of one filter, and neighbours are of one group.
            Path::Shared => format!("ends/live/{}", number / 2 % TOPICS),
            _ => format!("ends/live/{}", number % TOPICS),
        },
        // Neighbours end far apart.
        end: (number < count).then(|| begin + (number as u64 * 617) % SPAN),
    })
    .collect()
}

fn scene(holders: &[Holder]) -> Scene {
    let mut scene = Scene::default();
    scene.add(WRITER, false, Access::Write, "ends/#", None);
    scene.add(WATCHER, false, Access::Read, "ends/will/#", None);
    for holder in holders {
        let access = match holder.path {
            Path::Will => Access::Write,
            _ => Access::Read,
        };
        let until = Timestamp(holder.end.unwrap_or(now() + 86_400_000));
        scene.add(&holder.name, false, access, &holder.topic, Some(until));
    }
    scene
}

/// Returns what was counted on each path, and messages published per second.
fn run(gate: &Server, holders: &[Holder], begin: u64) -> anyhow::Result<(Vec<(Path, Tally)>, u64)> {
    let mut tallies: Vec<_> = Path::ALL.map(|(path, _)| (path, Tally::default())).into();
    let mut writer = Client::connect(gate.address, &Hello::new(Version::V311, WRITER, "writer"))?;
    for topic in 0..TOPICS {
        let topic = format!("ends/retained/{topic}");
        let message = publish(Version::V311, &topic, (0, 0), true, &now().to_be_bytes());
        writer.socket.write_all(&message)?;
    }
    writer.ping()?;
    let sessions = away::Sessions::leave(gate.address, holders)?;
    let wills = away::Wills::connect(gate.address, holders)?;
    let mut readers = vec![];
    for holder in holders {
        match Reader::prepare(gate.address, holder) {
            Ok(reader) => readers.extend(reader),
            Err(_) if holder.path == Path::Shared => {
                count(&mut tallies, holder.path).refused = true;
            }
            Err(error) => return Err(error),
        }
    }
    readers.push(Reader::watcher(gate.address, holders)?);
    ensure!(
        now() + 500 < begin,
        "this machine took too long to connect everybody; measure again when it is less busy"
    );
    let published = Arc::new(AtomicU64::new(0));
    let publishing = start_publisher(writer, Arc::clone(&published), begin + SPAN + AFTERWARDS)?;
    let tasks = vec![
        std::thread::spawn(move || watching::run(readers, begin + SPAN, AFTERWARDS)),
        std::thread::spawn(move || sessions.come_back(begin + SPAN)),
        std::thread::spawn(move || wills.fall_due(begin + SPAN)),
    ];
    let (since, before) = (now(), published.load(Ordering::Relaxed));
    while now() < begin + SPAN {
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = published.load(Ordering::Relaxed) - before;
    let rate = sent * 1_000 / (now() - since).max(1);
    for task in tasks {
        let counted: Vec<Task> = match task.join() {
            Ok(counted) => counted?,
            Err(_) => anyhow::bail!("a thread of the measurement panicked"),
        };
        for (path, tally) in counted {
            count(&mut tallies, path).add(tally);
        }
    }
    join(publishing.0)?;
    Ok((tallies, rate))
}

fn count(tallies: &mut [(Path, Tally)], path: Path) -> &mut Tally {
    let found = tallies.iter_mut().find(|it| it.0 == path);
    &mut found.expect("every path has a tally").1
}

/// Publishes on all topics in turn, each message with the instant at which it leaves.
fn start_publisher(
    mut writer: Client,
    published: Arc<AtomicU64>,
    until: u64,
) -> anyhow::Result<Running> {
    start(move || {
        writer.socket.set_nonblocking(true)?;
        let (begun, mut sent, mut scratch) = (std::time::Instant::now(), 0, vec![0; 64 << 10]);
        while now() < until {
            let due = u64::try_from(begun.elapsed().as_micros())? * RATE / 1_000_000;
            if due < sent + TOPICS as u64 {
                std::thread::sleep(Duration::from_micros(500));
                continue;
            }
            let mut burst = vec![];
            for topic in 0..TOPICS {
                let id = u16::try_from((sent + topic as u64) % 60_000)? + 1;
                let topic = format!("ends/live/{topic}");
                let stamp = now().to_be_bytes();
                burst.extend(publish(Version::V311, &topic, (1, id), false, &stamp));
            }
            let mut burst = &burst[..];
            while !burst.is_empty() {
                match writer.socket.write(burst) {
                    Ok(written) => burst = &burst[written..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                    Err(error) => return Err(error.into()),
                }
                // What is acknowledged does not matter here.
                match writer.socket.read(&mut scratch) {
                    Ok(0) => anyhow::bail!("the gate closed the publisher's connection"),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                    _ => {}
                }
            }
            sent += TOPICS as u64;
            published.store(sent, Ordering::Relaxed);
        }
        Ok(())
    })
}

fn table(leases: usize, tallies: &[(Path, Tally)], published: u64, begin: u64) -> String {
    let mut text = format!(
        "LEASE-END: {leases} leases end within a second (from {begin} ms), {published} messages/s \
         published\n{:<38}{:>7}{:>12}{:>8}{:>10}\n",
        "", "leases", "before end", "after", "control"
    );
    for (path, tally) in tallies {
        let name = path.name();
        let row = if tally.refused {
            writeln!(text, "{name:<38}this gate has no such path: refused")
        } else {
            writeln!(
                text,
                "{name:<38}{:>7}{:>12}{:>8}{:>10}",
                tally.leases, tally.rightful, tally.late, tally.control
            )
        };
        row.expect("writing to a String cannot fail");
    }
    text + "\n"
}

/// Milliseconds since 1970, by the clock that the gate goes by.
fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
