//! How quick the event log is, beside what PostgreSQL itself can do with the same rows.

mod append;
mod audit;
mod floor;
mod ground;
mod latency;
mod load;
mod replay;
mod report;

pub(super) use ground::{Ground, owner};
use load::Shape;
pub use report::{Budget, Line, Report};
pub(super) use report::{grouped, median, micros};
use std::path::PathBuf;
use std::time::Duration;

/// Rounds of every figure; figure and floor take turns.
const ROUNDS: u32 = 5;

/// Appending: saturated beside COPY FROM, many in flight beside as many connections, one alone
/// beside one INSERT. `time` is what each figure takes with its floor. When `ended` completes,
/// everything is cleaned up and nothing reported.
///
/// # Errors
/// When no PostgreSQL can be started, it fails, or `ended` was first.
pub async fn append(time: Duration, ended: impl Future<Output = ()>) -> anyhow::Result<Report> {
    on_ground(ended, async |ground| {
        let mut report = Report {
            notes: vec![ground.note()],
            lines: Vec::new(),
        };
        for shape in [Shape::Terms, Shape::Payments] {
            report
                .lines
                .extend(append::saturated(ground, shape, time).await?);
        }
        for shape in [Shape::Terms, Shape::Payments] {
            report
                .lines
                .extend(latency::measure(ground, shape, time).await?);
        }
        report.notes.push(append::NOTE.to_owned());
        Ok(report)
    })
    .await
}

/// Reading a log of about `events` events: decoded and verified, folded, rebuilt into tables.
///
/// # Errors
/// When no PostgreSQL can be started, it fails, or `ended` was first.
pub async fn replay(events: u64, ended: impl Future<Output = ()>) -> anyhow::Result<Report> {
    on_ground(ended, async |ground| {
        let mut report = Report {
            notes: vec![ground.note()],
            lines: Vec::new(),
        };
        for shape in [Shape::Terms, Shape::Mixed] {
            report
                .lines
                .extend(replay::measure(ground, shape, events).await?);
        }
        Ok(report)
    })
    .await
}

/// Starting the writer on a log of about `events` events.
///
/// # Errors
/// When no PostgreSQL can be started, it fails, or `ended` was first.
pub async fn start(events: u64, ended: impl Future<Output = ()>) -> anyhow::Result<Report> {
    on_ground(ended, async |ground| {
        let lines = vec![replay::start(ground, Shape::Mixed, events).await?];
        Ok(Report {
            notes: vec![ground.note()],
            lines,
        })
    })
    .await
}

/// The auditor's commands on a log of about `events` events, each run by `program` (this one) in a
/// process of its own: 3 times, or once when it has to be `quick`.
///
/// # Errors
/// When no PostgreSQL can be started, it fails, a command does, or `ended` was first.
pub async fn audit(
    program: PathBuf,
    events: u64,
    quick: bool,
    ended: impl Future<Output = ()>,
) -> anyhow::Result<Report> {
    on_ground(ended, async |ground| {
        let rounds = if quick { 1 } else { 3 };
        let lines = audit::measure(ground, &program, events, rounds).await?;
        Ok(Report {
            notes: vec![ground.note(), audit::NOTE.to_owned()],
            lines,
        })
    })
    .await
}

/// Measures on a private durable server that is gone afterwards.
pub(super) async fn on_ground(
    ended: impl Future<Output = ()>,
    measure: impl AsyncFnOnce(&Ground) -> anyhow::Result<Report>,
) -> anyhow::Result<Report> {
    let ground = Ground::prepare().await?;
    let measured = tokio::select! {
        measured = measure(&ground) => measured,
        () = ended => Err(anyhow::anyhow!("stopped before the measurement was complete")),
    };
    ground.end().await;
    measured
}
