//! The buyer's book: whom he trusts, what he has begun, which logins he owns, what he has spent.
//! One JSON file that its owner alone may read, on the disk before each step that cannot be
//! repeated.

use super::private_file::{self, PrivateFileError};
use crate::control::Secret;
use crate::wallet::SignedPayment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tanglegate_core::{Address, Nanos};
use tanglegate_crypto::{Identity, KeyId, ReplyKey};
use zeroize::Zeroizing;

/// The form that this version writes.
const VERSION: u32 = 1;

/// A book that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// Something else stands in it.
    #[error("{} is no book of purchases: {why}; name another one with --state", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another wallet's.
    #[error(
        "{} belongs to the wallet {owner}, not to {payer}: name another one with --state",
        path.display()
    )]
    OtherWallet {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who came.
        payer: Address,
    },
}

/// The buyer's book.
pub struct Book {
    path: PathBuf,
    kept: Kept,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    /// The address that pays.
    payer: String,
    /// NANOS of all payments that were signed and may have come about, without gas.
    spent: u64,
    /// Identities in hexadecimal by the gate that showed them.
    gates: BTreeMap<String, String>,
    /// By identity.
    engines: BTreeMap<String, Engine>,
    pending: Option<Pending>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Engine {
    /// When the newest offers that were seen were signed, in milliseconds since 1970.
    offers_issued_at: u64,
    /// The same of the newest key.
    #[serde(default)]
    key_issued_at: u64,
    /// The last one bought stands last.
    logins: Vec<Login>,
}

/// A login that was bought.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    pub(super) username: String,
    /// Unknown where it was set before this book.
    pub(super) password: Option<Secret>,
}

/// A purchase between its signature and its receipt.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    identity: String,
    key_id: String,
    /// By the buyer's own clock, in milliseconds since 1970: no payment is sent after it.
    pub(super) key_ends: u64,
    reply_key: Secret,
    pub(super) offer: String,
    pub(super) username: String,
    /// What the buyer chose, or has from before.
    pub(super) password: Option<Secret>,
    seller: String,
    pub(super) amount: u64,
    /// The memo stands in it.
    pub(super) payment: SignedPayment,
    /// The checkpoint that has it.
    pub(super) checkpoint: Option<u64>,
    /// What it cost on top of the amount, in NANOS.
    pub(super) gas: u64,
}

/// What a purchase is bound to.
pub(super) struct Bond {
    pub(super) identity: Identity,
    pub(super) key_id: KeyId,
    pub(super) reply_key: ReplyKey,
    pub(super) seller: Address,
}

impl Pending {
    /// Nothing is paid yet; `payment` is signed.
    pub(super) fn new(
        bond: &Bond,
        key_ends: u64,
        login: Login,
        terms: &super::Terms,
        payment: SignedPayment,
    ) -> Self {
        Self {
            identity: bond.identity.to_string(),
            key_id: bond.key_id.to_string(),
            key_ends,
            reply_key: Secret::new(hex::encode(bond.reply_key.expose())),
            offer: terms.offer.name.clone(),
            username: login.username,
            password: login.password,
            seller: bond.seller.to_string(),
            amount: terms.cost.0,
            payment,
            checkpoint: None,
            gas: 0,
        }
    }

    fn bond(&self) -> Result<Bond, String> {
        let mut reply_key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.reply_key.expose(), reply_key.as_mut_slice())
            .map_err(|error| format!("the reply key: {error}"))?;
        Ok(Bond {
            identity: self.identity.parse().map_err(text)?,
            key_id: self.key_id.parse().map_err(text)?,
            reply_key: ReplyKey::from_bytes(*reply_key),
            seller: Address::parse(&self.seller).map_err(text)?,
        })
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

impl Book {
    /// The book of the wallet `payer`; a new one where there is no file yet.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it, or it is another wallet's.
    pub fn open(path: &Path, payer: Address) -> Result<Self, BookError> {
        let path = path.to_owned();
        let Some(bytes) = private_file::read(&path)? else {
            let kept = Kept {
                version: VERSION,
                payer: payer.to_string(),
                spent: 0,
                gates: BTreeMap::new(),
                engines: BTreeMap::new(),
                pending: None,
            };
            return Ok(Self { path, kept });
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|why| BookError::Unreadable {
            path: path.clone(),
            why: why.to_string(),
        })?;
        let this = Self { path, kept };
        if this.kept.version != VERSION {
            let why = format!("its version is {}, not {VERSION}", this.kept.version);
            return Err(this.unreadable(why));
        }
        if this.kept.payer != payer.to_string() {
            return Err(BookError::OtherWallet {
                owner: this.kept.payer.clone(),
                path: this.path,
                payer,
            });
        }
        if let Some(pending) = &this.kept.pending {
            pending.bond().map_err(|why| this.unreadable(why))?;
        }
        Ok(this)
    }

