//! Messages from some publishers to some readers, as fast as the readers take them.

use super::client::Client;
use super::packet::{Hello, Version, publish};
use super::process::Busy;
use super::reading::{self, Sink};
use super::scene::{READER, WRITER};
use super::server::Server;
use super::writing::Writer;
use anyhow::{bail, ensure};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes that are read or written at a time.
pub(super) const BURST: usize = 64 << 10;
/// Messages that the publishers may be ahead of the slowest reader: the load is as fast as the
/// server can be without losing anything. With many readers fewer, so that what waits for all
/// of them keeps within bounds.
const AHEAD: u64 = 8_000;
/// Messages on their way to all readers together.
const ON_THEIR_WAY: u64 = 800_000;
/// Packet identifiers that a publisher uses, one after the other: more than it has in flight.
const IDS: usize = 2_000;
/// How long the load runs before it is counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long no message may be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// Some publishers and some readers.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) version: Version,
    pub(super) qos: u8,
    /// Bytes of each message.
    pub(super) payload: usize,
    pub(super) writers: usize,
    /// Published one after the other, again and again; of the same length.
    pub(super) topics: Vec<String>,
    /// The readers' sessions outlive their connections.
    pub(super) kept: bool,
    /// The filters of each reader.
    pub(super) readers: Vec<Vec<String>>,
    /// How many messages are published for each one that a reader gets.
    pub(super) share: u64,
    pub(super) time: Duration,
}

/// What a load came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    /// Messages delivered per second, to all readers together.
    pub(super) rate: f64,
    /// Seconds of the server's processor time per million messages delivered.
    pub(super) cost: f64,
    /// The share of a processor that the busiest thread of the load took.
    pub(super) busiest: f64,
}

