//! Appending a batch: one transaction, one commit. A small batch is one statement and one round
//! trip; of a large one the events are copied, which costs the server half as much for each.

use super::error::AppendError;
use super::rows::{Kind, Row, Rows, Table, Write};
use super::{EventLog, StoredEvent, Vault};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Postgres, Transaction};
use std::fmt::Write as _;
use tanglegate_core::{Position, Timestamp};
use tanglegate_crypto::Hash;

/// From how many rows on copying is cheaper than arrays, in spite of its round trips.
const COPIED: usize = 100;

static EVENT: Table = Table {
    name: "event_log.event",
    columns: &[
        ("position", Kind::BigInt),
        ("stream", Kind::Text),
        ("version", Kind::BigInt),
        ("kind", Kind::Text),
        ("schema_version", Kind::SmallInt),
        ("idempotency_key", Kind::Bytes),
        ("recorded_at", Kind::Instant),
        ("correlation", Kind::Uuid),
        ("causation", Kind::BigInt),
        ("meta", Kind::Bytes),
        ("body", Kind::Bytes),
        ("leaf", Kind::Bytes),
    ],
    write: Write::Insert,
    secret: false,
};

static SUBJECT_KEY: Table = Table {
    name: "vault.subject_key",
    columns: &[
        ("subject", Kind::Bytes),
        ("purpose", Kind::Text),
        ("key", Kind::Bytes),
        ("owner", Kind::Bytes),
    ],
    write: Write::Insert,
    secret: true,
};

/// Keys of people who are forgotten.
static ERASED: Table = Table {
    name: "vault.subject_key",
    columns: &[("subject", Kind::Bytes)],
    write: Write::Delete,
    secret: false,
};

/// Keys of what is about them.
static ERASED_OWNER: Table = Table {
    name: "vault.subject_key",
    columns: &[("owner", Kind::Bytes)],
    write: Write::Delete,
    secret: false,
};

/// Events that are about to be appended.
pub(crate) struct NewEvents(Rows);

impl Default for NewEvents {
    fn default() -> Self {
        Self(Rows::new(&EVENT))
    }
}

impl NewEvents {
    /// Adds one behind the others.
    pub(crate) fn add(&mut self, event: &StoredEvent<'_>, leaf: &Hash) {
        let mut row = self.0.row();
        row.big(event.position);
        row.text(event.stream);
        row.big(event.version);
        row.text(event.kind);
        row.small(event.schema_version);
        row.optional(event.idempotency_key, Row::bytes);
        row.instant(event.recorded_at);
        row.optional(event.correlation.as_ref(), |row, it| row.bytes(it));
        row.optional(event.causation, Row::big);
        row.bytes(event.meta);
        row.bytes(event.body);
        row.bytes(leaf);
    }
}

/// Everything that one commit makes true.
pub(crate) struct NewBatch<'a> {
    /// The position after which it goes.
    pub(crate) previous: Position,
    /// The root of the tree with these events.
    pub(crate) root: Hash,
    /// Which engine writes.
    pub(crate) node: &'a str,
    /// The time of all of its events.
    pub(crate) recorded_at: Timestamp,
    /// The events.
    pub(crate) events: NewEvents,
    /// Keys that the events' personal data is sealed under, and keys that the events destroy.
    pub(crate) keys: NewKeys,
    /// The projection rows that the events change.
    pub(crate) changes: Vec<Rows>,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("positions and instants stay far below 2⁶³")
}

/// Keys that are about to be kept, and keys that are about to be destroyed.
pub(crate) struct NewKeys {
    fresh: Rows,
    erased: [Rows; 2],
}

impl NewKeys {
    /// Those that the vault has made and given up since the last time.
    pub(crate) fn take(vault: &mut Vault) -> Self {
        let mut erased = [Rows::new(&ERASED), Rows::new(&ERASED_OWNER)];
        for person in vault.take_erased() {
            for rows in &mut erased {
                rows.row().bytes(&person.0);
            }
        }
        let mut rows = Rows::new(&SUBJECT_KEY);
        for fresh in vault.take_fresh() {
            let mut row = rows.row();
            row.bytes(&fresh.subject);
            row.text(fresh.purpose);
            row.bytes(fresh.key.expose());
            row.optional(fresh.owner, |row, it| row.bytes(&it.0));
        }
        Self {
            fresh: rows,
            erased,
        }
    }
}

