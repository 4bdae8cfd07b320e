//! `tanglegate claim` and `tanglegate change-login`: what a wallet proves, and pays nothing for

use super::pay::alone;
use super::quantity;
use super::subscriber::read_password;
use super::table::printable;
use crate::buy::{Alteration, Book, Claimant, Demand, Gate, LoginFile};
use crate::wallet::Key;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate_core::{Digest, Nanos, PaymentId, Timestamp, Username};
use tanglegate_crypto::Identity;

#[derive(clap::Args)]
pub(super) struct Claim {
    /// The digest of the transaction that paid
    #[arg(value_parser = Digest::parse)]
    digest: Digest,
    /// Which of its payments, where it paid several addresses
    #[arg(long, default_value_t = 0)]
    index: u16,
    /// What it shall have been for (see `offers`)
    #[arg(long)]
    offer: String,
    /// The login that gets the time: a new one, or one that the same key has bought
    #[arg(long, value_parser = Username::parse)]
    username: Username,
    /// The seller's gate, as HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    broker: Gate,
    /// The key file that paid (see `wallet new`): it signs the claim, and pays nothing
    #[arg(long, value_name = "FILE")]
    wallet: PathBuf,
    /// A file whose first line is the login's password; - reads standard input. Without it a new
    /// login gets a random one. The seller sees neither
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Who must be selling: 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    identity: Option<Identity>,
    /// Where purchases are kept (see `buy`); without it beside the wallet
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where login and receipt are written; without it beside the state
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long the answer may take
    #[arg(long, default_value = "30s", value_parser = quantity::duration)]
    deadline: Duration,
    /// The outcome as JSON, without the password
    #[arg(long)]
    json: bool,
}

impl Claim {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let _lock = alone(&self.wallet)?;
        let password = self.password_file.as_deref().map(read_password);
        let password = password.transpose()?;
        let empty = password.as_ref().is_some_and(|it| it.expose().is_empty());
        anyhow::ensure!(!empty, "the password file's first line is empty");
        let mut claimant = claimant(self.broker, &self.wallet, self.state, self.deadline)?;
        let demand = Demand {
            payment: PaymentId {
                digest: self.digest,
                index: self.index,
            },
            offer: self.offer,
            username: self.username,
            password,
            identity: self.identity,
            out: self.out,
        };
        let (login, path) = claimant.claim(&demand).await?;
        if self.json {
            let told = json!({
                "outcome": login.outcome,
                "offer": login.offer,
                "username": login.username,
                "filter": login.filter,
                "until": login.until,
                "amount": login.amount,
                "credit": login.credit,
                "digest": login.digest,
                "login_file": path.display().to_string(),
                "options": LoginFile::options(&path).display().to_string(),
            });
            println!("{}", serde_json::to_string_pretty(&told)?);
            return Ok(());
        }
        println!("claimed  {}", Nanos(login.amount));
        match (&login.filter, login.until) {
            (Some(filter), Some(until)) => {
                println!("bought   {} until {}", printable(filter), Timestamp(until));
            }
            _ => println!("bought   no time: {} are on account", Nanos(login.credit)),
        }
        let file = path.display();
        println!(
            "login    {}; it and the receipt are in {file}",
            login.username
        );
        Ok(())
    }
}

#[derive(clap::Args)]
pub(super) struct ChangeLogin {
    /// The login
    #[arg(value_parser = Username::parse)]
    username: Username,
    /// Its new name; its time goes with it
    #[arg(long, value_name = "NAME", value_parser = Username::parse)]
    rename: Option<Username>,
    /// A file whose first line is its new password; - reads standard input. The seller never sees it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The seller's gate, as HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    broker: Gate,
    /// The key file that bought the login: it signs the change, and pays nothing
    #[arg(long, value_name = "FILE")]
    wallet: PathBuf,
    /// Who sold it: 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    identity: Option<Identity>,
    /// Where purchases are kept (see `buy`); without it beside the wallet
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where the login is written; without it beside the state
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long the answer may take
    #[arg(long, default_value = "30s", value_parser = quantity::duration)]
    deadline: Duration,
}

impl ChangeLogin {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let _lock = alone(&self.wallet)?;
        let password = self.password_file.as_deref().map(read_password);
        let password = password.transpose()?;
        let empty = password.as_ref().is_some_and(|it| it.expose().is_empty());
        anyhow::ensure!(!empty, "the password file's first line is empty");
        anyhow::ensure!(
            self.rename.is_some() || password.is_some(),
            "say what shall change: --rename NAME, --password-file FILE"
        );
        let mut owner = claimant(self.broker, &self.wallet, self.state, self.deadline)?;
        let wanted = Alteration {
            username: self.username,
            renamed: self.rename,
            password,
            identity: self.identity,
            out: self.out,
        };
        let path = owner.change(&wanted).await?;
        println!("changed  the login is in {}", path.display());
        Ok(())
    }
}

fn claimant(
    gate: Gate,
    wallet: &Path,
    state: Option<PathBuf>,
    patience: Duration,
) -> anyhow::Result<Claimant> {
    let key = Key::load(wallet)?;
    let beside = state.unwrap_or_else(|| {
        let mut path = wallet.as_os_str().to_owned();
        path.push(".purchases");
        PathBuf::from(path)
    });
    Ok(Claimant {
        gate,
        book: Book::open(&beside, key.address())?,
        key,
        beside,
        patience,
    })
}
