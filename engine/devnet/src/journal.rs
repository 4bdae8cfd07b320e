//! The state file: an append-only journal from which the ledger is re-executed at start.
//!
//! ```text
//! file   = magic[8] record*
//! record = length u32 LE ‖ checksum[8] ‖ payload[length]
//! ```
//! `checksum` is the beginning of the BLAKE2b-256 of the payload, and the payload is the BCS
//! form of [`Record`]. A process that died in the middle of an append leaves a torn last record,
//! which is cut off at the next start: nothing in it was ever acknowledged. Damage anywhere else
//! is an error, never repaired.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use iota_sdk_types::hash::Hasher;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Genesis;

const MAGIC: &[u8; 8] = b"TGDEVNT1";
const HEADER: usize = 12;
/// Above every transaction that admission lets in.
const MAX_RECORD: usize = 512 * 1024;

/// One fact of the ledger's history.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Record {
    /// Stands first, and only there.
    Genesis(Genesis),
    /// An executed transaction, as BCS of its sender-signed form.
    Transaction(Vec<u8>),
    /// The next `count` transactions became final.
    Checkpoint {
        sequence: u64,
        timestamp_ms: u64,
        count: u32,
        digest: [u8; 32],
    },
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the ledger open.
    #[error("the state file {0} is in use by another process: stop it, or name another file")]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("the state file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This is no state file of the development ledger.
    #[error("{0} is not a state file of the development ledger: name another file")]
    Foreign(PathBuf),
    /// A record inside the file is damaged.
    #[error(
        "the state file {path} is damaged at byte {offset} ({what}): \
         restore it from a copy, or remove it to begin a new ledger"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// An earlier append failed, so that the end of the file is unknown.
    #[error("the state file {0} could not be written before: restart the development ledger")]
    Broken(PathBuf),
}

/// An open, locked state file, or none for a ledger that lives in memory only.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Option<File>,
    path: PathBuf,
    broken: bool,
}

impl Journal {
    pub(crate) fn in_memory() -> Self {
        Self {
            file: None,
            path: PathBuf::new(),
            broken: false,
        }
    }

    /// Opens or creates the file, takes its lock and reads all records.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Record>), JournalError> {
        let failed = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = open_private(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (records, end) = parse(path, &bytes)?;
        if end < bytes.len() {
            tracing::warn!(path = %path.display(), cut = bytes.len() - end, "torn last record");
        }
        let mut journal = Self {
            file: Some(file),
            path: path.to_owned(),
            broken: false,
        };
        journal.prepare(end).map_err(failed)?;
        Ok((journal, records))
    }

    /// Cuts a torn tail off, writes the magic of a new file, and stands at the end.
    fn prepare(&mut self, end: usize) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.set_len(u64::try_from(end).unwrap_or(u64::MAX))?;
        file.seek(SeekFrom::End(0))?;
        if end == 0 {
            file.write_all(MAGIC)?;
        }
        file.sync_all()?;
        if let Some(folder) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Appends a record; it is on the disk when this returns.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken(self.path.clone()));
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let frame = frame(record);
        let written = file.write_all(&frame).and_then(|()| file.sync_data());
        written.map_err(|source| {
            self.broken = true;
            JournalError::Io {
                path: self.path.clone(),
                source,
            }
        })
    }

    /// Lets go of the file and its lock; every later append is refused.
    pub(crate) fn close(&mut self) {
        self.broken = true;
        if let Some(file) = self.file.take() {
            // Said aloud, because a child process in the making may still share the open file.
            let _ = file.unlock();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn frame(record: &Record) -> Vec<u8> {
    let payload = bcs::to_bytes(record).expect("a record can be encoded");
    assert!(
        payload.len() <= MAX_RECORD,
        "admission bounds the size of transactions"
    );
    let length = u32::try_from(payload.len()).expect("MAX_RECORD fits in 32 bits");
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&checksum(&payload));
    frame.extend_from_slice(&payload);
    frame
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let digest = Hasher::digest(payload).into_bytes();
    digest[..8].try_into().expect("a digest has 32 bytes")
}

/// All whole records and the offset where they end.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Record>, usize), JournalError> {
    let head = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(head) {
        return Err(JournalError::Foreign(path.to_owned()));
    }
    if head.len() < MAGIC.len() {
        return Ok((Vec::new(), 0));
    }
    let mut records = Vec::new();
    let mut offset = MAGIC.len();
    while offset < bytes.len() {
        match next(&bytes[offset..]) {
            Ok((record, length)) => {
                records.push(record);
                offset += length;
            }
            Err(Bad::Torn) => break,
            Err(Bad::Damaged(what)) => {
                let offset = u64::try_from(offset).unwrap_or(u64::MAX);
                return Err(JournalError::Damaged {
                    path: path.to_owned(),
                    offset,
                    what,
                });
            }
        }
    }
    Ok((records, offset))
}