impl EventLog {
    /// Appends a batch with its projection rows in one transaction.
    pub(crate) async fn append(&mut self, batch: NewBatch<'_>) -> Result<(), AppendError> {
        let (head, copied, rows) = batch.sorted();
        if copied.is_empty() {
            return Ok(head.announce(self.connection(), &rows).await?);
        }
        let mut appending = self.begin().await?;
        appending.write(head, copied, &rows).await?;
        appending.commit().await
    }

    /// Begins a transaction that appends several batches.
    pub(crate) async fn begin(&mut self) -> Result<Appending<'_>, AppendError> {
        Ok(Appending(self.connection().begin().await?))
    }
}

/// A transaction that appends. Dropped, it has appended nothing.
pub(crate) struct Appending<'a>(Transaction<'a, Postgres>);

impl Appending<'_> {
    /// Appends the next batch.
    pub(crate) async fn append(&mut self, batch: NewBatch<'_>) -> Result<(), AppendError> {
        let (head, copied, rows) = batch.sorted();
        self.write(head, copied, &rows).await
    }

    async fn write(
        &mut self,
        head: Announced<'_>,
        copied: Vec<Rows>,
        rows: &[Rows],
    ) -> Result<(), AppendError> {
        head.announce(&mut self.0, rows).await?;
        for rows in copied {
            copy(&mut self.0, rows).await?;
        }
        Ok(())
    }

    /// Makes everything that was appended true.
    pub(crate) async fn commit(self) -> Result<(), AppendError> {
        Ok(self.0.commit().await?)
    }
}

impl<'a> NewBatch<'a> {
    /// The batch's own row, the rows that are many and new, and the others.
    fn sorted(self) -> (Announced<'a>, Vec<Rows>, Vec<Rows>) {
        let Self {
            previous,
            root,
            node,
            recorded_at,
            events,
            keys,
            changes,
        } = self;
        let head = Announced {
            previous,
            size: events.0.count(),
            root,
            node,
            recorded_at,
        };
        let NewKeys { fresh, erased } = keys;
        let tables = changes.into_iter().chain(erased).chain([fresh, events.0]);
        let (copied, rows) = tables
            .filter(|it| it.count() > 0)
            .partition(|it| it.is_new() && it.count() >= COPIED);
        (head, copied, rows)
    }
}

/// Copies rows into their table.
async fn copy(connection: &mut PgConnection, rows: Rows) -> Result<(), sqlx::Error> {
    let table = rows.table().name;
    copy_into(connection, table, rows).await
}

/// Copies rows into a table with the columns of theirs.
pub(crate) async fn copy_into(
    connection: &mut PgConnection,
    table: &str,
    rows: Rows,
) -> Result<(), sqlx::Error> {
    let mut copying = connection.copy_in_raw(&rows.copy_statement(table)).await?;
    copying.send(rows.into_copy()).await?;
    copying.finish().await?;
    Ok(())
}

/// The batch's own row.
struct Announced<'a> {
    previous: Position,
    size: usize,
    root: Hash,
    node: &'a str,
    recorded_at: Timestamp,
}

impl Announced<'_> {
    /// Writes the batch's row and then `rows`, in one statement. Every row comes from a join with
    /// the batch's, so that a writer who was too slow hears that and no other refusal.
    async fn announce(
        &self,
        connection: &mut PgConnection,
        rows: &[Rows],
    ) -> Result<(), sqlx::Error> {
        let mut statement = String::from(
            "with batch as (insert into event_log.batch \
             (previous_size, size, root, node, committed_at) \
             values ($1, $2, $3, $4, timestamptz 'epoch' + $5 * interval '1 millisecond') \
             returning size)",
        );
        let (mut parameters, mut next) = (Vec::new(), 6);
        for (number, rows) in rows.iter().enumerate() {
            let expression = rows.expression(next);
            write!(statement, ", rows_{number} as ({expression})").expect("a text takes all");
            parameters.extend(rows.parameters());
            next = 6 + parameters.len();
        }
        statement.push_str(" select from batch");
        let size = self.previous.0 + self.size as u64;
        let query = sqlx::query(AssertSqlSafe(statement))
            .bind(signed(self.previous.0))
            .bind(signed(size))
            .bind(self.root.as_slice())
            .bind(self.node)
            .bind(signed(self.recorded_at.0));
        parameters
            .into_iter()
            .fold(query, |query, it| query.bind(it))
            .execute(connection)
            .await?;
        Ok(())
    }
}
