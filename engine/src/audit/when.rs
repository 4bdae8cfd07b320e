//! A past moment: a position in the log, or an instant.

use super::Archive;
use crate::event_log::EventLogError;
use std::str::FromStr;
use tanglegate_core::{Position, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A text that names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is neither a position in the log (a number, for example 4711), nor an instant (for \
     example 2025-11-22T14:05:00Z), nor 'now'"
)]
pub struct WhenError(String);

/// When something is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At the end of the log, and at this instant by the asking machine's clock.
    Now,
    /// Right after this event was recorded.
    Position(Position),
    /// At this instant, by the log's clock.
    Instant(Timestamp),
}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        if text == "now" {
            return Ok(Self::Now);
        }
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(Position(position)));
        }
        let instant = instant(text).map(Self::Instant);
        instant.ok_or_else(|| WhenError(text.chars().take(64).collect()))
    }
}

/// RFC 3339, of 1970 or later.
fn instant(text: &str) -> Option<Timestamp> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let millis = parsed.unix_timestamp_nanos().div_euclid(1_000_000);
    u64::try_from(millis).ok().map(Timestamp)
}

/// The moment as the log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The last event that had been recorded.
    pub position: Position,
    /// The instant at which rights are looked at.
    pub at: Timestamp,
}

impl Archive {
    /// The moment, in this log. A position beyond the end is the end.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn moment(&mut self, when: When, now: Timestamp) -> Result<Moment, EventLogError> {
        let last = self.last().await?;
        Ok(match when {
            When::Now => Moment {
                position: last,
                at: now,
            },
            When::Instant(at) => Moment {
                position: self.log.position_at(at).await?,
                at,
            },
            When::Position(position) => {
                let position = position.min(last);
                let at = self.log.recorded_at(position).await?;
                Moment {
                    position,
                    at: at.unwrap_or(Timestamp(0)),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_positions_and_instants() {
        let at = |millis| Ok(When::Instant(Timestamp(millis)));
        assert_eq!("now".parse(), Ok(When::Now));
        assert_eq!("4711".parse(), Ok(When::Position(Position(4711))));
        assert_eq!("2025-11-22T14:05:00Z".parse(), at(1_763_820_300_000));
        assert_eq!("2025-11-22T14:05:00.25Z".parse(), at(1_763_820_300_250));
        assert_eq!("2025-11-22T15:05:00+01:00".parse(), at(1_763_820_300_000));
        for wrong in ["", "yesterday", "-1", "2025-11-22", "1969-12-31T23:59:59Z"] {
            let error = wrong.parse::<When>().expect_err(wrong).to_string();
            assert!(error.contains(&format!("'{wrong}'")), "{error}");
        }
    }
}
