//! The portable file, written: everybody's events, or those of one login and of the others the
//! leaves.

use super::input::Input;
use super::line::{BatchLine, EventLine, FORMAT, HeadLine, Title, VERSION, WithheldLine};
use super::{FileError, WINDOW};
use crate::audit::history::decoded;
use crate::audit::walk::{Batch, Behind};
use crate::audit::{Archive, Finding};
use crate::event_log::{EventLogError, StoredEvent};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tanglegate_core::{Audience, Event, SubscriberId};
use tanglegate_crypto::Hash;

/// What came of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Events in the file, those that were there before among them.
    pub events: u64,
    /// Of which so many were added now.
    pub added: u64,
}

/// Which events of a log are disclosed.
enum Disclosed {
    All,
    /// Those that are about one subscriber or about nobody.
    Of {
        subscriber: SubscriberId,
        payments: BTreeSet<String>,
        /// Streams of rules that were given to others.
        others: BTreeSet<String>,
    },
}

impl Disclosed {
    fn shows(&self, event: &StoredEvent<'_>) -> bool {
        let Self::Of {
            subscriber,
            payments,
            others,
        } = self
        else {
            return true;
        };
        match event.stream.split_once('/') {
            Some(("subscriber", id)) => id == subscriber.to_string(),
            Some(("payment", _)) => payments.contains(event.stream),
            Some(("rule", _)) => !others.contains(event.stream),
            _ => true,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::All => "everybody".to_owned(),
            Self::Of { subscriber, .. } => subscriber.to_string(),
        }
    }
}

impl Archive {
    /// Writes the log into a file, or continues one. Everything is disclosed, or what is about one
    /// subscriber: of the others' events the file has the leaves. Personal data stays sealed.
    ///
    /// # Errors
    /// When the file exists and is not to be continued, is another one, or cannot be written, or
    /// the log cannot be read.
    pub async fn export(
        &mut self,
        path: &Path,
        subject: Option<SubscriberId>,
        resume: bool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Exported, FileError> {
        let disclosed = self.disclosed(subject).await?;
        let (mut out, before) = Output::open(path, &disclosed, resume)?;
        let last = self.head().await?.size;
        // What stands behind the last event of a file that was cut off may be missing.
        let (mut first, mut skip) = (before.max(1), before > 0);
        while first <= last {
            let end = (first + WINDOW - 1).min(last);
            let mut behind = self.behind(first, end).await?;
            let mut fault = None;
            let each = self.log.read(first, end, |stored, leaf| {
                if fault.is_none() {
                    let here = std::mem::take(&mut skip);
                    let event = if here {
                        Ok(())
                    } else {
                        out.event(&stored, leaf, &disclosed)
                    };
                    let written = event.and_then(|()| out.behind(behind.remove(&stored.position)));
                    fault = written.err();
                }
                Ok(())
            });
            each.await?;
            if let Some(fault) = fault {
                return Err(fault);
            }
            progress(end, last);
            first = end + 1;
        }
        out.finish()?;
        let events = last.max(before);
        Ok(Exported {
            events,
            added: events - before,
        })
    }

    async fn disclosed(&mut self, subject: Option<SubscriberId>) -> Result<Disclosed, FileError> {
        let Some(subscriber) = subject else {
            return Ok(Disclosed::All);
        };
        let ids = "select digest || ':' || index from projection.payment where subscriber = $1";
        let payments: Vec<String> = sqlx::query_scalar(ids)
            .bind(subscriber.to_string())
            .fetch_all(self.log.connection())
            .await
            .map_err(EventLogError::from)?;
        let payments = payments.into_iter().map(|it| format!("payment/{it}"));
        let last = self.last().await?;
        let rules = decoded(self.log.events_of_all("rule/", last).await?)?;
        let of_others = rules.into_iter().filter(|it| match &it.event {
            Event::RuleGiven { rule } => {
                rule.audience != Audience::Everyone
                    && rule.audience != Audience::Subscriber(subscriber)
            }
            _ => false,
        });
        Ok(Disclosed::Of {
            subscriber,
            payments: payments.collect(),
            others: of_others.map(|it| it.row.stream).collect(),
        })
    }
}

/// The file that is written.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    /// Makes the file, or finds the end of the last event in it. Returns how many it has.
    fn open(path: &Path, disclosed: &Disclosed, resume: bool) -> Result<(Self, u64), FileError> {
        let io = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        if !resume {
            let file = match OpenOptions::new().write(true).create_new(true).open(path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    return Err(FileError::Exists(path.to_owned()));
                }
                opened => opened.map_err(io)?,
            };
            let mut out = Self::to(path, file);
            let subject = match disclosed {
                Disclosed::All => None,
                Disclosed::Of { .. } => Some(disclosed.name().into()),
            };
            out.line(&Title {
                format: FORMAT.into(),
                version: VERSION,
                subject,
            })?;
            return Ok((out, 0));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(io)?;
        let (events, length, subject) = Input::of(path, &file).last_event()?;
        let found = subject.unwrap_or_else(|| Disclosed::All.name());
        if found != disclosed.name() {
            return Err(FileError::Other {
                path: path.to_owned(),
                found,
                wanted: disclosed.name(),
            });
        }
        file.set_len(length).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok((Self::to(path, file), events))
    }

    fn to(path: &Path, file: File) -> Self {
        Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 18, file),
        }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), FileError> {
        let written = serde_json::to_writer(&mut self.file, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|source| FileError::Io {
            path: self.path.clone(),
            source,
        })
    }

    fn event(
        &mut self,
        event: &StoredEvent<'_>,
        leaf: Hash,
        disclosed: &Disclosed,
    ) -> Result<(), FileError> {
        if !disclosed.shows(event) {
            return self.line(&WithheldLine {
                position: event.position,
                leaf: hex::encode(leaf).into(),
            });
        }
        if event.leaf() != leaf {
            return Err(Finding::EventChanged(event.position).into());
        }
        self.line(&EventLine {
            position: event.position,
            stream: event.stream.into(),
            version: event.version,
            kind: event.kind.into(),
            schema_version: event.schema_version,
            idempotency_key: event.idempotency_key.map(|it| hex::encode(it).into()),
            recorded_at: event.recorded_at.0,
            correlation: event.correlation.map(|it| hex::encode(it).into()),
            causation: event.causation,
            meta: hex::encode(event.meta).into(),
            body: hex::encode(event.body).into(),
        })
    }

    fn behind(&mut self, behind: Option<Behind>) -> Result<(), FileError> {
        let Some(Behind { batch, note }) = behind else {
            return Ok(());
        };
        if let Some(Batch {
            previous,
            size,
            root,
        }) = batch
        {
            self.line(&BatchLine {
                previous_size: previous,
                size,
                root: hex::encode(root).into(),
            })?;
        }
        match note {
            Some(note) => self.line(&HeadLine { head: note.into() }),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<(), FileError> {
        let path = self.path;
        let written = self
            .file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        written
            .and_then(|it| it.sync_all())
            .map_err(|source| FileError::Io { path, source })
    }
}