    /// What all payments cost that were signed and may have come about, without gas.
    #[must_use]
    pub fn spent(&self) -> Nanos {
        Nanos(self.kept.spent)
    }

    /// The offer and the username of a purchase that has not come to its end.
    #[must_use]
    pub fn unfinished(&self) -> Option<(&str, &str)> {
        let pending = self.kept.pending.as_ref()?;
        Some((&pending.offer, &pending.username))
    }

    /// Forgets the purchase that has not come to its end, without its answer. What was spent
    /// stays counted: the payment may have come about.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn give_up(&mut self) -> Result<(), BookError> {
        self.change(|kept| kept.pending = None)
    }

    /// Whom this gate showed before.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn trusted(&self, gate: &str) -> Result<Option<Identity>, BookError> {
        let identity = self.kept.gates.get(gate).map(|it| it.parse());
        identity.transpose().map_err(|why| self.unreadable(why))
    }

    pub(super) fn newest_offers(&self, identity: &Identity) -> u64 {
        self.engine(identity).map_or(0, |it| it.offers_issued_at)
    }

    /// When the newest key that was seen was signed, in milliseconds since 1970.
    pub(super) fn newest_key(&self, identity: &Identity) -> u64 {
        self.engine(identity).map_or(0, |it| it.key_issued_at)
    }

    /// Remembers when a key was signed.
    pub(super) fn saw_key(&mut self, identity: &Identity, issued_at: u64) -> Result<(), BookError> {
        let identity = identity.to_string();
        self.change(|kept| {
            kept.engines.entry(identity).or_default().key_issued_at = issued_at;
        })
    }

    /// Remembers whom a gate showed, and when his offers were signed.
    pub(super) fn trust(
        &mut self,
        gate: &str,
        identity: &Identity,
        issued_at: u64,
    ) -> Result<(), BookError> {
        let (gate, identity) = (gate.to_owned(), identity.to_string());
        self.change(|kept| {
            kept.gates.insert(gate, identity.clone());
            kept.engines.entry(identity).or_default().offers_issued_at = issued_at;
        })
    }

    /// The login of that name that was bought from `identity`; without a name the last one.
    pub(super) fn login(&self, identity: &Identity, username: Option<&str>) -> Option<&Login> {
        let logins = &self.engine(identity)?.logins;
        let named = |it: &&Login| username.is_none_or(|name| it.username == name);
        logins.iter().rev().find(named)
    }

    pub(super) fn pending(&self) -> Option<(&Pending, Bond)> {
        let pending = self.kept.pending.as_ref()?;
        let bond = pending
            .bond()
            .expect("it was read when the book was opened");
        Some((pending, bond))
    }

    /// The purchase is signed, and is on the disk when this returns.
    pub(super) fn begin(&mut self, pending: Pending) -> Result<(), BookError> {
        self.change(|kept| {
            kept.spent = kept.spent.saturating_add(pending.amount);
            kept.pending = Some(pending);
        })
    }

    /// The ledger did not take it, and never will.
    pub(super) fn not_paid(&mut self) -> Result<(), BookError> {
        self.change(|kept| {
            if let Some(pending) = kept.pending.take() {
                kept.spent = kept.spent.saturating_sub(pending.amount);
            }
        })
    }

    /// The payment is final.
    pub(super) fn paid(&mut self, checkpoint: u64, gas: Nanos) -> Result<(), BookError> {
        self.change(|kept| {
            if let Some(pending) = &mut kept.pending {
                (pending.checkpoint, pending.gas) = (Some(checkpoint), gas.0);
            }
        })
    }

    /// The purchase is over; `login` is what it bought, if it did.
    pub(super) fn finish(
        &mut self,
        identity: &Identity,
        login: Option<Login>,
    ) -> Result<(), BookError> {
        let identity = identity.to_string();
        self.change(|kept| {
            kept.pending = None;
            if let Some(login) = login {
                let logins = &mut kept.engines.entry(identity).or_default().logins;
                logins.retain(|it| it.username != login.username);
                logins.push(login);
            }
        })
    }

    /// A claim bought this login. A purchase that is under way goes on.
    pub(super) fn keep(&mut self, identity: &Identity, login: Login) -> Result<(), BookError> {
        let identity = identity.to_string();
        self.change(|kept| {
            let logins = &mut kept.engines.entry(identity).or_default().logins;
            logins.retain(|it| it.username != login.username);
            logins.push(login);
        })
    }

    /// A login has changed.
    pub(super) fn keep_instead(
        &mut self,
        identity: &Identity,
        before: &str,
        username: &str,
        password: Option<Secret>,
    ) -> Result<(), BookError> {
        let (identity, username) = (identity.to_string(), username.to_owned());
        self.change(|kept| {
            let logins = &mut kept.engines.entry(identity).or_default().logins;
            logins.retain(|it| it.username != before && it.username != username);
            logins.push(Login { username, password });
        })
    }

    fn engine(&self, identity: &Identity) -> Option<&Engine> {
        self.kept.engines.get(&identity.to_string())
    }

    /// Either both the file and this value change, or neither.
    fn change(&mut self, change: impl FnOnce(&mut Kept)) -> Result<(), BookError> {
        let mut kept = self.kept.clone();
        change(&mut kept);
        private_file::write_json(&self.path, &kept)?;
        self.kept = kept;
        Ok(())
    }

    fn unreadable(&self, why: impl ToString) -> BookError {
        BookError::Unreadable {
            path: self.path.clone(),
            why: why.to_string(),
        }
    }
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Book({})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanglegate_crypto::IdentityKey;

    const OWNER: Address = Address([1; 32]);

    #[test]
    fn a_book_remembers_whom_it_trusts_and_belongs_to_one_wallet() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("book");
        let identity = IdentityKey::from_bytes(&[7; 32]).identity();
        let mut book = Book::open(&path, OWNER).expect("a new one");
        assert!(matches!(book.trusted("a:1883"), Ok(None)));
        book.trust("a:1883", &identity, 5).expect("written");
        book.saw_key(&identity, 6).expect("written");
        let login = |password: &str| Login {
            username: "ana".to_owned(),
            password: Some(Secret::new(password.to_owned())),
        };
        book.finish(&identity, Some(login("first")))
            .expect("written");
        book.finish(&identity, Some(login("second")))
            .expect("written");

        let book = Book::open(&path, OWNER).expect("read");
        assert_eq!(book.trusted("a:1883").expect("readable"), Some(identity));
        assert!(matches!(book.trusted("b:1883"), Ok(None)));
        assert_eq!(book.newest_offers(&identity), 5);
        assert_eq!(book.newest_key(&identity), 6);
        let kept = book.login(&identity, None).expect("it was bought");
        let password = kept.password.as_ref().map(Secret::expose);
        assert_eq!((kept.username.as_str(), password), ("ana", Some("second")));
        assert!(book.login(&identity, Some("bob")).is_none());
        let other = Book::open(&path, Address([2; 32]));
        assert!(matches!(other, Err(BookError::OtherWallet { .. })));
    }

    #[test]
    fn something_else_is_no_book() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("book");
        for text in ["", "{}", "[1]", r#"{"version":2}"#] {
            private_file::write(&path, text.as_bytes()).expect("written");
            let error = Book::open(&path, OWNER)
                .expect_err("it is none")
                .to_string();
            assert!(error.contains("--state"), "{error}");
        }
    }
}
