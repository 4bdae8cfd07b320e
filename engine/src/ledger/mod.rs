//! "The ledger said so": final payments to a seller's address, read from an IOTA node.
//!
//! The node is not trusted with more than it must be: a transaction's digest is recomputed from
//! its signed bytes, the chain is checked again and again, and nothing counts that is not in a
//! checkpoint. What the node says about order is not believed at all.
//!
//! - [`Follower`] is the loop that hands over [`Confirmation`](tanglegate_core::Confirmation)s,
//! - [`Node`] speaks JSON-RPC,
//! - [`memo`] is the form in which a buyer says what he pays for,
//! - [`Anchor`] is a tree head of the log that stands there.

mod anchor;
mod backoff;
mod follow;
pub mod memo;
mod node;
mod payments;
mod scan;
mod transaction;
mod wire;

pub use anchor::{Anchor, AnchorError, Anchored, anchored};
pub use backoff::Backoff;
pub use follow::{FollowError, FollowSettings, FollowState, FollowStatus, Follower};
pub use node::{Node, NodeError, NodeLimits};
pub use transaction::TransactionError;

pub(crate) use wire::{Balance, Coin, Coins, DryRun, Effects, Look, Submitted};
