//! What somebody wants, what happens on the way, and what comes of it.

use super::login_file::LoginFile;
use super::terms::{Caps, Price, Terms};
use crate::control::Secret;
use crate::wallet;
use std::path::PathBuf;
use tanglegate_core::{Nanos, Username};
use tanglegate_crypto::{Identity, Outcome};

/// What somebody wants to buy.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The offer.
    pub offer: String,
    /// The login; without one the last that was bought here, or a new random name.
    pub username: Option<Username>,
    /// Its password; without one the login keeps its own, and the seller makes one for a new
    /// login.
    pub password: Option<Secret>,
    /// How much.
    pub price: Price,
    /// What it may cost.
    pub caps: Caps,
    /// Who must be selling.
    pub identity: Option<Identity>,
    /// Where the login is written; without a place beside the book.
    pub out: Option<PathBuf>,
}

/// What happens on the way, told when it has. Whoever answers with [`Stopped`] ends the purchase
/// there, as a lost connection or a kill would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A purchase that was begun before goes on.
    Resumed {
        /// Its offer.
        offer: String,
        /// What is paid.
        amount: Nanos,
    },
    /// The catalogue was read and its signatures hold.
    Found {
        /// Who sells.
        identity: Identity,
        /// Nobody has said so, and this gate was never seen before.
        first_seen: bool,
    },
    /// This will be ordered.
    Agreed {
        /// What and for how much.
        terms: Box<Terms>,
        /// For whom.
        username: String,
    },
    /// The order is sealed, the payment signed, and both are on the disk.
    Signed {
        /// Digest of the transaction, in base58.
        digest: String,
    },
    /// The payment is on its way.
    Paying(wallet::Progress),
    /// The payment is final and the book knows it.
    Paid {
        /// What it cost on top of the amount.
        gas: Nanos,
    },
    /// The gate was lost while the answer was awaited; it is tried again.
    Waiting {
        /// What went wrong.
        reason: String,
    },
    /// The answer was opened, and is about this payment.
    Answered,
    /// The login file is written.
    Written {
        /// Which.
        path: PathBuf,
    },
}

/// Whoever was told of a step wants no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// What came of it.
#[derive(Debug, Clone)]
pub struct Bought {
    /// What the login file holds.
    pub login: LoginFile,
    /// Where it is.
    pub path: PathBuf,
    /// The checkpoint with the payment.
    pub checkpoint: u64,
    /// What it cost on top of the amount.
    pub gas: Nanos,
    /// What became of the payment.
    pub outcome: Outcome,
}

/// Tells of steps.
pub type Tell<'a> = dyn FnMut(Step) -> Result<(), Stopped> + 'a;
