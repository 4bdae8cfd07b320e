//! A writer that always has commands waiting, beside COPY FROM of the rows that it wrote.

use super::ROUNDS;
use super::floor::CopyFrom;
use super::ground::{self, Ground};
use super::load::{Load, Shape, Wish};
use super::report::{Budget, Line, median, per_second};
use crate::event_log::Origin;
use crate::writer::WriterHandle;
use std::time::{Duration, Instant};

/// What the floor of the saturated figures is.
pub(super) const NOTE: &str = "COPY FROM: server-side, binary, one transaction of one round's rows, \
     into a table with the log's columns, checks and indexes but without its triggers. 32 \
     connections, INSERT: one such event per commit into such a table, position by a sequence; in \
     flight there are as many commands, with all of their events and rows.";

/// Commands that show how many fit a round.
const TRIAL: u64 = 5_000;

/// One round.
struct Round {
    events: u64,
    took: Duration,
    events_copied: Duration,
    all_copied: Duration,
}

pub(super) async fn saturated(
    ground: &Ground,
    shape: Shape,
    time: Duration,
) -> anyhow::Result<Vec<Line>> {
    let options = ground.database(database(shape)).await?;
    let writer = ground::writer(&options).await?;
    let mut load = Load::new(shape);
    submit_all(&writer.handle, load.prepare()).await?;
    let trial = submit_all(&writer.handle, load.take(TRIAL)).await?;
    // About half of a round goes into its floor.
    let share = time.as_secs_f64() / f64::from(2 * ROUNDS) / trial.as_secs_f64();
    let commands = commands_for(TRIAL, share);
    let mut floor = CopyFrom::prepare(&options).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let wishes = load.take(commands);
        floor.settle().await?;
        let took = submit_all(&writer.handle, wishes).await?;
        let (events, events_copied) = floor.events().await?;
        let all_copied = events_copied + floor.others().await?;
        rounds.push(Round {
            events,
            took,
            events_copied,
            all_copied,
        });
    }
    writer.stop().await;
    Ok(lines(shape, &rounds))
}

fn database(shape: Shape) -> &'static str {
    match shape {
        Shape::Terms => "saturated_terms",
        Shape::Payments => "saturated_payments",
        Shape::Mixed => "saturated_mixed",
    }
}

/// `share` of `trial` commands, at least a batch.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a number of commands for some seconds"
)]
pub(super) fn commands_for(trial: u64, share: f64) -> u64 {
    (trial as f64 * share) as u64 + 1_000
}

fn lines(shape: Shape, rounds: &[Round]) -> Vec<Line> {
    let line = |against: &str, floor: fn(&Round) -> Duration, budget| {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |round: &Round, time: Duration| round.events as f64 / time.as_secs_f64();
        let ratios = rounds
            .iter()
            .map(|it| floor(it).as_secs_f64() / it.took.as_secs_f64());
        let middle = |rates: Vec<f64>| median(rates).unwrap_or_default();
        let measured = middle(rounds.iter().map(|it| rate(it, it.took)).collect());
        let floors = middle(rounds.iter().map(|it| rate(it, floor(it))).collect());
        let second = Duration::from_secs(1);
        Line {
            what: format!("saturated append, {}", shape.describe()),
            measured: per_second(measured, second, "events"),
            floor: format!("{against}: {}", per_second(floors, second, "events")),
            ratio: median(ratios.collect()).unwrap_or_default(),
            budget,
        }
    };
    let mut lines = vec![line(
        "COPY FROM",
        |it| it.events_copied,
        Budget::AtLeast(0.60),
    )];
    if shape != Shape::Terms {
        lines.push(line(
            "COPY FROM with keys and payments",
            |it| it.all_copied,
            Budget::None,
        ));
    }
    lines
}

/// Hands all commands over as quickly as the writer takes them; how long until the last answer.
pub(super) async fn submit_all(
    handle: &WriterHandle,
    wishes: Vec<Wish>,
) -> anyhow::Result<Duration> {
    let mut answers = Vec::with_capacity(wishes.len());
    let started = Instant::now();
    for (key, command) in wishes {
        answers.push(handle.enqueue(Origin::Ledger, key, command, None).await?);
    }
    for answer in answers {
        answer.await??;
    }
    Ok(started.elapsed())
}
