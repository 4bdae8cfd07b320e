//! A buyer's side of a sealed purchase (`docs/PROTOCOL.md` §3 to §6): finds the offers, orders,
//! pays, and opens the answer.
//!
//! ```text
//! gate ── identity, offers, key ──▶ terms ──▶ sealed memo ──▶ signed payment
//!                                                                  │ book: on disk before
//! gate ◀── answer to the key ◀── engine ◀── ledger ◀───────────────┘ anything is sent
//!   └──▶ receipt ──▶ login file
//! ```
//!
//! It knows nothing of the engine's inside. Whatever stops a purchase, the next call goes on with
//! it: the [`Book`] holds the signed transaction before it is sent, and only those bytes are sent
//! again, so that nothing is paid twice.

mod book;
mod catalogue;
mod change;
mod claim;
mod error;
#[cfg(test)]
mod fake_gate;
mod line;
mod login_file;
mod private_file;
mod proof;
mod purchase;
mod step;
mod terms;

pub use book::{Book, BookError};
pub use catalogue::{Catalogue, CatalogueError};
pub use change::Alteration;
pub use claim::{Claimant, Demand};
pub use error::BuyError;
pub use line::{Gate, Line, LineError};
pub use login_file::{LoginFile, LoginFileError};
pub use private_file::PrivateFileError;
pub use proof::{ProofFile, ProofFileError, fetch_proof, signed_receipt};
pub use purchase::Buyer;
pub use step::{Bought, Step, Stopped, Tell, Wish};
pub use terms::{Caps, Price, Terms, TermsError};
