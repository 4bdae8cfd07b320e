//! Hash tree, signed tree heads and sealing at rest of Tanglegate.
//!
//! A leaf of the workspace: it knows bytes and keys, and nothing of events, topics or money.

mod at_rest;
mod merkle;
mod proof;
mod tree_head;

pub use at_rest::{SealError, Sealed, SubjectKey};
pub use merkle::{Frontier, FrontierError, Hash, leaf_hash, root_of};
pub use proof::{ProofError, Wanted, verify_consistency, verify_inclusion};
pub use tree_head::{HeadError, HeadKey, HeadVerifier, LONGEST_NOTE, Origin, SignedHead, TreeHead};
