//! A small wallet: one Ed25519 key that pays with a memo, for the demo and for buyers without
//! another wallet.
//!
//! A payment is signed once and its bytes are kept: whatever happens on the way, only those very
//! bytes are sent again, so that the ledger executes them once.

mod key;
mod payment;
mod personal;
mod purse;

pub use key::{Key, KeyError};
pub use payment::{PaymentError, SignedPayment};
pub use personal::{PERSONAL_SIGNATURE, ProofError, signer_of_personal};
pub use purse::{Progress, Receipt, Wallet, WalletError, WalletSettings};
