//! The tables that the events amount to. They are written in the transaction that appends the
//! events, and can be thrown away and rebuilt: the log is the truth, they are its summary.

mod digest;
mod rows;

pub(crate) use digest::digests_of;
pub use digest::{Columns, TableDigest, digests};
pub(crate) use rows::Changes;

use crate::event_log::{EventLog, EventLogError, Vault, copy_rows};
use sqlx::{Connection, PgConnection, Row};
use tanglegate_core::{Position, State};
use tanglegate_crypto::Frontier;

/// Version of the folds. Raised when a row's meaning changes; the engine then rebuilds at start.
pub const VERSION: i32 = 2;

/// Up to which event, and by which version of the folds, the tables were written; `None` when
/// they never were.
///
/// # Errors
/// When the database cannot be read.
pub async fn cursor(connection: &mut PgConnection) -> Result<Option<(i32, Position)>, sqlx::Error> {
    let row = sqlx::query("select version, position from projection.cursor where name = 'access'")
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (version, position): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Some((version, Position(position.unsigned_abs()))))
}

/// Empties the tables and fills them from the log, in one transaction: readers see the old rows
/// until the new ones are complete.
///
/// # Errors
/// When the log cannot be read or the rows cannot be written; the tables are then as before.
pub async fn rebuild(
    log: &mut EventLog,
    writer: &mut PgConnection,
    vault: &Vault,
) -> Result<Position, EventLogError> {
    let mut transaction = writer.begin().await?;
    sqlx::query(
        "truncate projection.access, projection.subscriber, projection.payment, \
         projection.offer, projection.ledger_cursor, projection.cursor",
    )
    .execute(&mut *transaction)
    .await?;
    let (mut state, mut frontier) = (State::default(), Frontier::default());
    let mut changes = Changes::default();
    let mut scratch = Vec::new();
    log.replay(&mut frontier, vault, |replayed| {
        state.evolve(replayed.recorded(), &mut scratch);
        state.settle();
        changes.extend(scratch.drain(..));
    })
    .await?;
    // The tables are empty and of each key there is one row: nothing needs to be replaced.
    for rows in changes.to_rows(state.position()) {
        if rows.count() > 0 && !rows.is_removal() {
            copy_rows(&mut transaction, rows).await?;
        }
    }
    transaction.commit().await?;
    Ok(state.position())
}