/// What the threads of a load share.
pub(super) struct Shared {
    /// Messages that each reader has read.
    pub(super) delivered: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl Shared {
    pub(super) fn new(readers: usize) -> Self {
        Self {
            delivered: (0..readers).map(|_| AtomicU64::new(0)).collect(),
            stop: AtomicBool::new(false),
        }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn all(&self) -> u64 {
        let each = self.delivered.iter();
        each.map(|it| it.load(Ordering::Relaxed)).sum()
    }

    fn slowest(&self) -> u64 {
        let each = self.delivered.iter();
        each.map(|it| it.load(Ordering::Relaxed)).min().unwrap_or(0)
    }
}

/// A thread of the load, and where the system says how busy it is.
pub(super) type Running = (JoinHandle<anyhow::Result<()>>, PathBuf);

impl Load {
    /// So many writers and readers of one topic, MQTT 3.1.1.
    pub(super) fn simple(writers: usize, readers: usize, qos: u8, payload: usize) -> Self {
        let topic = "bench/live".to_owned();
        Self {
            version: Version::V311,
            qos,
            payload,
            writers,
            kept: false,
            readers: vec![vec![topic.clone()]; readers],
            topics: vec![topic],
            share: 1,
            time: Duration::from_secs(1),
        }
    }

    /// Runs it.
    pub(super) fn run(&self, server: &Server) -> anyhow::Result<Flow> {
        let shared = Arc::new(Shared::new(self.readers.len()));
        let threads = [
            self.start_readers(server, &shared)?,
            self.start_writers(server, &shared)?,
        ];
        let flow = self.count(server, &shared, &threads);
        shared.stop();
        for (thread, _) in threads {
            join(thread)?;
        }
        if self.kept {
            self.forget(server)?;
        }
        flow
    }

    /// Ends the kept sessions, so that nothing is queued for them.
    fn forget(&self, server: &Server) -> anyhow::Result<()> {
        for number in 0..self.readers.len() {
            let id = format!("reader-{number}");
            let hello = Hello::new(self.version, READER, &id);
            drop(Client::connect(server.address, &hello)?);
        }
        Ok(())
    }

    fn count(&self, server: &Server, shared: &Shared, threads: &[Running]) -> anyhow::Result<Flow> {
        await_first(server, shared, threads)?;
        std::thread::sleep(WARM_UP);
        let watch = |it: &Running| Busy::watch(it.1.clone());
        let busy: Vec<Busy> = threads.iter().map(watch).collect::<Result<_, _>>()?;
        let (begun, before, taken) = (Instant::now(), shared.all(), server.processor_time()?);
        std::thread::sleep(self.time);
        let (time, after) = (begun.elapsed().as_secs_f64(), shared.all());
        let taken = server.processor_time()? - taken;
        // A thread that ended has no figures any more; its error is the better message.
        let shares = busy.iter().map(|it| it.share().unwrap_or(0.0));
        ensure!(after > before, "{} delivers nothing any more", server.name);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let count = (after - before) as f64;
        Ok(Flow {
            rate: count / time,
            cost: taken / count * 1e6,
            busiest: shares.fold(0.0, f64::max),
        })
    }

    /// The readers, all on one thread: they must not be the bottleneck, nor take all processors.
    fn start_readers(&self, server: &Server, shared: &Arc<Shared>) -> anyhow::Result<Running> {
        let mut sinks = vec![];
        for (number, filters) in self.readers.iter().enumerate() {
            let id = format!("reader-{number}");
            let hello = Hello {
                kept: self.kept,
                ..Hello::new(self.version, READER, &id)
            };
            let mut client = Client::connect(server.address, &hello)?;
            client.subscribe(filters, self.qos)?;
            sinks.push(Sink::new(client)?);
        }
        let shared = Arc::clone(shared);
        start(move || reading::run(sinks, &shared))
    }

    /// The publishers, all on one thread too.
    fn start_writers(&self, server: &Server, shared: &Arc<Shared>) -> anyhow::Result<Running> {
        let (packets, one) = self.packets()?;
        let mut writers = vec![];
        for number in 0..self.writers {
            let id = format!("writer-{number}");
            let hello = Hello::new(self.version, WRITER, &id);
            let client = Client::connect(server.address, &hello)?;
            writers.push(Writer::new(client.into_parts()?.0, self.qos, one));
        }
        let (shared, share, count) = (Arc::clone(shared), self.share, self.writers as u64);
        let ahead = (ON_THEIR_WAY / self.readers.len() as u64).clamp(100, AHEAD);
        start(move || {
            let mut scratch = vec![0; BURST];
            while !shared.stopped() {
                // Each has its share of what may be on its way.
                let allowed = (shared.slowest() * share + ahead.max(share * 100)) / count;
                let mut wrote = 0;
                for writer in &mut writers {
                    wrote += writer.write(&packets, allowed.max(1))?;
                    writer.read_answers(&mut scratch)?;
                }
                if wrote < BURST / 4 {
                    std::thread::sleep(Duration::from_micros(20));
                }
            }
            Ok(())
        })
    }

    /// What a publisher sends, again and again, and the bytes of one message.
    pub(super) fn packets(&self) -> anyhow::Result<(Vec<u8>, usize)> {
        let payload = vec![b'x'; self.payload];
        let made = |number: usize| {
            let id = u16::try_from(number % usize::from(u16::MAX)).unwrap_or(0) + 1;
            let topic = &self.topics[number % self.topics.len()];
            publish(self.version, topic, (self.qos, id), false, &payload)
        };
        let one = made(0).len();
        let least = if self.qos == 0 { BURST / one } else { IDS };
        let count = least.max(1).next_multiple_of(self.topics.len());
        let packets: Vec<u8> = (0..count).flat_map(made).collect();
        ensure!(packets.len() == count * one, "topics of different lengths");
        Ok((packets, one))
    }
}

/// Waits until every reader has got something: only then it is a load.
fn await_first(server: &Server, shared: &Shared, threads: &[Running]) -> anyhow::Result<()> {
    let begun = Instant::now();
    while shared.slowest() == 0 {
        if threads.iter().any(|(thread, _)| thread.is_finished()) {
            // Its error is the better message.
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{}: a reader gets nothing",
            server.name
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Starts a thread of a load.
pub(super) fn start(
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Running> {
    let (say, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Whoever asks is still there: it waits for this.
        let _ = say.send(Busy::this_thread());
        work()
    });
    Ok((thread, told.recv()??))
}

pub(super) fn join(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread of the load panicked"),
    }
}
