//! Proofs that a person can carry away: that an event stands in the log, and that the log only
//! grew between two heads.

use super::Archive;
use crate::event_log::EventLogError;
use serde::{Deserialize, Serialize};
use tanglegate_crypto::{
    Hash, HeadError, HeadVerifier, ProofError, SignedHead, TreeHead, Wanted, verify_consistency,
    verify_inclusion,
};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// No head covers what is to be proved.
    #[error(
        "no tree head covers event {0} yet: one is signed every few seconds while the engine runs"
    )]
    NotCovered(u64),
    /// There is no head of that size.
    #[error("no tree head of {0} events is kept; `tanglegate audit heads` lists them")]
    NoHead(u64),
    /// A head that is kept is none.
    #[error("the tree head of {size} events cannot be read: {source}")]
    Head {
        /// Which.
        size: u64,
        /// Why.
        source: HeadError,
    },
    /// There is nothing to prove.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The log has not as many events as its head.
    #[error("the log ends before event {0}, which a tree head covers: `tanglegate audit verify`")]
    Truncated(u64),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] EventLogError),
}

/// A proof with everything that it takes to check it (RFC 6962 §2.1; hashes in hexadecimal).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proves", rename_all = "lowercase")]
pub enum Proof {
    /// An event stands in the log.
    Inclusion {
        /// Its position.
        position: u64,
        /// Its leaf.
        leaf: String,
        /// Its index in the tree: one less than its position.
        index: u64,
        /// The hashes from the leaf's neighbour up to the root.
        path: Vec<String>,
        /// The signed head that it leads to.
        head: String,
    },
    /// The log of the second head begins with that of the first.
    Consistency {
        /// The first head's number of events.
        smaller: u64,
        /// The second's.
        size: u64,
        /// The hashes.
        path: Vec<String>,
        /// The first head, signed.
        smaller_head: String,
        /// The second, signed.
        head: String,
    },
}

impl Archive {
    /// Proves that the event at `position` is in the log of a head: the one of `size` events, or
    /// the newest.
    ///
    /// # Errors
    /// When no such head covers it, or the log cannot be read.
    pub async fn prove_inclusion(
        &mut self,
        position: u64,
        size: Option<u64>,
    ) -> Result<Proof, ProveError> {
        let (size, note) = self
            .head_of(size)
            .await?
            .ok_or(ProveError::NotCovered(position))?;
        let index = position.checked_sub(1).filter(|_| position <= size);
        let index = index.ok_or(ProveError::NotCovered(position))?;
        let mut leaf = [0; 32];
        let path = self
            .roots(size, Wanted::inclusion(index, size)?, |at, it| {
                if at == position {
                    leaf = it;
                }
            })
            .await?;
        Ok(Proof::Inclusion {
            position,
            leaf: hex::encode(leaf),
            index,
            path,
            head: note,
        })
    }

    /// Proves that the log of the head of `size` events, or of the newest, begins with that of the
    /// head of `smaller` events.
    ///
    /// # Errors
    /// When there are no such heads, or the log cannot be read.
    pub async fn prove_consistency(
        &mut self,
        smaller: u64,
        size: Option<u64>,
    ) -> Result<Proof, ProveError> {
        let first = self.head_of(Some(smaller)).await?;
        let (_, smaller_note) = first.ok_or(ProveError::NoHead(smaller))?;
        let second = self.head_of(size).await?;
        let (size, note) = second.ok_or(ProveError::NoHead(smaller))?;
        let wanted = Wanted::consistency(smaller, size)?;
        let path = self.roots(size, wanted, |_, _| ()).await?;
        Ok(Proof::Consistency {
            smaller,
            size,
            path,
            smaller_head: smaller_note,
            head: note,
        })
    }