enum Bad {
    /// The last record is incomplete.
    Torn,
    Damaged(String),
}

/// The record at the start of `rest`, and its length with header.
fn next(rest: &[u8]) -> Result<(Record, usize), Bad> {
    // Some file systems fill a torn tail with zeros.
    if rest.len() < HEADER || rest.iter().all(|byte| *byte == 0) {
        return Err(Bad::Torn);
    }
    let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_RECORD {
        return Err(Bad::Damaged(format!("a record of {length} bytes")));
    }
    let Some(payload) = rest.get(HEADER..HEADER + length) else {
        return Err(Bad::Torn);
    };
    if checksum(payload) != rest[4..HEADER] {
        let last = rest.len() == HEADER + length;
        return Err(if last {
            Bad::Torn
        } else {
            Bad::Damaged("wrong checksum".to_owned())
        });
    }
    let record = bcs::from_bytes(payload).map_err(|error| Bad::Damaged(error.to_string()))?;
    Ok((record, HEADER + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(sequence: u64) -> Record {
        Record::Checkpoint {
            sequence,
            timestamp_ms: 7,
            count: 1,
            digest: [9; 32],
        }
    }

    fn write(path: &Path, records: &[Record]) {
        let (mut journal, _) = Journal::open(path).unwrap();
        for record in records {
            journal.append(record).unwrap();
        }
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let records = [checkpoint(1), Record::Transaction(vec![1; 1000])];
        write(&path, &records);
        let (_journal, read) = Journal::open(&path).unwrap();
        assert_eq!(read, records);
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_off_and_the_journal_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write(&path, &[checkpoint(1), checkpoint(2)]);
        let whole = std::fs::read(&path).unwrap();
        let second = frame(&checkpoint(2)).len();
        for missing in 1..=second {
            let mut torn = whole[..whole.len() - missing].to_vec();
            torn.resize(torn.len() + missing % 3, 0);
            std::fs::write(&path, &torn).unwrap();
            let (mut journal, read) = Journal::open(&path).unwrap();
            assert_eq!(read, [checkpoint(1)], "{missing} bytes missing");
            journal.append(&checkpoint(3)).unwrap();
            drop(journal);
            let (_journal, read) = Journal::open(&path).unwrap();
            assert_eq!(
                read,
                [checkpoint(1), checkpoint(3)],
                "{missing} bytes missing"
            );
        }
    }

    #[test]
    fn damage_before_the_last_record_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write(&path, &[checkpoint(1), checkpoint(2)]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[MAGIC.len() + HEADER + 3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(
            matches!(error, JournalError::Damaged { offset: 8, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_foreign_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "dear diary").unwrap();
        assert!(matches!(
            Journal::open(&path),
            Err(JournalError::Foreign(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"dear diary");
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut first, _) = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::InUse(_))));
        first.close();
        assert!(first.append(&checkpoint(1)).is_err());
        Journal::open(&path).unwrap();
    }
}
