//! Snapshots as they are kept in schema `snapshot`.

use super::form::VERSION;
use super::seal::Sealed;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use tanglegate_core::Position;
use tanglegate_crypto::{Frontier, Hash};

/// Bytes of one piece: small enough that the commit which writes it holds nobody up.
const PIECE: usize = 1 << 20;

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Payments,
    State,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Payments => "payments",
            Self::State => "state",
        }
    }
}

/// A snapshot as it stands in the table; `None` where that could not be one.
pub(super) struct Found {
    pub(super) position: Position,
    pub(super) sealed: Option<Sealed>,
    /// The root that the log itself has there; `None` where no commit ends.
    pub(super) root: Option<Hash>,
}

/// True when the database keeps snapshots: an older engine made no such schema.
pub(super) async fn exists(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass('snapshot.taken') is not null")
        .fetch_one(connection)
        .await
}

/// Every snapshot of this version up to a position, the oldest first.
pub(super) async fn up_to(
    connection: &mut PgConnection,
    position: Position,
) -> Result<Vec<Found>, sqlx::Error> {
    let query = "select position, previous, frontier, payments_sha256, state_sha256, seal, root \
         from snapshot.taken left join event_log.batch on size = position \
         where version = $1 and position <= $2 order by position";
    let rows = sqlx::query(query).bind(VERSION).bind(signed(position));
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(found).collect()
}

fn found(row: &PgRow) -> Result<Found, sqlx::Error> {
    let number = |it| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(it)?.unsigned_abs());
    let hash = |it| Ok::<Option<Hash>, sqlx::Error>(row.try_get::<Vec<u8>, _>(it)?.try_into().ok());
    let (position, previous) = (number("position")?, number("previous")?);
    let hashes: Vec<u8> = row.try_get("frontier")?;
    let (hashes, rest) = hashes.as_chunks::<32>();
    let frontier = Frontier::from_parts(position, hashes.to_vec()).ok();
    let frontier = frontier.filter(|_| rest.is_empty());
    let parts = (
        hash("payments_sha256")?,
        hash("state_sha256")?,
        hash("seal")?,
    );
    let sealed = match (frontier, parts) {
        (Some(frontier), (Some(payments), Some(state), Some(seal))) => Some(Sealed {
            position: Position(position),
            previous: Position(previous),
            frontier,
            payments,
            state,
            seal,
        }),
        _ => None,
    };
    let root: Option<Vec<u8>> = row.try_get("root")?;
    Ok(Found {
        position: Position(position),
        sealed,
        root: root.and_then(|it| it.try_into().ok()),
    })
}

/// What a snapshot holds, put together again.
pub(super) async fn read(
    connection: &mut PgConnection,
    position: Position,
    part: Part,
) -> Result<Vec<u8>, sqlx::Error> {
    let query = "select bytes from snapshot.part \
         where version = $1 and position = $2 and holds = $3 order by number";
    let mut pieces = sqlx::query(query)
        .bind(VERSION)
        .bind(signed(position))
        .bind(part.name())
        .fetch(connection);
    let mut bytes = Vec::new();
    while let Some(row) = pieces.try_next().await? {
        bytes.extend_from_slice(row.try_get::<&[u8], _>(0)?);
    }
    Ok(bytes)
}

/// Removes what came of a snapshot that was never finished, and every one behind `last`.
pub(super) async fn clear(
    connection: &mut PgConnection,
    last: Position,
) -> Result<(), sqlx::Error> {
    for statement in [
        "delete from snapshot.taken where version = $1 and position > $2",
        "delete from snapshot.part where version = $1 and position > $2",
    ] {
        sqlx::query(statement)
            .bind(VERSION)
            .bind(signed(last))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Keeps one piece by piece: it counts only from its last statement on. With the first one those
/// of other versions go.
pub(super) async fn keep(
    connection: &mut PgConnection,
    sealed: &Sealed,
    payments: &[u8],
    state: &[u8],
) -> Result<(), sqlx::Error> {
    for (part, bytes) in [(Part::Payments, payments), (Part::State, state)] {
        for (number, piece) in (0_i32..).zip(bytes.chunks(PIECE)) {
            sqlx::query("insert into snapshot.part values ($1, $2, $3, $4, $5)")
                .bind(VERSION)
                .bind(signed(sealed.position))
                .bind(part.name())
                .bind(number)
                .bind(piece)
                .execute(&mut *connection)
                .await?;
        }
    }
    let mut transaction = connection.begin().await?;
    let insert = "insert into snapshot.taken (version, position, previous, frontier, \
         payments_sha256, state_sha256, seal) values ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(insert)
        .bind(VERSION)
        .bind(signed(sealed.position))
        .bind(signed(sealed.previous))
        .bind(sealed.frontier.subtrees().concat())
        .bind(sealed.payments.as_slice())
        .bind(sealed.state.as_slice())
        .bind(sealed.seal.as_slice())
        .execute(&mut *transaction)
        .await?;
    for statement in [
        "delete from snapshot.taken where version <> $1",
        "delete from snapshot.part where version <> $1",
    ] {
        sqlx::query(statement)
            .bind(VERSION)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

fn signed(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}
