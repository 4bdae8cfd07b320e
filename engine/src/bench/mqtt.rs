//! The gate beside Mosquitto, and permits among a million leases.
//!
//! Both servers run in processes of their own and enforce the same rights: ten thousand logins
//! with a right each besides those that the loads use, Mosquitto by its password and ACL files,
//! the gate by rules and leases. They take turns in one run. The load comes over real sockets
//! from a few threads of this process and is encoded before the clock starts.

mod client;
mod crowd;
mod ends;
mod gate;
mod kept;
mod latency;
mod load;
pub(super) mod packet;
mod permits;
pub(super) mod process;
mod reading;
mod report;
mod scene;
mod server;
mod shapes;
mod storm;
mod writing;

pub use gate::serve as serve_gate;

use load::Load;
use report::{Budget, Row, short, table};
use scene::Scene;
use server::{Ground, Memory, Pair, Server};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tanglegate_core::Timestamp;

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    /// Messages per second: 1 -> 1, 1 -> 100, 100 -> 1
    Throughput,
    /// Time and cost of a message at 5,000/s
    Latency,
    /// One publisher, thousands of readers
    FanOut,
    /// Many topics in turn
    Topics,
    /// Many filters
    Filters,
    /// Filters with + and #
    Wildcards,
    /// Many clients that connect with a password at once
    Storm,
    /// Memory per connection and subscription, and traffic beside idle connections
    Memory,
    /// Sessions that outlive their connections
    Sessions,
    /// Leases that end under load: messages after the end
    LeaseEnd,
    /// Permits among a million leases
    Permit,
}

impl Section {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Throughput,
        Self::Latency,
        Self::FanOut,
        Self::Topics,
        Self::Filters,
        Self::Wildcards,
        Self::Storm,
        Self::Memory,
        Self::Sessions,
        Self::LeaseEnd,
        Self::Permit,
    ];

    fn title(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or(String::new(), |it| it.get_name().to_uppercase())
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `tanglegate` program, for the gate's own process.
    pub program: PathBuf,
    /// How long each load runs on each server, each time.
    pub load: Duration,
    /// How often the servers take turns; the median counts.
    pub rounds: usize,
    /// Bytes of each message.
    pub payload: usize,
    /// Logins with a right each that no load uses.
    pub others: usize,
    /// Readers of one topic.
    pub fan_out: usize,
    /// Topics in turn, at most a million.
    pub topics: usize,
    /// Exact filters, and as many with a `+`.
    pub filters: usize,
    /// Clients that connect at once.
    pub storm: usize,
    /// Idle connections.
    pub idle: usize,
    /// Messages queued for who is away.
    pub queued: u64,
    /// Leases that end within a second.
    pub ends: usize,
    /// Leases to ask for permits among.
    pub leases: usize,
    /// What to measure.
    pub only: Vec<Section>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            program: "tanglegate".into(),
            load: Duration::from_secs(3),
            rounds: 3,
            payload: 100,
            others: 10_000,
            fan_out: 5_000,
            topics: 100_000,
            filters: 20_000,
            storm: 2_000,
            idle: 10_000,
            queued: 20_000,
            ends: 1_000,
            leases: 1_000_000,
            only: Section::ALL.to_vec(),
        }
    }
}

impl Settings {
    /// All sections in a few minutes: one round, and smaller crowds.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            load: Duration::from_secs(1),
            rounds: 1,
            fan_out: 1_000,
            storm: 200,
            idle: 2_000,
            ..Self::default()
        }
    }
}

/// Measures, and hands `say` a text for each section as soon as it is known. Takes a thread for
/// its own. Stops between two measurements once `stop` is set.
///
/// # Errors
/// When a server cannot be started, refuses what it should grant, or loses what it should
/// deliver; and when it was stopped.
pub fn run(
    settings: &Settings,
    stop: &AtomicBool,
    mut say: impl FnMut(&str),
) -> anyhow::Result<()> {
    let files = process::raise_file_limit();
    let most = settings.idle.max(settings.fan_out).max(settings.storm) as u64;
    anyhow::ensure!(
        files > most + 100,
        "this process may open {files} files and needs {most}: raise the bound with ulimit -n"
    );
    let scene = Scene::new(settings.others, settings.storm, tomorrow());
    let ground = Ground::prepare(settings.program.clone(), &scene, true)?;
    let bench = Bench {
        settings,
        ground,
        stop,
    };
    say(&bench.preamble());
    let mut failed = 0;
    for section in &settings.only {
        match bench.section(*section) {
            Ok(text) => say(&text),
            Err(error) => {
                failed += 1;
                say(&format!("{}: {error:#}\n\n", section.title()));
            }
        }
        bench.go_on()?;
    }
    anyhow::ensure!(
        failed == 0,
        "{failed} parts of the measurement failed, see above"
    );
    Ok(())
}

