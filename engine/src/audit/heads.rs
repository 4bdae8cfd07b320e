//! The tree heads that are kept beside the log, and the key that they prove.

use super::Archive;
use super::history::decoded;
use crate::event_log::EventLogError;
use serde::Serialize;
use tanglegate_core::{Event, Position, Stream, Timestamp};
use tanglegate_crypto::{HeadVerifier, SignedHead};

/// A head as it is kept beside the log, unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptHead {
    /// Its number of events.
    pub size: u64,
    /// When it was signed.
    pub signed_at: String,
    /// Its root in hexadecimal; `None` when it cannot be read.
    pub root: Option<String>,
    /// The signed note.
    pub note: String,
}

impl Archive {
    /// The newest `most` heads, newest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn heads(&mut self, most: u32) -> Result<Vec<KeptHead>, EventLogError> {
        let query = "select size, (extract(epoch from signed_at) * 1000)::bigint, note \
             from event_log.tree_head order by size desc limit $1";
        let rows: Vec<(i64, i64, String)> = sqlx::query_as(query)
            .bind(i64::from(most))
            .fetch_all(self.log.connection())
            .await?;
        let kept = |(size, at, note): (i64, i64, String)| KeptHead {
            size: size.unsigned_abs(),
            signed_at: Timestamp(at.unsigned_abs()).to_string(),
            root: SignedHead::parse(&note)
                .ok()
                .map(|it| hex::encode(it.head.root)),
            note,
        };
        Ok(rows.into_iter().map(kept).collect())
    }

    /// The public key that signs tree heads now: the last one that the log names and the first head
    /// behind its adoption proves, with its own signature and that of the key before. An event
    /// alone proves nothing: whoever can write into the database can append one.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn head_key(&mut self) -> Result<Option<HeadVerifier>, EventLogError> {
        let (all, log) = (Position(u64::MAX), [Stream::Log]);
        let rows = self.log.events_of(&log, all).await?;
        let mut proved: Option<HeadVerifier> = None;
        for entry in decoded(rows)? {
            let Event::HeadKeyAdopted { key } = entry.event else {
                continue;
            };
            let Ok(key) = key.0.parse::<HeadVerifier>() else {
                continue;
            };
            let head = self.first_head(entry.row.position).await?;
            let signed = |by: &HeadVerifier| head.as_ref().is_some_and(|it| it.verify(by).is_ok());
            if signed(&key) && proved.as_ref().is_none_or(signed) {
                proved = Some(key);
            }
        }
        Ok(proved)
    }

    /// The first head over an event; `None` when there is none, or it cannot be read.
    async fn first_head(&mut self, position: u64) -> Result<Option<SignedHead>, EventLogError> {
        let query = "select note from event_log.tree_head where size >= $1 order by size limit 1";
        let note: Option<String> = sqlx::query_scalar(query)
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .fetch_optional(self.log.connection())
            .await?;
        Ok(note.and_then(|it| SignedHead::parse(&it).ok()))
    }
}
