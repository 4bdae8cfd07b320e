//! A proof that the seller's log holds a payment (`docs/PROTOCOL.md` §6.1): asked for, and kept
//! in a file beside the receipt.

use super::line::{Line, LineError};
use super::login_file::LoginFile;
use super::private_file::{self, PrivateFileError};
use crate::proof::{Ask, Unproved, read_answer};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate_core::PaymentId;
use tanglegate_crypto::{AnnouncementError, Identity, Receipt};
use tokio::time::{Instant, sleep, timeout_at};

const PROOFS: &str = "$SYS/access/proofs";
const PROOF: &str = "$SYS/access/me/proof";
/// The key of the seller's tree heads, as he shows it.
const LOG_KEY: &str = "$SYS/access/log/key";
/// Between two questions: the gate takes two in a second.
const PAUSE: Duration = Duration::from_secs(1);

/// A file that proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// There is none.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// It is something else.
    #[error("{} is not {what}: {why}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The receipt is not signed by whom the file names.
    #[error("the receipt in {} does not hold: {source}", path.display())]
    Receipt {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: AnnouncementError,
    },
}

/// A proof, to be kept and shown. Nothing in it is secret, nothing in it is believed unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// The name of the seller's log, as his identity signed it.
    pub log: String,
    /// The key of its tree heads: what the buyer knew, or else what the gate showed.
    pub key: String,
    /// The engine's answer, in hexadecimal.
    pub answer: String,
}

impl ProofFile {
    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read, or is something else.
    pub fn load(path: &Path) -> Result<Self, ProofFileError> {
        let bytes = std::fs::read(path);
        let bytes = bytes.map_err(|error| unreadable(path, "a proof", error))?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(path, "a proof", error))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn save(&self, path: &Path) -> Result<(), ProofFileError> {
        let text = serde_json::to_vec_pretty(self).expect("texts can be written");
        Ok(private_file::write(path, &text)?)
    }

    /// The engine's answer.
    ///
    /// # Errors
    /// When it is no hexadecimal; `path` is the file's name.
    pub fn answer(&self, path: &Path) -> Result<Vec<u8>, ProofFileError> {
        hex::decode(&self.answer).map_err(|error| unreadable(path, "a proof", error))
    }
}

/// The receipt in a login file, signed by the identity that the file names, and that gate.
///
/// # Errors
/// When there is none, or it is not.
pub fn signed_receipt(path: &Path) -> Result<(String, Identity, Receipt), ProofFileError> {
    let what = "a login file with a receipt, as `buy` and `claim` write it";
    let bytes = private_file::read(path)?;
    let bytes = bytes.ok_or_else(|| ProofFileError::Missing(path.to_owned()))?;
    let login: LoginFile =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(path, what, error))?;
    let identity = login.identity.parse();
    let identity: Identity = identity.map_err(|error| unreadable(path, what, error))?;
    let signed = hex::decode(login.receipt.expose());
    let signed = signed.map_err(|_| unreadable(path, what, "its receipt is no hexadecimal"))?;
    if signed.is_empty() {
        return Err(unreadable(path, what, "it has no receipt"));
    }
    let receipt = identity.hear(&signed);
    let receipt = receipt.map_err(|source| ProofFileError::Receipt {
        path: path.to_owned(),
        source,
    })?;
    Ok((login.gate, identity, receipt))
}

fn unreadable(path: &Path, what: &'static str, why: impl ToString) -> ProofFileError {
    ProofFileError::Unreadable {
        path: path.to_owned(),
        what,
        why: why.to_string(),
    }
}

/// Asks for the proof of a payment until there is one, or waiting helps no more. What comes is
/// for [`crate::proof::check`] to judge.
///
/// # Errors
/// When the engine takes no question, says nothing, or the connection is lost.
pub async fn fetch_proof(
    line: &mut Line,
    payment: PaymentId,
    patience: Duration,
) -> Result<Vec<u8>, LineError> {
    let until = Instant::now() + patience;
    line.subscribe(PROOF).await?;
    loop {
        line.publish(PROOFS, Ask::about(payment).to_bytes()).await?;
        let answer = async {
            loop {
                let message = line.next().await?;
                if message.topic == PROOF {
                    return Ok(message.payload);
                }
            }
        };
        let silent = |_| LineError::Silent {
            topic: PROOF.to_owned(),
        };
        let answer: Vec<u8> = timeout_at(until, answer).await.map_err(silent)??;
        let later = matches!(read_answer(&answer), Ok(Err(why)) if Unproved::will_pass(&why));
        if !later || Instant::now() + PAUSE > until {
            return Ok(answer);
        }
        sleep(PAUSE).await;
    }
}

impl Line {
    /// The key of the log's tree heads, as the gate shows it: not signed by anybody.
    ///
    /// # Errors
    /// When nothing comes.
    pub async fn head_key(&mut self) -> Result<String, LineError> {
        let key = self.ask(LOG_KEY).await?;
        Ok(String::from_utf8_lossy(&key).into_owned())
    }
}
