//! What can stop a purchase.

use super::book::BookError;
use super::catalogue::CatalogueError;
use super::line::LineError;
use super::login_file::LoginFileError;
use super::step::Stopped;
use super::terms::TermsError;
use crate::ledger::NodeError;
use crate::wallet::WalletError;
use std::path::PathBuf;
use tanglegate_crypto::SealingError;

/// Why a purchase did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BuyError {
    /// The book.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The gate.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The terms: nothing was signed.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The login file.
    #[error(transparent)]
    LoginFile(#[from] LoginFileError),
    /// The node, before anything was signed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The order cannot be sealed.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// The seller takes money on another ledger.
    #[error("the seller is paid on ledger {wanted}, and the node is on {found}: see --node")]
    OtherLedger {
        /// His.
        wanted: String,
        /// The node's.
        found: String,
    },
    /// Another purchase is under way.
    #[error(
        "{} for {username} has not come to its end: run the same command again with --resume, \
         which pays nothing twice",
        offer
    )]
    Unfinished {
        /// Its offer.
        offer: String,
        /// Its login.
        username: String,
    },
    /// The purchase under way was begun with something else than is named now.
    #[error(
        "{} for {username} was begun with another {field} than is named now: nothing was sent. \
         Name none to go on with it, which pays nothing twice, or --give-up forgets it",
        offer
    )]
    OtherwiseBegun {
        /// Its offer.
        offer: String,
        /// Its login.
        username: String,
        /// What is different.
        field: &'static str,
    },
    /// Nothing to go on with.
    #[error("there is no purchase to go on with")]
    NothingBegun,
    /// Paying now could not be read any more.
    #[error(
        "the payment {digest} is not on the ledger, and the key it was sealed to has expired: it \
         was not sent again. --give-up forgets it"
    )]
    KeyExpired {
        /// Its digest.
        digest: String,
    },
    /// A payment that may have been sent before is refused now.
    #[error("{source}. It was sent before, and may yet come: try again; --give-up forgets it")]
    RefusedAgain {
        /// The node's words.
        source: WalletError,
    },
    /// The answer has not come.
    #[error(
        "the payment {digest} is final, and no answer has come within {seconds} s ({reason}): run \
         the same command again, which pays nothing twice. Whose login was used since is told no \
         more: --give-up forgets it"
    )]
    NoAnswer {
        /// The payment.
        digest: String,
        /// How long we waited.
        seconds: u64,
        /// The last failure.
        reason: String,
    },
    /// A receipt for something else.
    #[error("the seller's receipt for the payment {digest} names another {field} than was ordered")]
    OtherReceipt {
        /// The payment.
        digest: String,
        /// What is different.
        field: &'static str,
    },
    /// The engine does not accept a claim or a change. It does not sign that.
    #[error(
        "the engine refuses: {reason}. {} keeps the password that was proposed; it opens nothing \
         unless a claim is accepted",
        path.display()
    )]
    ClaimRefused {
        /// Its words.
        reason: String,
        /// The login file.
        path: PathBuf,
    },
    /// The engine does not accept a change of a login. It does not sign that.
    #[error("the engine refuses: {reason}. {} stays as it is", path.display())]
    ChangeRefused {
        /// Its words.
        reason: String,
        /// The login file, or the one under the new name, which opens nothing.
        path: PathBuf,
    },
    /// Nothing was heard of a claim or a change.
    #[error(
        "no answer came within {seconds} s, and nobody knows whether it was accepted. {} keeps \
         the login as it would be: try again if it opens nothing",
        path.display()
    )]
    ClaimUnanswered {
        /// The login file.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// No randomness.
    #[error("no randomness for a key: {0}")]
    Random(getrandom::Error),
    /// Stopped by whoever was told of a step.
    #[error("stopped; run the same command again to go on")]
    Stopped,
}

impl From<Stopped> for BuyError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}
