//! What the auditor's commands take, each in a process of its own as he would run it, beside
//! draining the same log.

use super::ground::{Ground, owner};
use super::load::Shape;
use super::replay::Log;
use super::report::{Budget, Line, grouped, median, per_second};
use crate::event_log::EventLog;
use crate::snapshot::{self, Next, take_next};
use anyhow::{Context, bail};
use sqlx::{ConnectOptions, Row};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tanglegate_crypto::Frontier;
use tokio::process::Command;

/// How often a command's memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Events whose leaves are made once more, to see what the tree costs.
const HASHED: u64 = 500_000;
/// Events of one commit of a saturated writer, at least.
const COMMIT: u64 = 1_000;

/// Seconds that an answer about the past may take.
const PAST: f64 = 2.0;

/// What the figures are.
pub(super) const NOTE: &str = "Each figure is a whole process: it starts, connects, answers and \
     ends. Memory is its greatest resident size, looked at every 10 ms. Draining is COPY of every \
     row of the log to a client that looks at none.";

/// One command.
struct Task {
    what: &'static str,
    arguments: Vec<String>,
    budget: Budget,
}

/// How long it took, and bytes.
#[derive(Clone, Copy)]
struct Taken {
    time: Duration,
    memory: u64,
}

pub(super) async fn measure(
    ground: &Ground,
    program: &Path,
    events: u64,
    rounds: u32,
) -> anyhow::Result<Vec<Line>> {
    let folder = ground.folder().join("auditor");
    let log = Log::filled(ground, "audit", Shape::Mixed, events, Some(&folder)).await?;
    let runner = Runner {
        program: program.to_owned(),
        database: log.options.to_url_lossy().to_string(),
        folder,
    };
    log.drain().await?;
    let mut lines = vec![tree(&log).await?];
    for task in tasks(&log, &runner.folder) {
        let (mut taken, mut drained) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            taken.push(runner.run(&task.arguments).await?);
            drained.push(log.drain().await?);
        }
        lines.push(beside_draining(&task, log.events, &taken, &drained));
    }
    lines.extend(answers(&log, &runner, rounds).await?);
    lines.extend(past(&log, &runner, rounds).await?);
    Ok(lines)
}

