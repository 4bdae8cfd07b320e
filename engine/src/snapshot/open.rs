//! Folding from the newest snapshot on that can be used.

use super::bytes::FormError;
use super::form::{read_payments, read_state};
use super::seal::Sealed;
use super::table::{self, Found, Part};
use crate::projections::{Changes, Fold};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tanglegate_core::{Change, PaymentRow, Position, State};
use tanglegate_crypto::Hash;

/// A snapshot that is not what was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the snapshot after event {position} is not used: {why}. The answer rests on the events \
     instead; `delete from snapshot.taken where position >= {position}`, and a running engine takes \
     it again"
)]
pub struct Refused {
    /// Its place.
    pub position: Position,
    /// What is wrong with it.
    pub why: Fault,
}

/// What is wrong with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its fields fit nothing.
    #[error("its hashes are not those of a tree of so many events")]
    Shape,
    /// The log has another root.
    #[error("its root is not the one that the log has there")]
    Root,
    /// The payments of the snapshots before belong to it.
    #[error("the one that it follows is not there")]
    Previous,
    /// One of its bytes is another.
    #[error("its checksum is not that of what it holds")]
    Checksum,
    /// Its bytes make no sense.
    #[error(transparent)]
    Form(#[from] FormError),
}

/// Whether payments that were applied before are wanted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// All of them.
    Wanted,
    /// None: they change no more.
    Left,
}

/// Where a fold may begin.
pub(crate) struct Opened {
    /// After the newest snapshot that can be used, or at the beginning.
    pub(crate) fold: Fold,
    pub(super) last: Option<Sealed>,
    /// Snapshots that cannot be.
    pub(crate) refused: Vec<Refused>,
}

impl Opened {
    /// Without any snapshot.
    pub(crate) fn at_the_beginning() -> Self {
        Self {
            fold: Fold::default(),
            last: None,
            refused: Vec::new(),
        }
    }
}

/// The newest snapshot up to a position that can be used.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn newest(
    connection: &mut PgConnection,
    up_to: Position,
    applied: Applied,
) -> Result<Opened, sqlx::Error> {
    let mut refused = Vec::new();
    let mut chain = match table::exists(connection).await? {
        true => unbroken(table::up_to(connection, up_to).await?, &mut refused),
        false => Vec::new(),
    };
    // What is wrong in one is found by reading it: then the one before is the newest.
    while let Some(last) = chain.last() {
        match read(connection, last, &chain, applied).await? {
            Ok(fold) => {
                return Ok(Opened {
                    fold,
                    last: chain.pop(),
                    refused,
                });
            }
            Err((at, why)) => {
                let position = chain[at].position;
                refused.push(Refused { position, why });
                chain.truncate(at);
            }
        }
    }
    Ok(Opened {
        refused,
        ..Opened::at_the_beginning()
    })
}

/// The snapshots up to the first that does not follow the one before.
fn unbroken(all: Vec<Found>, refused: &mut Vec<Refused>) -> Vec<Sealed> {
    let mut chain: Vec<Sealed> = Vec::with_capacity(all.len());
    for Found {
        position,
        sealed,
        root,
    } in all
    {
        match fits(sealed, root, chain.last()) {
            Ok(sealed) => chain.push(sealed),
            Err(why) => {
                refused.push(Refused { position, why });
                break;
            }
        }
    }
    chain
}

fn fits(
    sealed: Option<Sealed>,
    root: Option<Hash>,
    previous: Option<&Sealed>,
) -> Result<Sealed, Fault> {
    let sealed = sealed.ok_or(Fault::Shape)?;
    if root != Some(sealed.frontier.root()) {
        return Err(Fault::Root);
    }
    if sealed.previous != previous.map_or(Position(0), |it| it.position) {
        return Err(Fault::Previous);
    }
    if sealed.seal != sealed.made(previous) {
        return Err(Fault::Checksum);
    }
    Ok(sealed)
}

/// Reads the last of some snapshots; or tells which of them cannot be read, and why.
async fn read(
    connection: &mut PgConnection,
    last: &Sealed,
    chain: &[Sealed],
    applied: Applied,
) -> Result<Result<Fold, (usize, Fault)>, sqlx::Error> {
    let state = table::read(connection, last.position, Part::State).await?;
    let (known, rows) = match checked(&state, &last.state).and_then(|it| Ok(read_state(it)?)) {
        Ok((known, _)) if known.position != last.position => {
            return Ok(Err((chain.len() - 1, Fault::Shape)));
        }
        Ok(read) => read,
        Err(fault) => return Ok(Err((chain.len() - 1, fault))),
    };
    let mut payments = Vec::new();
    if applied == Applied::Wanted {
        for (at, each) in chain.iter().enumerate() {
            let bytes = table::read(connection, each.position, Part::Payments).await?;
            let bytes = checked(&bytes, &each.payments);
            if let Err(fault) = bytes.and_then(|it| Ok(read_payments(it, &mut payments)?)) {
                return Ok(Err((at, fault)));
            }
        }
    }
    let state = State::restored(known, rows.iter().cloned());
    let (frontier, changes) = (last.frontier.clone(), restored(rows, payments));
    Ok(Ok(Fold {
        state,
        frontier,
        changes,
    }))
}

fn checked<'a>(bytes: &'a [u8], hash: &Hash) -> Result<&'a [u8], Fault> {
    let found: Hash = Sha256::digest(bytes).into();
    if found == *hash {
        Ok(bytes)
    } else {
        Err(Fault::Checksum)
    }
}

/// What the rows say, and payments that were applied.
fn restored(rows: Vec<Change>, applied: Vec<PaymentRow>) -> Changes {
    let mut changes = Changes::default();
    let mut waiting = Vec::new();
    for row in rows {
        match row {
            Change::Payment(row) => waiting.push(row),
            row => changes.add(row),
        }
    }
    changes.add_payments(waiting, applied);
    changes
}
