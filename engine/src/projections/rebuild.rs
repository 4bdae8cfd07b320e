//! The tables once more from the first event on, beside the live ones. Only what differs is
//! written, in one short transaction that locks no reader out.

use super::Fold;
use super::rows::TABLES;
use crate::event_log::rows::Table;
use crate::event_log::{EventLog, EventLogError, copy_rows_into};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tanglegate_core::Position;

/// Events that may be folded while nobody appends.
const LAST_FEW: u64 = 5_000;

/// Rebuilds the tables from the log: they are folded in memory, compared with the live ones, and
/// what differs is replaced in one transaction. Readers read on, the old rows until it commits and
/// the new ones from then on; tables, views and grants stay what they are. Engines may append
/// meanwhile: they wait only while the last few events are folded and the tables compared.
///
/// # Errors
/// When the log cannot be read, the key of somebody who was not erased is missing, or the rows
/// cannot be written; the tables are then as before.
pub async fn rebuild(
    log: &mut EventLog,
    writer: &mut PgConnection,
) -> Result<Position, EventLogError> {
    let mut fold = Fold::default();
    catch_up(&mut fold, log).await?;
    while behind(&fold, log).await? > LAST_FEW {
        catch_up(&mut fold, log).await?;
    }
    let mut transaction = writer.begin().await?;
    // Every append begins with this table, so whoever holds it waits for nobody behind it.
    sqlx::query("lock table event_log.batch in share row exclusive mode")
        .execute(&mut *transaction)
        .await?;
    if behind(&fold, log).await? > 0 {
        catch_up(&mut fold, log).await?;
    }
    if let Some(nameless) = fold.state.nameless().min() {
        return Err(EventLogError::KeyMissing(nameless.to_string()));
    }
    for table in TABLES {
        let (name, next) = (table.name, next(table));
        let make = format!("create temporary table {next} (like {name}) on commit drop");
        run(&mut transaction, make).await?;
    }
    let position = fold.state.position();
    for rows in fold.changes.to_rows(position) {
        if rows.count() > 0 && !rows.is_removal() {
            let next = next(rows.table());
            copy_rows_into(&mut transaction, &next, rows).await?;
        }
    }
    for table in TABLES {
        replace(&mut transaction, table).await?;
    }
    transaction.commit().await?;
    Ok(position)
}

/// Makes a table what the one beside it is. Both are joined by their keys, for which the database
/// has to know how long the new one is.
async fn replace(connection: &mut PgConnection, table: &Table) -> Result<(), sqlx::Error> {
    let (name, next, key) = (table.name, next(table), table.key());
    let of = |who: &str| {
        let fields = key.split(", ").map(|it| format!("{who}.{it}"));
        fields.collect::<Vec<_>>().join(", ")
    };
    let same_key = format!("({}) = ({})", of("live"), of("next"));
    run(connection, format!("analyze {next}")).await?;
    let delete = format!(
        "delete from {name} as live where not exists (select from {next} as next \
         where {same_key} and next is not distinct from live)"
    );
    run(connection, delete).await?;
    let insert = format!(
        "insert into {name} select * from {next} as next where not exists \
         (select from {name} as live where {same_key})"
    );
    run(connection, insert).await
}

/// The table beside one; the transaction's end takes it away.
fn next(table: &Table) -> String {
    format!("next_{}", table.name.trim_start_matches("projection."))
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}

/// How many events came since.
async fn behind(fold: &Fold, log: &mut EventLog) -> Result<u64, EventLogError> {
    Ok(log.head().await?.size.saturating_sub(fold.frontier.size()))
}

/// Folds up to where the log ends now.
async fn catch_up(fold: &mut Fold, log: &mut EventLog) -> Result<(), EventLogError> {
    // A key is committed with the event that needs it: read after the head, the vault has those of
    // all events up to it, but of people who were erased behind it.
    let head = log.head().await?;
    let vault = log.vault().await?;
    fold.catch_up(log, &vault, head.size, |_| ()).await?;
    if fold.frontier.size() != head.size || fold.frontier.root() != head.root {
        return Err(EventLogError::RootDiffers { size: head.size });
    }
    Ok(())
}
