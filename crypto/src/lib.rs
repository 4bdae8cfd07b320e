//! Hash tree and sealing at rest of Tanglegate.
//!
//! A leaf of the workspace: it knows bytes and keys, and nothing of events, topics or money.

mod at_rest;
mod merkle;

pub use at_rest::{SealError, Sealed, SubjectKey};
pub use merkle::{Frontier, FrontierError, Hash, leaf_hash, root_of};