/// The tables as of a moment between two snapshots in the middle of the log, from the first event
/// on and from the snapshot before.
async fn past(log: &Log, runner: &Runner, rounds: u32) -> anyhow::Result<Vec<Line>> {
    let every = snapshot::EVERY.min(log.events / 5);
    let mut taking = EventLog::open(&log.options).await?;
    let (begun, mut taken, mut bytes) = (Instant::now(), 0, 0);
    while let Next::Taken(next) = take_next(&mut taking, every, || true).await? {
        (taken, bytes) = (taken + 1, bytes + next.bytes);
    }
    let time = begun.elapsed();
    taking.close().await;
    let drained = log.drain().await?;
    let mut lines = vec![Line {
        what: format!(
            "{taken} snapshots taken, of {} events each",
            grouped_events(every)
        ),
        measured: format!("{:.1} s, {} MB", time.as_secs_f64(), megabytes(bytes)),
        floor: "draining".to_owned(),
        ratio: drained.as_secs_f64() / time.as_secs_f64(),
        budget: Budget::None,
    }];
    let middle = (log.events / 2).to_string();
    let state = ["state", "--at", &middle, "--table", "access"];
    for (what, more, budget) in [
        (
            "audit state in the middle, from the first event",
            &["--no-snapshot"][..],
            Budget::None,
        ),
        (
            "audit state in the middle, from a snapshot",
            &[],
            Budget::AtMost(1.0),
        ),
    ] {
        let arguments = [&state[..], more].concat();
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let (mut times, mut memory) = (Vec::new(), 0);
        for _ in 0..rounds {
            let taken = runner.run(&arguments).await?;
            times.push(taken.time);
            memory = memory.max(taken.memory);
        }
        let seconds = median(times).unwrap_or_default().as_secs_f64();
        lines.push(Line {
            what: what.to_owned(),
            measured: format!("{seconds:.2} s, {} MB", megabytes(memory)),
            floor: format!("{PAST:.0} s"),
            ratio: seconds / PAST,
            budget,
        });
    }
    Ok(lines)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> String {
    grouped(bytes as f64 / 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn grouped_events(events: u64) -> String {
    grouped(events as f64)
}

fn tasks(log: &Log, folder: &Path) -> Vec<Task> {
    let task = |what, budget, arguments: &[&str]| Task {
        what,
        arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
        budget,
    };
    let (last, file) = (log.events.to_string(), folder.join("log.jsonl"));
    let file = file.to_string_lossy();
    vec![
        task("audit verify", Budget::AtLeast(0.65), &["verify", "--json"]),
        task(
            "audit state, folded up to the end",
            Budget::AtLeast(0.80),
            &["state", "--no-snapshot", "--at", &last, "--table", "offers"],
        ),
        task(
            "audit replay: folded, and compared with the tables",
            Budget::None,
            &["replay", "--json"],
        ),
        task("audit export", Budget::None, &["export", &file]),
        task("audit verify FILE", Budget::None, &["verify", &file]),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "rates")]
fn beside_draining(task: &Task, events: u64, taken: &[Taken], drained: &[Duration]) -> Line {
    let time = median(taken.iter().map(|it| it.time).collect()).unwrap_or_default();
    let memory = taken.iter().map(|it| it.memory).max().unwrap_or(0);
    let floor = median(drained.to_vec()).unwrap_or_default();
    let pairs = taken.iter().zip(drained);
    let ratios = pairs.map(|(it, drained)| drained.as_secs_f64() / it.time.as_secs_f64());
    Line {
        what: task.what.to_owned(),
        measured: format!(
            "{}, {:.1} s, {} MB",
            per_second(events as f64, time, "events"),
            time.as_secs_f64(),
            grouped(memory as f64 / 1e6)
        ),
        floor: format!("draining: {}", per_second(events as f64, floor, "events")),
        ratio: median(ratios.collect()).unwrap_or_default(),
        budget: task.budget,
    }
}

/// Questions about one event or one subscriber, in the middle of the log.
async fn answers(log: &Log, runner: &Runner, rounds: u32) -> anyhow::Result<Vec<Line>> {
    let middle = (log.events / 2).to_string();
    let mut owner = owner(&log.options).await?;
    let row = sqlx::query(
        "select holder, filter from projection.access where source = 'lease' and position < $1 \
         order by position limit 1",
    )
    .bind(i64::try_from(log.events / 2)?)
    .fetch_one(&mut owner)
    .await?;
    let (holder, topic): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let explain = [
        "explain",
        "--subscriber",
        &holder,
        "--topic",
        &topic,
        "--at",
        &middle,
    ];
    let prove = ["prove", "--event", &middle];
    let mut lines = Vec::new();
    for (what, arguments, most) in [
        ("audit explain, in the middle of the log", &explain[..], 2.0),
        ("audit prove, an event in the middle", &prove[..], 0.0),
    ] {
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let (mut times, mut ratios, mut memory) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds {
            let taken = runner.run(&arguments).await?;
            let floor = match most {
                0.0 => log.drain().await?.as_secs_f64(),
                most => most,
            };
            times.push(taken.time);
            ratios.push(taken.time.as_secs_f64() / floor);
            memory = memory.max(taken.memory);
        }
        let time = median(times).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let megabytes = grouped(memory as f64 / 1e6);
        lines.push(Line {
            what: what.to_owned(),
            measured: format!("{:.2} s, {megabytes} MB", time.as_secs_f64()),
            floor: match most {
                0.0 => "draining".to_owned(),
                most => format!("{most:.0} s"),
            },
            ratio: median(ratios).unwrap_or_default(),
            budget: match most {
                0.0 => Budget::None,
                _ => Budget::AtMost(1.0),
            },
        });
    }
    Ok(lines)
}

/// What making leaves and roots takes of appending: everything that an append without the tree
/// would save, with the clock that looks at it.
#[expect(clippy::cast_precision_loss, reason = "times per event")]
async fn tree(log: &Log) -> anyhow::Result<Line> {
    let (mut frontier, mut hashing) = (Frontier::default(), Duration::ZERO);
    let mut reading = EventLog::open(&log.options).await?;
    let hashed = HASHED.min(log.events);
    reading
        .read(1, hashed, |stored, _| {
            let begun = Instant::now();
            frontier.push(stored.leaf());
            if stored.position.is_multiple_of(COMMIT) {
                std::hint::black_box(frontier.root());
            }
            hashing += begun.elapsed();
            Ok(())
        })
        .await?;
    let micros = |time: Duration, events: u64| time.as_secs_f64() * 1e6 / events as f64;
    let (tree, append) = (micros(hashing, hashed), micros(log.appended, log.events));
    Ok(Line {
        what: "hash tree, its part of a saturated append".to_owned(),
        measured: format!("{tree:.2} µs/event"),
        floor: format!("append: {append:.2} µs/event"),
        ratio: tree / append,
        budget: Budget::AtMost(0.10),
    })
}

/// Runs commands against the measured database.
struct Runner {
    program: PathBuf,
    database: String,
    /// The engine's data folder.
    folder: PathBuf,
}

impl Runner {
    async fn run(&self, arguments: &[String]) -> anyhow::Result<Taken> {
        let begun = Instant::now();
        let mut child = Command::new(&self.program)
            .arg("audit")
            .args(arguments)
            .arg("--data-dir")
            .arg(&self.folder)
            .env("DATABASE_URL", &self.database)
            .env_remove("TANGLEGATE_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let process = child.id().context("it has only just begun")?;
        let mut memory = 0;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                () = tokio::time::sleep(LOOK) => {
                    memory = memory.max(greatest(process).unwrap_or(0));
                }
            }
        };
        if !status.success() {
            bail!("audit {} failed: {status}", arguments.join(" "));
        }
        let time = begun.elapsed();
        Ok(Taken { time, memory })
    }
}

/// The greatest resident size that a process has had, in bytes; none when it has just ended.
fn greatest(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}
