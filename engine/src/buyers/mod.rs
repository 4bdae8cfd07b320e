//! Buyers that nobody knows: they are given a key, pay with an order sealed to it, and are answered
//! so that only they can read it.
//!
//! ```text
//! make_key ──▶ $SYS/access/me/key          nothing is kept: a key follows from its name
//! ledger ──sealed memo──▶ open ──order──▶ writer ──events──▶ answer ──▶ the same commit
//! ```

mod change;
mod claim;
mod keyring;
mod master;
mod recent;
mod reply;
mod secrets;
mod settle;

pub use change::Change;
pub use claim::{Claim, ClaimError, claim_answer, read_claim_answer};
pub use keyring::Keyring;
pub use master::{MasterKeyError, MasterKeySource};
pub use recent::Recent;
pub use reply::Reply;
pub(crate) use reply::code;
pub use secrets::{Lifetimes, SecretStore, SecretsError};
pub use settle::SettleError;