fn tomorrow() -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(now.as_millis()).unwrap_or(0)).plus_millis(86_400_000)
}

struct Bench<'a> {
    settings: &'a Settings,
    ground: Ground,
    stop: &'a AtomicBool,
}

/// Figures of both servers: round by round, as many as were measured at once.
#[derive(Default)]
struct Turns {
    gate: Vec<Vec<f64>>,
    rival: Vec<Vec<f64>>,
}

impl Turns {
    /// The row of the nth figure.
    fn row(&self, nth: usize, what: &str, unit: &'static str, budget: Budget) -> Row {
        let column = |rounds: &[Vec<f64>]| rounds.iter().map(|it| it[nth]).collect();
        Row {
            what: what.to_owned(),
            unit,
            gate: column(&self.gate),
            rival: column(&self.rival),
            budget,
            note: String::new(),
        }
    }
}

impl Bench<'_> {
    /// What the figures hold for.
    fn preamble(&self) -> String {
        let Settings {
            others,
            payload,
            rounds,
            load,
            ..
        } = self.settings;
        let mut text = format!(
            "{others} logins with a right each besides; payloads of {payload} bytes; {rounds} \
             rounds of {} s; the median counts\n",
            load.as_secs_f64()
        );
        text += &self.ground.describe();
        text
    }

    fn section(&self, section: Section) -> anyhow::Result<String> {
        let rows = match section {
            Section::LeaseEnd => {
                let program = self.settings.program.clone();
                return ends::measure(program, self.settings.ends);
            }
            Section::Permit => return permits::measure(self.settings.leases),
            Section::Latency => self.latency()?,
            Section::Storm => self.storm()?,
            Section::Memory => self.memory()?,
            Section::Sessions => self.sessions()?,
            loads => self.loads(loads)?,
        };
        Ok(table(&section.title(), &rows) + "\n")
    }

    fn loads(&self, section: Section) -> anyhow::Result<Vec<Row>> {
        let pair = Pair::start(&self.ground, Memory::None)?;
        let mut rows = vec![];
        for (what, load, budget) in shapes::of(section, self.settings) {
            let load = Load {
                time: self.settings.load,
                ..load
            };
            let turns = self.alternate(&pair, |server| {
                let flow = load.run(server)?;
                Ok(vec![flow.rate, flow.cost, flow.busiest])
            })?;
            let mut row = turns.row(0, &what, "delivered/s", budget);
            row.note = note(&turns);
            rows.push(row);
        }
        Ok(rows)
    }

    fn latency(&self) -> anyhow::Result<Vec<Row>> {
        let (settings, pair) = (self.settings, Pair::start(&self.ground, Memory::None)?);
        let turns = self.alternate(&pair, |server| {
            latency::measure(server, 5_000, settings.payload, settings.load)
        })?;
        let row = |nth, what, unit, budget| turns.row(nth, what, unit, budget);
        Ok(vec![
            row(0, "1 -> 1 at 5,000/s, p50", "us", Budget::AtMost(1.2)),
            row(1, "1 -> 1 at 5,000/s, p99", "us", Budget::None),
            row(2, "1 -> 1 at 5,000/s", "CPU s/million", Budget::AtMost(1.5)),
        ])
    }

    /// Cold: no login was checked before. Each round has servers of its own.
    fn storm(&self) -> anyhow::Result<Vec<Row>> {
        let mut turns = Turns::default();
        for _ in 0..self.settings.rounds {
            let pair = Pair::start(&self.ground, Memory::None)?;
            let twice = |server: &Server| {
                let cold = storm::connects(server, self.settings.storm)?;
                Ok(vec![cold, storm::connects(server, self.settings.storm)?])
            };
            self.turn(&pair, &mut turns, twice)?;
        }
        let count = self.settings.storm;
        let what = |temper| format!("{count} clients with passwords, {temper}");
        let cold = what("never seen before");
        let warm = what("each seen once");
        Ok(vec![
            turns.row(0, &cold, "connects/s", Budget::None),
            turns.row(1, &warm, "connects/s", Budget::AtLeast(1.0)),
        ])
    }

    fn memory(&self) -> anyhow::Result<Vec<Row>> {
        let (count, mut turns) = (self.settings.idle, Turns::default());
        let load = Load {
            time: self.settings.load,
            ..Load::simple(1, 1, 0, self.settings.payload)
        };
        for _ in 0..self.settings.rounds {
            let pair = Pair::start(&self.ground, Memory::None)?;
            self.turn(&pair, &mut turns, |it| crowd::measure(it, count, &load))?;
        }
        let held = format!("1 -> 1, QoS 0, beside {count} held connections");
        let idle = format!("each of {count} idle connections");
        Ok(vec![
            turns.row(0, &idle, "bytes", Budget::Absolute(4_096.0)),
            turns.row(1, "its first subscription", "bytes", Budget::None),
            turns.row(2, "each further subscription", "bytes", Budget::None),
            turns.row(3, &held, "delivered/s", Budget::AtLeast(10.0)),
        ])
    }

    /// Mosquitto writes its file every half an hour and loses what came since when it dies; the
    /// gate has what it answers in its store, once as safe from its own end and once as safe from
    /// a power cut.
    fn sessions(&self) -> anyhow::Result<Vec<Row>> {
        let mut rows = self.kept(Memory::System, "store: system")?;
        rows.extend(self.kept(Memory::Disk, "store: disk")?);
        Ok(rows)
    }

    fn kept(&self, memory: Memory, store: &str) -> anyhow::Result<Vec<Row>> {
        let (settings, pair) = (self.settings, Pair::start(&self.ground, memory)?);
        let load = |qos| Load {
            time: settings.load,
            kept: true,
            ..Load::simple(1, 1, qos, settings.payload)
        };
        anyhow::ensure!(
            kept::keeps(&pair.gate, &load(1))?,
            "this gate keeps no sessions"
        );
        let mut rows = vec![];
        for qos in [1, 2] {
            let turns = self.alternate(&pair, |server| {
                let flow = load(qos).run(server)?;
                Ok(vec![flow.rate, flow.cost, flow.busiest])
            })?;
            let what = format!("1 -> 1, QoS {qos}, kept session, {store}");
            let mut row = turns.row(0, &what, "delivered/s", Budget::None);
            row.note = note(&turns);
            rows.push(row);
        }
        let turns = self.alternate(&pair, |server| {
            kept::measure(server, &load(1), settings.queued)
        })?;
        let away = format!("{} messages for who is away, {store}", settings.queued);
        let back = format!("{} messages once it is back, {store}", settings.queued);
        rows.push(turns.row(0, &away, "acknowledged/s", Budget::None));
        rows.push(turns.row(1, &back, "delivered/s", Budget::None));
        Ok(rows)
    }

    /// Measures in turns.
    fn alternate(
        &self,
        pair: &Pair,
        measure: impl Fn(&Server) -> anyhow::Result<Vec<f64>>,
    ) -> anyhow::Result<Turns> {
        let mut turns = Turns::default();
        for _ in 0..self.settings.rounds {
            self.turn(pair, &mut turns, &measure)?;
        }
        Ok(turns)
    }

    fn go_on(&self) -> anyhow::Result<()> {
        let stopped = self.stop.load(Ordering::Relaxed);
        anyhow::ensure!(!stopped, "stopped before the measurement was complete");
        Ok(())
    }

    fn turn(
        &self,
        pair: &Pair,
        turns: &mut Turns,
        measure: impl Fn(&Server) -> anyhow::Result<Vec<f64>>,
    ) -> anyhow::Result<()> {
        self.go_on()?;
        turns.gate.push(measure(&pair.gate)?);
        if let Some(rival) = &pair.rival {
            self.go_on()?;
            turns.rival.push(measure(rival)?);
        }
        Ok(())
    }
}

/// What a load cost both servers, and how busy its own threads were at most.
fn note(turns: &Turns) -> String {
    let middle = |nth, rounds: &[Vec<f64>]| {
        crate::bench::log::median(rounds.iter().map(|it| it[nth]).collect())
    };
    let cost = |rounds: &[Vec<f64>]| middle(1, rounds).map_or("-".to_owned(), short);
    let busiest = turns.gate.iter().chain(&turns.rival).map(|it| it[2]);
    format!(
        "CPU s/million {} beside {}; load busy to {:.0} %",
        cost(&turns.gate),
        cost(&turns.rival),
        busiest.fold(0.0, f64::max) * 100.0
    )
}
