//! Commands that are waited for: 32 in flight, and one alone.

use super::ROUNDS;
use super::append::{commands_for, submit_all};
use super::floor::{self, CopyFrom, Sample};
use super::ground::{self, Ground, owner};
use super::load::{Load, Shape, Wish};
use super::report::{Budget, Line, median, micros, per_second};
use crate::event_log::Origin;
use crate::writer::WriterHandle;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Commands, and connections of the floor, that wait at a time.
const IN_FLIGHT: u64 = 32;
/// Commands that show how many fit a round.
const TRIAL: u64 = 2_000;
/// Commands and inserts in one round of the latency.
const ALONE: u64 = 400;

pub(super) async fn measure(
    ground: &Ground,
    shape: Shape,
    time: Duration,
) -> anyhow::Result<Vec<Line>> {
    let options = ground.database(database(shape)).await?;
    let writer = ground::writer(&options).await?;
    let mut load = Load::new(shape);
    submit_all(&writer.handle, load.prepare()).await?;
    // So that the newest rows, which the floor takes as samples, are of this shape.
    submit_all(&writer.handle, load.take(TRIAL)).await?;
    let mut inserters = Inserters::prepare(&options).await?;
    let many = many(&writer.handle, &mut load, &mut inserters, shape, time).await?;
    let one = one(&writer.handle, &mut load, &mut inserters, shape).await?;
    writer.stop().await;
    Ok(vec![many, one])
}

fn database(shape: Shape) -> &'static str {
    match shape {
        Shape::Terms => "waiting_terms",
        Shape::Payments => "waiting_payments",
        Shape::Mixed => "waiting_mixed",
    }
}

async fn many(
    handle: &WriterHandle,
    load: &mut Load,
    inserters: &mut Inserters,
    shape: Shape,
    time: Duration,
) -> anyhow::Result<Line> {
    let share = |trial: Duration| time.as_secs_f64() / f64::from(2 * ROUNDS) / trial.as_secs_f64();
    let trial = submit_by_turns(handle, load.take(TRIAL)).await?;
    let commands = commands_for(TRIAL, share(trial));
    let inserts = commands_for(TRIAL, share(inserters.insert(TRIAL).await?));
    let (mut rates, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    for _ in 0..ROUNDS {
        let wishes = load.take(commands);
        inserters.floor.settle().await?;
        let events = (commands * shape.events()) as f64;
        let rate = events / submit_by_turns(handle, wishes).await?.as_secs_f64();
        inserters.floor.settle().await?;
        let floor = inserts as f64 / inserters.insert(inserts).await?.as_secs_f64();
        rates.push(rate);
        floors.push(floor);
        ratios.push(rate / floor);
    }
    let second = Duration::from_secs(1);
    let middle = |figures: Vec<f64>| median(figures).unwrap_or_default();
    Ok(Line {
        what: format!("{IN_FLIGHT} in flight, {}", shape.describe()),
        measured: per_second(middle(rates), second, "events"),
        floor: format!(
            "{IN_FLIGHT} connections, INSERT: {}",
            per_second(middle(floors), second, "commits")
        ),
        ratio: middle(ratios),
        budget: Budget::AtLeast(2.0),
    })
}

async fn one(
    handle: &WriterHandle,
    load: &mut Load,
    inserters: &mut Inserters,
    shape: Shape,
) -> anyhow::Result<Line> {
    let (mut medians, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // From a task of its own, as the engine's sessions submit; so does the floor.
        let alone = tokio::spawn(submit_alone(handle.clone(), load.take(ALONE)));
        let ours = median(alone.await??).unwrap_or_default();
        let floor = median(inserters.insert_alone(ALONE).await?).unwrap_or_default();
        medians.push(ours);
        floors.push(floor);
        ratios.push(ours.as_secs_f64() / floor.as_secs_f64());
    }
    let middle = |times: Vec<Duration>| micros(median(times).unwrap_or_default());
    Ok(Line {
        what: format!("one alone, p50, {}", shape.describe()),
        measured: middle(medians),
        floor: format!("1 connection, INSERT: {}", middle(floors)),
        ratio: median(ratios).unwrap_or_default(),
        budget: Budget::AtMost(1.2),
    })
}

/// Submits one command after another; how long each took.
async fn submit_alone(handle: WriterHandle, wishes: Vec<Wish>) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(wishes.len());
    for (key, command) in wishes {
        let started = Instant::now();
        handle.submit(Origin::Ledger, key, command).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}

/// Submits commands so that [`IN_FLIGHT`] wait at a time; how long until the last answer.
async fn submit_by_turns(handle: &WriterHandle, wishes: Vec<Wish>) -> anyhow::Result<Duration> {
    let mut shares: Vec<Vec<Wish>> = (0..IN_FLIGHT).map(|_| Vec::new()).collect();
    for (turn, wish) in wishes.into_iter().enumerate() {
        let share = turn % shares.len();
        shares[share].push(wish);
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for share in shares {
        let handle = handle.clone();
        tasks.spawn(async move {
            for (key, command) in share {
                handle.submit(Origin::Ledger, key, command).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(started.elapsed())
}

/// Connections that insert one event per commit.
struct Inserters {
    floor: CopyFrom,
    connections: Vec<PgConnection>,
    samples: Arc<Vec<Sample>>,
    inserted: u64,
}

impl Inserters {
    async fn prepare(options: &PgConnectOptions) -> anyhow::Result<Self> {
        let floor = CopyFrom::prepare(options).await?;
        let mut connections = Vec::new();
        for _ in 0..IN_FLIGHT {
            connections.push(owner(options).await?);
        }
        let samples = Arc::new(floor::samples(&mut connections[0]).await?);
        anyhow::ensure!(
            !samples.is_empty(),
            "there are no events to insert like ones of"
        );
        Ok(Self {
            floor,
            connections,
            samples,
            inserted: 0,
        })
    }

    /// All connections together; how long until the last commit.
    async fn insert(&mut self, inserts: u64) -> anyhow::Result<Duration> {
        let each = inserts.div_ceil(IN_FLIGHT);
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in self.connections.drain(..) {
            let (first, samples) = (self.inserted, Arc::clone(&self.samples));
            self.inserted += each;
            tasks.spawn(async move {
                insert_run(&mut connection, &samples, first, each).await?;
                anyhow::Ok(connection)
            });
        }
        while let Some(done) = tasks.join_next().await {
            self.connections.push(done??);
        }
        Ok(started.elapsed())
    }

    /// One connection; how long each commit took.
    async fn insert_alone(&mut self, inserts: u64) -> anyhow::Result<Vec<Duration>> {
        let first = self.inserted;
        self.inserted += inserts;
        let mut connection = self.connections.swap_remove(0);
        let samples = Arc::clone(&self.samples);
        let (connection, times) = tokio::spawn(async move {
            let times = insert_run(&mut connection, &samples, first, inserts).await?;
            anyhow::Ok((connection, times))
        })
        .await??;
        self.connections.push(connection);
        Ok(times)
    }
}

async fn insert_run(
    connection: &mut PgConnection,
    samples: &[Sample],
    first: u64,
    inserts: u64,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for (number, sample) in (first..first + inserts).zip(samples.iter().cycle()) {
        let name = number.to_string();
        let started = Instant::now();
        floor::insert(connection, &name, sample).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}
