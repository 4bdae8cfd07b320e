//! The tables that the events amount to. They are written in the transaction that appends the
//! events, and can be thrown away and rebuilt: the log is the truth, they are its summary.

mod digest;
mod fold;
mod rebuild;
mod rows;

pub(crate) use digest::digests_of;
pub use digest::{Columns, TableDigest, digests};
pub(crate) use fold::Fold;
pub use rebuild::rebuild;
pub(crate) use rows::Changes;

use sqlx::{PgConnection, Row};
use tanglegate_core::Position;

/// Version of the folds. Raised when a row's meaning changes; the engine then rebuilds at start.
pub const VERSION: i32 = 3;

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
