//! What the tables contain, in one hash each: as they stand in the database, and as a fold over
//! the log makes them in memory.

use super::rows::{Changes, TABLES};
use crate::event_log::rows::{Rows, Table, fields};
use futures_util::TryStreamExt;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
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
    let all = changes.to_rows(up_to);
    let digest = |table: &&'static Table| {
        let of_table = |it: &&Rows| it.table().name == table.name && !it.is_removal();
        let keys = table.key().split(", ").count();
        let mut rows = Vec::new();
        for some in all.iter().filter(of_table) {
            rows.extend(some.keyed(keys));
        }
        rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let (shown, mut count) = (columns.of(table), Count::default());
        for (_, row) in rows {
            if shown.len() == table.columns.len() {
                count.add(row);
            } else {
                count.add(&impersonal(row, table, &shown));
            }
        }
        count.digest(table)
    };
    TABLES.iter().map(digest).collect()
}

/// A row with the fields of these columns only.
fn impersonal(row: &[u8], table: &Table, shown: &[&str]) -> Vec<u8> {
    let width = i16::try_from(shown.len()).expect("tables are not so wide");
    let mut impersonal = width.to_be_bytes().to_vec();
    for (field, (name, _)) in fields(row).zip(table.columns) {
        if shown.contains(name) {
            impersonal.extend_from_slice(field);
        }
    }
    impersonal
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
