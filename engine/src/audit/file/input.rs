//! The portable file, read line by line.

use super::FileError;
use super::line::{FORMAT, Title, VERSION};
use crate::audit::Finding;
use serde::Deserialize;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

/// Longest line that is read: bodies have a few hundred bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// The file that is read, line by line.
pub(super) struct Input<'a> {
    pub(super) path: &'a Path,
    pub(super) file: BufReader<&'a File>,
    pub(super) number: u64,
}

impl<'a> Input<'a> {
    pub(super) fn of(path: &'a Path, file: &'a File) -> Self {
        Self {
            path,
            file: BufReader::with_capacity(1 << 18, file),
            number: 0,
        }
    }

    /// The next line without its end; `None` at the end of the file. A line that was cut off is
    /// one that is wrong.
    pub(super) fn next(&mut self) -> Result<Option<String>, FileError> {
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

    pub(super) fn wrong(&self, what: impl Into<String>) -> FileError {
        FileError::Line {
            path: self.path.to_owned(),
            line: self.number,
            what: what.into(),
        }
    }

    /// The first line: whose events are disclosed.
    pub(super) fn title(&mut self) -> Result<Option<String>, FileError> {
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
    pub(super) fn last_event(&mut self) -> Result<(u64, u64, Option<String>), FileError> {
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
