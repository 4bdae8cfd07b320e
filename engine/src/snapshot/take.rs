//! Taking the next snapshot, from the log itself.

use super::form::{Payments, write_state};
use super::open::{Applied, Opened, newest};
use super::seal::Sealed;
use super::table;
use crate::event_log::{EventLog, EventLogError, Vault};
use tanglegate_core::Position;

/// Key of the advisory lock that the one engine which takes snapshots holds: "tangsnap" in ASCII.
const LOCK: i64 = 0x7461_6e67_736e_6170;
/// Events that are folded before those payments that were applied are written down.
const WINDOW: u64 = 20_000;

/// A snapshot that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// After which event.
    pub position: Position,
    /// How long it is.
    pub bytes: u64,
}

/// What became of the wish for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is there.
    Taken(Taken),
    /// It is due when the log has so many events.
    Later(Position),
    /// Another engine is about it.
    Elsewhere,
    /// It was not to be finished.
    Stopped,
}

/// Takes the next snapshot, at the first commit that ends `every` events or more behind the last
/// one, unless `going_on` says no meanwhile.
///
/// Applied payments are not read again: those of the snapshots before stay where they are.
///
/// # Errors
/// When the log cannot be read, is not what was hashed, or the snapshot cannot be written.
pub async fn take_next(
    log: &mut EventLog,
    every: u64,
    mut going_on: impl FnMut() -> bool,
) -> Result<Next, EventLogError> {
    let alone: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(log.connection())
        .await?;
    if !alone {
        return Ok(Next::Elsewhere);
    }
    let taken = take(log, every, &mut going_on).await;
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(LOCK)
        .execute(log.connection())
        .await?;
    taken
}

async fn take(
    log: &mut EventLog,
    every: u64,
    going_on: &mut impl FnMut() -> bool,
) -> Result<Next, EventLogError> {
    let end = Position(log.head().await?.size);
    let opened = newest(log.connection(), end, Applied::Left).await?;
    for refused in &opened.refused {
        tracing::warn!(%refused, "a snapshot is taken again");
    }
    let Opened { mut fold, last, .. } = opened;
    let due = Position(fold.state.position().0.saturating_add(every.max(1)));
    let Some(position) = log.commit_at(due).await? else {
        return Ok(Next::Later(due));
    };
    // Personal data stays sealed: nobody's keys are here.
    let (vault, mut payments) = (Vault::default(), Payments::default());
    while fold.state.position() < position {
        if !going_on() {
            return Ok(Next::Stopped);
        }
        let next = Position(position.0.min(fold.state.position().0 + WINDOW));
        fold.catch_up(log, &vault, next.0, |_| ()).await?;
        fold.changes
            .take_applied()
            .iter()
            .for_each(|it| payments.add(it));
    }
    let (payments, rows) = (payments.finish(), fold.changes.rows());
    let state = write_state(&fold.state.remembered(), rows);
    if log.root_at(position).await? != Some(fold.frontier.root()) {
        return Err(EventLogError::RootDiffers { size: position.0 });
    }
    let sealed = Sealed::new(fold.frontier, last.as_ref(), &payments, &state);
    table::clear(log.connection(), sealed.previous).await?;
    table::keep(log.connection(), &sealed, &payments, &state).await?;
    let bytes = (payments.len() + state.len()) as u64;
    Ok(Next::Taken(Taken { position, bytes }))
}
