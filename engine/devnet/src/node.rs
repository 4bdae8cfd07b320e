//! The ledger with its journal behind one lock: what is answered is on the disk first.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use iota_sdk_types::{Address, SenderSignedTransaction, SignedTransaction, TransactionDigest};

use crate::admission::{self, Refusal};
use crate::checkpoint::Genesis;
use crate::faucet;
use crate::faults::Faults;
use crate::journal::{Journal, JournalError, Record};
use crate::ledger::Ledger;

/// Why the node could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The transaction was not let in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state file failed; nothing was acknowledged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state file holds a history that does not run.
    #[error(
        "record {index} of the state file cannot be replayed ({reason}): it was written by \
         another version; remove the file to begin a new ledger"
    )]
    Replay {
        /// Place of the record, from 0.
        index: usize,
        /// What went wrong.
        reason: String,
    },
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    journal: Journal,
}

/// One node with its ledger.
#[derive(Debug)]
pub(crate) struct Node {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    calls: AtomicU64,
}

impl Node {
    /// Opens the ledger of `path`, or begins a new one there or in memory. `genesis` is used
    /// for a new one only.
    pub(crate) fn open(path: Option<&Path>, genesis: Genesis) -> Result<Self, NodeError> {
        let (mut journal, records) = match path {
            None => (Journal::in_memory(), Vec::new()),
            Some(path) => Journal::open(path)?,
        };
        let ledger = match records.split_first() {
            None => {
                journal.append(&Record::Genesis(genesis.clone()))?;
                Ledger::new(genesis)
            }
            Some((Record::Genesis(genesis), history)) => replay(genesis.clone(), history)?,
            Some(_) => {
                let reason = "the history does not begin with genesis".to_owned();
                return Err(NodeError::Replay { index: 0, reason });
            }
        };
        let state = Mutex::new(State { ledger, journal });
        Ok(Self {
            state,
            faults: Mutex::default(),
            calls: AtomicU64::new(0),
        })
    }

    /// Reads from the ledger. `read` must be short: everybody else waits.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.state().ledger)
    }

    /// Executes a signed transaction, or finds that it was executed before.
    pub(crate) fn execute(
        &self,
        signed: SignedTransaction,
    ) -> Result<TransactionDigest, NodeError> {
        self.state().execute(signed)
    }

    /// Sends `amount` NANOS from the faucet's account to `recipient`.
    pub(crate) fn grant(
        &self,
        recipient: Address,
        amount: u64,
    ) -> Result<TransactionDigest, NodeError> {
        let mut state = self.state();
        let signed = faucet::payment(&state.ledger, recipient, amount)?;
        state.execute(signed)
    }

    /// Makes what waits final, as of `now_ms`, and returns the checkpoint's number.
    pub(crate) fn checkpoint(&self, now_ms: u64) -> Result<Option<u64>, NodeError> {
        let mut state = self.state();
        let Some(checkpoint) = state.ledger.next_checkpoint(now_ms) else {
            return Ok(None);
        };
        let sequence = checkpoint.sequence();
        state.journal.append(&Record::Checkpoint {
            sequence,
            timestamp_ms: checkpoint.summary.timestamp_ms,
            count: u32::try_from(checkpoint.transactions.len()).expect("a checkpoint is bounded"),
            digest: *checkpoint.digest.bytes(),
        })?;
        state.ledger.seal(checkpoint);
        Ok(Some(sequence))
    }

    /// Notes that a call came in.
    pub(crate) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls came in, faults included.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Changes how the node behaves.
    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults
            .lock()
            .expect("nobody panics while changing the faults")
    }

    /// Lets go of the state file; every later change is refused.
    pub(crate) fn close(&self) {
        // Closing is safe, whatever state a panic left behind.
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .journal
            .close();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("a failed assertion left the ledger unusable: restart it")
    }
}

impl State {
    fn execute(&mut self, signed: SignedTransaction) -> Result<TransactionDigest, NodeError> {
        let digest = signed.transaction.digest();
        if self.ledger.entry(&digest).is_some() {
            admission::check_signatures(&signed)?;
            return Ok(digest);
        }
        let execution = self.ledger.execute(&signed)?;
        let bytes = admission::sender_signed_bytes(&signed);
        self.journal.append(&Record::Transaction(bytes))?;
        self.ledger.commit(signed, execution);
        Ok(digest)
    }
}

fn replay(genesis: Genesis, history: &[Record]) -> Result<Ledger, NodeError> {
    let mut ledger = Ledger::new(genesis);
    for (place, record) in history.iter().enumerate() {
        replay_record(&mut ledger, record).map_err(|reason| NodeError::Replay {
            index: place + 1,
            reason,
        })?;
    }
    Ok(ledger)
}

fn replay_record(ledger: &mut Ledger, record: &Record) -> Result<(), String> {
    match record {
        Record::Genesis(_) => Err("a second genesis".to_owned()),
        Record::Transaction(bytes) => {
            let signed: SenderSignedTransaction =
                bcs::from_bytes(bytes).map_err(|error| error.to_string())?;
            let signed = signed.into_signed_transaction();
            let execution = ledger.execute(&signed).map_err(|error| error.to_string())?;
            ledger.commit(signed, execution);
            Ok(())
        }
        Record::Checkpoint {
            sequence,
            timestamp_ms,
            count,
            digest,
        } => {
            let checkpoint = ledger
                .next_checkpoint(*timestamp_ms)
                .ok_or_else(|| format!("checkpoint {sequence} has nothing to seal"))?;
            let same = checkpoint.digest.bytes() == digest
                && checkpoint.sequence() == *sequence
                && u32::try_from(checkpoint.transactions.len()) == Ok(*count);
            if !same {
                return Err(format!("checkpoint {sequence} comes out differently"));
            }
            ledger.seal(checkpoint);
            Ok(())
        }
    }
}
