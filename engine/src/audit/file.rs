//! The portable file: a log as lines of JSON that anybody can read and check without us
//! (`docs/AUDIT.md`, "The file").

use super::Archive;
use super::anchors::{Anchors, KeptAnchor};
use super::history::decoded;
use super::verify::{Finding, Verifier, Whole};
use super::walk::{Batch, Behind, check};
use crate::event_log::{EventLogError, StoredEvent, Vault, decode};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tanglegate_core::{Audience, Event, SubscriberId, Timestamp};
use tanglegate_crypto::Hash;

/// What the first line says.
const FORMAT: &str = "tanglegate-log";
/// Version of the format.
const VERSION: u32 = 1;
/// Events that are read at a time.
const WINDOW: u64 = 50_000;
/// Longest line that is read: bodies have a few hundred bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// A file that cannot be written, or is not one.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system says no.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It exists, and nobody said that it is to be continued.
    #[error("{0} exists: name another file, or continue it with --resume")]
    Exists(PathBuf),
    /// A line is not what it should be.
    #[error("line {line} of {path} is not one of a log: {what}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// It is another file than the one that is to be continued.
    #[error("{path} was exported for {found}, and is continued for {wanted}")]
    Other {
        /// Which file.
        path: PathBuf,
        /// Whose events it discloses.
        found: String,
        /// Whose were asked for.
        wanted: String,
    },
    /// What it says does not fit together.
    #[error(transparent)]
    Finding(#[from] Finding),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] EventLogError),
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Title<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    version: u32,
    /// Whose events are disclosed; absent: everybody's.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    subject: Option<Cow<'a, str>>,
}

