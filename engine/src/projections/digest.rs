//! What the tables contain, in one hash each: as they stand in the database, and as a fold over
//! the log makes them in memory.

use super::rows::{Changes, TABLES};
use crate::event_log::rows::{Rows, Table};
use futures_util::TryStreamExt;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use tanglegate_core::Position;

/// What one table contains: SHA-256 over its rows as PostgreSQL sends them in binary (`COPY`: the
/// number of fields, then length and bytes of each), in the order of the primary key, bytewise.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableDigest {
    /// Which table of schema `projection`.
    pub table: &'static str,
    /// How many rows.
    pub rows: u64,
    /// Their hash, in hexadecimal.
    pub sha256: String,
}

/// Which columns are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// All of them.
    All,
    /// Those that can be told without the keys of personal data.
    Impersonal,
}

/// The one column of the tables that is personal.
const PERSONAL: (&str, &str) = ("projection.subscriber", "username");

impl Columns {
    fn of(self, table: &Table) -> Vec<&'static str> {
        let shown = |it: &&str| self == Self::All || (table.name, *it) != PERSONAL;
        table.columns.iter().map(|it| it.0).filter(shown).collect()
    }
}

/// What every table contains.
///
/// # Errors
/// When the database cannot be read.
pub async fn digests(
    connection: &mut PgConnection,
    columns: Columns,
) -> Result<Vec<TableDigest>, sqlx::Error> {
    let mut all = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let shown = columns.of(table).join(", ");
        let statement = format!(
            "copy (select {shown} from {} order by {}) to stdout (format binary)",
            table.name,
            table.key()
        );
        let mut rows = connection.copy_out_raw(&statement).await?;
        let mut count = Count::default();
        while let Some(message) = rows.try_next().await? {
            // The header stands before the first row, the end mark after the last; each row is a
            // message of its own.
            let row = crate::event_log::without_frame(&message);
            if !row.is_empty() {
                count.add(row);
            }
        }
        all.push(count.digest(table));
    }
    Ok(all)
}

/// What the tables would contain after these changes, and nothing else.
pub(crate) fn digests_of(changes: &Changes, up_to: Position, columns: Columns) -> Vec<TableDigest> {
    let mut by_table: BTreeMap<&str, Vec<(Vec<Vec<u8>>, Vec<u8>)>> = BTreeMap::new();
    for rows in changes.to_rows(up_to).iter().filter(|it| !it.is_removal()) {
        let sorted = by_table.entry(rows.table().name).or_default();
        keyed(rows, columns, sorted);
    }
    let digest = |table: &&'static Table| {
        let mut rows = by_table.remove(table.name).unwrap_or_default();
        rows.sort_unstable();
        let mut count = Count::default();
        rows.iter().for_each(|it| count.add(&it.1));
        count.digest(table)
    };
    TABLES.iter().map(digest).collect()
}

/// Each row with its key, as bytes that compare like PostgreSQL's.
fn keyed(rows: &Rows, columns: Columns, sorted: &mut Vec<(Vec<Vec<u8>>, Vec<u8>)>) {
    let shown = columns.of(rows.table());
    let width = i16::try_from(shown.len()).expect("tables are not so wide");
    let keys = rows.table().key().split(", ").count();
    rows.each(|fields| {
        let key = fields.iter().take(keys);
        let key = key.map(|it| it.unwrap_or_default().to_vec()).collect();
        let mut row = width.to_be_bytes().to_vec();
        for (field, (name, _)) in fields.iter().zip(rows.table().columns) {
            if !shown.contains(name) {
                continue;
            }
            let length = field.map_or(-1, |it| i32::try_from(it.len()).unwrap_or(i32::MAX));
            row.extend_from_slice(&length.to_be_bytes());
            row.extend_from_slice(field.unwrap_or_default());
        }
        sorted.push((key, row));
    });
}

#[derive(Default)]
struct Count {
    rows: u64,
    hasher: Sha256,
}

impl Count {
    fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.hasher.update(row);
    }

    fn digest(self, table: &Table) -> TableDigest {
        TableDigest {
            table: table.name.trim_start_matches("projection."),
            rows: self.rows,
            sha256: hex::encode(self.hasher.finalize()),
        }
    }
}
