//! Reading the log from some position to its end: decoded, and checked against its hash tree.

use super::{EventLog, EventLogError, StoredEvent, Vault, copy, decode};
use futures_util::TryStreamExt;
use tanglegate_core::{Event, Position, Recorded};
use tanglegate_crypto::{Frontier, Hash};

/// An event as replay gives it out.
#[derive(Debug)]
pub struct Replayed<'a> {
    /// The row.
    pub stored: StoredEvent<'a>,
    /// What it says.
    pub event: Event,
}

impl Replayed<'_> {
    /// The event with its place and time.
    #[must_use]
    pub fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: Position(self.stored.position),
            recorded_at: self.stored.recorded_at,
            event: &self.event,
        }
    }
}

/// What a replay went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Events.
    pub events: u64,
    /// Bytes of their rows as the database sent them.
    pub bytes: u64,
}

impl EventLog {
    /// Reads every event after the frontier, grows the frontier over them and compares its root
    /// with the recorded one. Constant memory; neither clock nor network but the database.
    ///
    /// # Errors
    /// When the database fails, an event does not read, or the log is not what was hashed.
    pub async fn replay(
        &mut self,
        frontier: &mut Frontier,
        vault: &Vault,
        mut each: impl FnMut(Replayed<'_>),
    ) -> Result<Tally, EventLogError> {
        let head = self.head().await?;
        let first = frontier.size() + 1;
        let tally = self
            .read(first, head.size, |stored, leaf| {
                let position = stored.position;
                if position != frontier.size() + 1 {
                    return Err(EventLogError::Gap {
                        after: frontier.size(),
                        found: position,
                    });
                }
                if stored.leaf() != leaf {
                    return Err(EventLogError::LeafDiffers { position });
                }
                frontier.push(leaf);
                let event = decode(stored.kind, stored.schema_version, stored.body, vault)
                    .map_err(|source| EventLogError::Body { position, source })?;
                each(Replayed { stored, event });
                Ok(())
            })
            .await?;
        if frontier.size() != head.size || frontier.root() != head.root {
            return Err(EventLogError::RootDiffers { size: head.size });
        }
        Ok(tally)
    }

    /// Reads the rows of some positions as they are, unchecked.
    ///
    /// # Errors
    /// When the database fails or `each` does.
    pub async fn read(
        &mut self,
        first: u64,
        last: u64,
        mut each: impl FnMut(StoredEvent<'_>, Hash) -> Result<(), EventLogError>,
    ) -> Result<Tally, EventLogError> {
        let mut tally = Tally::default();
        if last < first {
            return Ok(tally);
        }
        let statement = format!(
            "copy (select {} from event_log.event where position between {first} and {last} \
             order by position) to stdout (format binary)",
            copy::COLUMNS
        );
        let mut messages = self.connection().copy_out_raw(&statement).await?;
        while let Some(message) = messages.try_next().await? {
            tally.bytes += message.len() as u64;
            copy::each_row(&message, |stored, leaf| {
                tally.events += 1;
                each(stored, leaf)
            })?;
        }
        Ok(tally)
    }
}