/// Any other line: an event, the leaf of one that is withheld, a commit, or a head.
enum Line<'a> {
    Event(EventLine<'a>),
    Withheld(WithheldLine<'a>),
    Batch(BatchLine<'a>),
    Head(HeadLine<'a>),
}

impl<'a> Line<'a> {
    /// Each kind has fields of its own, so that a line is of one kind at most.
    fn parse(line: &'a str) -> Option<Self> {
        let event = serde_json::from_str(line).map(Self::Event);
        let other = || serde_json::from_str(line).map(Self::Withheld);
        let batch = || serde_json::from_str(line).map(Self::Batch);
        let head = || serde_json::from_str(line).map(Self::Head);
        let parsed = event.or_else(|_| other()).or_else(|_| batch());
        parsed.or_else(|_| head()).ok()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine<'a> {
    position: u64,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    version: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    schema_version: i16,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    idempotency_key: Option<Cow<'a, str>>,
    recorded_at: u64,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    correlation: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    causation: Option<u64>,
    #[serde(borrow)]
    meta: Cow<'a, str>,
    #[serde(borrow)]
    body: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WithheldLine<'a> {
    position: u64,
    #[serde(borrow)]
    leaf: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchLine<'a> {
    previous_size: u64,
    size: u64,
    #[serde(borrow)]
    root: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadLine<'a> {
    #[serde(borrow)]
    head: Cow<'a, str>,
}

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

/// The anchors that a file names, unchecked. What cannot be read is left to [`verify_file`].
///
/// # Errors
/// When the file cannot be read.
pub fn anchors_of_file(path: &Path) -> Result<Vec<KeptAnchor>, FileError> {
    let file = File::open(path).map_err(|source| FileError::Io {
        path: path.to_owned(),
        source,
    })?;
    let (mut input, mut anchors) = (Input::of(path, &file), Anchors::default());
    input.title()?;
    while let Some(line) = input.next()? {
        let Some(Line::Event(event)) = Line::parse(&line) else {
            continue;
        };
        if let Ok(owned) = Owned::of(&event) {
            let row = owned.stored(&event);
            let read = decode(row.kind, row.schema_version, row.body, &Vault::default());
            if let Ok(event) = read {
                anchors.add(row.position, row.recorded_at, &event);
            }
        }
    }
    Ok(anchors.kept)
}

/// Checks a file, offline.
///
/// # Errors
/// With the first thing that does not fit, or when it cannot be read.
pub fn verify_file(
    path: &Path,
    mut verifier: Verifier,
    mut progress: impl FnMut(u64),
) -> Result<Whole, FileError> {
    let file = File::open(path).map_err(|source| FileError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut input = Input::of(path, &file);
    let subject = input.title()?;
    while let Some(line) = input.next()? {
        let read = Line::parse(&line).ok_or_else(|| {
            input.wrong("it is neither an event nor a leaf, a commit or a tree head")
        })?;
        match read {
            Line::Event(event) => {
                let owned = Owned::of(&event).map_err(|it| input.wrong(it))?;
                verifier.event(&owned.stored(&event), None)?;
                if verifier.size().is_multiple_of(WINDOW) {
                    progress(verifier.size());
                }
            }
            // It could be a change of keys.
            Line::Withheld(it) if subject.is_none() => {
                return Err(Finding::Withheld(it.position).into());
            }
            Line::Withheld(it) => {
                let leaf = hash(&it.leaf).ok_or_else(|| input.wrong("its leaf is no hash"))?;
                verifier.withheld(it.position, leaf)?;
            }
            Line::Batch(it) => {
                let root = hash(&it.root).ok_or_else(|| input.wrong("its root is no hash"))?;
                let batch = Some(Batch {
                    previous: it.previous_size,
                    size: it.size,
                    root,
                });
                check(&mut verifier, Some(Behind { batch, note: None }))?;
            }
            Line::Head(it) => verifier.head(verifier.size(), &it.head)?,
        }
    }
    let (events, announced) = (verifier.size(), verifier.announced());
    if events != announced {
        return Err(Finding::Length { events, announced }.into());
    }
    Ok(verifier.finish()?)
}

/// The file that is read, line by line.
struct Input<'a> {
    path: &'a Path,
    file: BufReader<&'a File>,
    number: u64,
}

impl<'a> Input<'a> {
    fn of(path: &'a Path, file: &'a File) -> Self {
        Self {
            path,
            file: BufReader::with_capacity(1 << 18, file),
            number: 0,
        }
    }

    /// The next line without its end; `None` at the end of the file. A line that was cut off is
    /// one that is wrong.
    fn next(&mut self) -> Result<Option<String>, FileError> {
        use std::io::Read;
        // Bytes: what was cut off may end within a character.
        let mut line = Vec::new();
        let mut limited = self.file.by_ref().take(LONGEST_LINE);
        let read = limited.read_until(b'\n', &mut line);
        read.map_err(|source| FileError::Io {
            path: self.path.to_owned(),
            source,
        })?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if line.pop() != Some(b'\n') {
            return Err(self.wrong("it is cut off: continue the export with --resume"));
        }
        let text = String::from_utf8(line).map_err(|_| self.wrong("it is not UTF-8"))?;
        Ok(Some(text))
    }

    fn wrong(&self, what: impl Into<String>) -> FileError {
        FileError::Line {
            path: self.path.to_owned(),
            line: self.number,
            what: what.into(),
        }
    }

    /// The first line: whose events are disclosed.
    fn title(&mut self) -> Result<Option<String>, FileError> {
        let line = self.next()?.unwrap_or_default();
        self.number = 1;
        let title: Title<'_> = serde_json::from_str(&line)
            .map_err(|_| self.wrong("it is not the title of an exported log"))?;
        if title.format != FORMAT || title.version != VERSION {
            let (format, version) = (&title.format, title.version);
            return Err(self.wrong(format!(
                "it is of format {format} {version}, and this program reads {FORMAT} {VERSION}"
            )));
        }
        Ok(title.subject.map(Cow::into_owned))
    }

    /// How many events the file has, where the line of the last one ends, and whose are disclosed.
    fn last_event(&mut self) -> Result<(u64, u64, Option<String>), FileError> {
        #[derive(Deserialize)]
        struct Position {
            position: Option<u64>,
        }
        let subject = self.title()?;
        let mut at = self.file.stream_position().unwrap_or_default();
        let (mut events, mut length) = (0, at);
        loop {
            let line = match self.next() {
                Ok(Some(line)) => line,
                // The one that was cut off.
                Ok(None) | Err(FileError::Line { .. }) => return Ok((events, length, subject)),
                Err(error) => return Err(error),
            };
            at += line.len() as u64 + 1;
            let read: Result<Position, _> = serde_json::from_str(&line);
            match read
                .map_err(|_| self.wrong("it is no JSON object"))?
                .position
            {
                Some(position) if position == events + 1 => (events, length) = (position, at),
                Some(found) => {
                    return Err(Finding::EventMissing {
                        after: events,
                        found,
                    }
                    .into());
                }
                None => {}
            }
        }
    }
}

/// The bytes of an event's line.
struct Owned {
    idempotency_key: Option<Vec<u8>>,
    correlation: Option<[u8; 16]>,
    meta: Vec<u8>,
    body: Vec<u8>,
}

impl Owned {
    fn of(line: &EventLine<'_>) -> Result<Self, &'static str> {
        let short = "its stream, kind or key is longer than any in a log";
        let key = line.idempotency_key.as_deref().map(hex::decode).transpose();
        let key = key.map_err(|_| "its idempotency key is not hexadecimal")?;
        let key_length = key.as_ref().map_or(0, Vec::len);
        if line.stream.len() > 255 || line.kind.len() > 63 || key_length > 64 {
            return Err(short);
        }
        let mut correlation = None;
        if let Some(text) = &line.correlation {
            let mut bytes = [0; 16];
            hex::decode_to_slice(text.as_bytes(), &mut bytes)
                .map_err(|_| "its correlation is not 16 bytes in hexadecimal")?;
            correlation = Some(bytes);
        }
        Ok(Self {
            idempotency_key: key,
            correlation,
            meta: hex::decode(line.meta.as_bytes()).map_err(|_| "its meta is not hexadecimal")?,
            body: hex::decode(line.body.as_bytes()).map_err(|_| "its body is not hexadecimal")?,
        })
    }

    fn stored<'a>(&'a self, line: &'a EventLine<'_>) -> StoredEvent<'a> {
        StoredEvent {
            position: line.position,
            stream: &line.stream,
            version: line.version,
            kind: &line.kind,
            schema_version: line.schema_version,
            idempotency_key: self.idempotency_key.as_deref(),
            recorded_at: Timestamp(line.recorded_at),
            correlation: self.correlation,
            causation: line.causation,
            meta: &self.meta,
            body: &self.body,
        }
    }
}

fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}
