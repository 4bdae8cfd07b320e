//! Hash tree, signed tree heads, signatures, sealed purchases and sealing at rest of Tanglegate.
//!
//! A leaf of the workspace: it knows bytes and keys, and nothing of events, topics or money.
//! Time and randomness are arguments.

mod announcement;
mod answer;
mod at_rest;
mod cbor;
mod identity;
mod master;
mod memo;
mod merkle;
mod proof;
mod receipt;
mod sealing;
mod subtrees;
mod suite;
mod tree_head;

pub use announcement::{
    Announcement, AnnouncementError, IdentityBody, KeyBody, OfferLine, OffersBody,
};
pub use answer::{AnswerError, LONGEST_ANSWER, ReplyKey, seal_answer};
pub use at_rest::{SealError, Sealed, SubjectKey};
pub use cbor::LayoutError;
pub use identity::{Identity, IdentityError, IdentityKey, Label};
pub use master::{MasterError, MasterKey, MasterKeyId};
pub use memo::{MemoError, OpenError, Order, PasswordWish, SEALED_MEMO, SealedMemo, SealingError};
pub use merkle::{Frontier, FrontierError, Hash, leaf_hash, root_of};
pub use proof::{ProofError, Wanted, verify_consistency, verify_inclusion};
pub use receipt::{LONGEST_REASON, LONGEST_RECEIPT_FILTER, Outcome, Receipt};
pub use sealing::{KeyId, NotAKeyId, SealingSecret};
pub use subtrees::{Inclusion, Subtrees};
pub use tree_head::{HeadError, HeadKey, HeadVerifier, LONGEST_NOTE, Origin, SignedHead, TreeHead};