    /// The head of `size` events, or the newest.
    async fn head_of(&mut self, size: Option<u64>) -> Result<Option<(u64, String)>, ProveError> {
        let query = "select size, note from event_log.tree_head where $1::bigint is null \
             or size = $1 order by size desc limit 1";
        let wanted = size.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        let found: Option<(i64, String)> = sqlx::query_as(query)
            .bind(wanted)
            .fetch_optional(self.log.connection())
            .await
            .map_err(EventLogError::from)?;
        let Some((size, note)) = found else {
            return match size {
                Some(size) => Err(ProveError::NoHead(size)),
                None => Ok(None),
            };
        };
        let size = size.unsigned_abs();
        match SignedHead::parse(&note) {
            Ok(_) => Ok(Some((size, note))),
            Err(source) => Err(ProveError::Head { size, source }),
        }
    }

    /// The roots that a proof needs, from the leaves of the first `size` events.
    async fn roots(
        &mut self,
        size: u64,
        mut wanted: Wanted,
        mut each: impl FnMut(u64, Hash),
    ) -> Result<Vec<String>, ProveError> {
        self.log
            .leaves(size, |position, leaf| {
                each(position, leaf);
                wanted.push(leaf);
            })
            .await?;
        let path = wanted.finish().ok_or(ProveError::Truncated(size))?;
        Ok(path.into_iter().map(hex::encode).collect())
    }
}

/// A proof that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A hash in it is none.
    #[error("'{0}' is no hash of 32 bytes in hexadecimal")]
    Hash(String),
    /// A head in it does not hold.
    #[error("its tree head does not hold: {0}")]
    Head(#[from] HeadError),
    /// None of several keys has signed a head in it.
    #[error("its tree head of {0} events is signed with none of the keys that you trust")]
    Stranger(u64),
    /// It says another size than its head.
    #[error("it speaks of {claimed} events, and its tree head of {signed}")]
    Size {
        /// What it says.
        claimed: u64,
        /// What is signed.
        signed: u64,
    },
    /// It says another place than the one that it proves.
    #[error("it speaks of event {claimed}, and its hashes are those of event {}", .index.saturating_add(1))]
    Place {
        /// The position that it names.
        claimed: u64,
        /// The index that its path is for.
        index: u64,
    },
    /// The hashes do not lead to the signed root.
    #[error("it does not hold: {0}")]
    Proof(#[from] ProofError),
}

impl Proof {
    /// Checks it with nothing but the log's public key. Where the log's key was changed between two
    /// heads, each is signed with its own: whoever trusts both gives both.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn check(&self, keys: &[HeadVerifier]) -> Result<(), CheckError> {
        match self {
            Self::Inclusion {
                position,
                leaf,
                index,
                path,
                head,
            } => {
                if index.checked_add(1) != Some(*position) {
                    let (claimed, index) = (*position, *index);
                    return Err(CheckError::Place { claimed, index });
                }
                let head = signed(head, keys)?;
                let (leaf, path) = (hash(leaf)?, hashes(path)?);
                verify_inclusion(&leaf, *index, head.size, &path, &head.root)?;
            }
            Self::Consistency {
                smaller,
                size,
                path,
                smaller_head,
                head,
            } => {
                let (first, second) = (signed(smaller_head, keys)?, signed(head, keys)?);
                for (claimed, signed) in [(*smaller, first.size), (*size, second.size)] {
                    if claimed != signed {
                        return Err(CheckError::Size { claimed, signed });
                    }
                }
                let (first, second) = ((first.size, &first.root), (second.size, &second.root));
                verify_consistency(first, second, &hashes(path)?)?;
            }
        }
        Ok(())
    }
}

/// A head that one of the keys has signed.
fn signed(note: &str, keys: &[HeadVerifier]) -> Result<TreeHead, CheckError> {
    let head = SignedHead::parse(note)?;
    let mut refused = None;
    for key in keys {
        match head.verify(key) {
            Ok(head) => return Ok(head.clone()),
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    match refused {
        Some(error) if keys.len() == 1 => Err(error.into()),
        _ => Err(CheckError::Stranger(head.head.size)),
    }
}

fn hash(text: &str) -> Result<Hash, CheckError> {
    let mut hash = [0; 32];
    let decoded = hex::decode_to_slice(text, &mut hash);
    decoded.map_err(|_| CheckError::Hash(text.chars().take(80).collect()))?;
    Ok(hash)
}

fn hashes(texts: &[String]) -> Result<Vec<Hash>, CheckError> {
    texts.iter().map(|it| hash(it)).collect()
}
