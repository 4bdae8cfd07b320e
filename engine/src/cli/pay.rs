//! `tanglegate pay` and `tanglegate wallet`

use super::quantity;
use crate::ledger::{Node, NodeLimits, memo};
use crate::wallet::{self, Key, Progress, WalletSettings};
use anyhow::Context;
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate_core::{Address, Nanos, OfferId, Username};

pub(super) const NODE: &str = "http://127.0.0.1:9000";

#[derive(clap::Args)]
pub(super) struct Pay {
    /// The key file that pays (see `wallet new`)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The JSON-RPC endpoint of an IOTA node or development ledger
    #[arg(long, default_value = NODE, env = "TANGLEGATE_NODE_URL")]
    node: String,
    /// The seller's address
    #[arg(long, value_parser = Address::parse)]
    to: Address,
    /// How much, with its unit, e.g. 0.5IOTA or 1000000NANOS
    #[arg(long, value_parser = quantity::amount)]
    amount: Nanos,
    /// The offer to buy
    #[arg(long, value_parser = OfferId::parse)]
    offer: OfferId,
    /// The login that gets the time. It stands readable on the ledger
    #[arg(long, value_parser = Username::parse)]
    username: Username,
    /// How long to wait until the payment is final
    #[arg(long, default_value = "60s", value_parser = quantity::duration)]
    deadline: Duration,
}

#[derive(Subcommand)]
pub(super) enum Wallet {
    /// Make a key file, readable by you alone
    New {
        /// Where; the file must not exist
        file: PathBuf,
    },
    /// Show the address of a key file
    Address {
        /// The key file
        file: PathBuf,
    },
    /// Show what a key file's address holds
    Balance {
        /// The key file
        file: PathBuf,
        /// The JSON-RPC endpoint of an IOTA node or development ledger
        #[arg(long, default_value = NODE, env = "TANGLEGATE_NODE_URL")]
        node: String,
    },
    /// Ask a faucet for coins (development and test networks)
    Faucet {
        /// The key file
        file: PathBuf,
        /// The faucet; a development ledger is its own
        #[arg(long, default_value = NODE, env = "TANGLEGATE_FAUCET_URL")]
        node: String,
    },
}

fn open(key: &Path, node: &str, settings: WalletSettings) -> anyhow::Result<wallet::Wallet> {
    let node = Node::new(node, NodeLimits::default())?;
    Ok(wallet::Wallet::new(Key::load(key)?, node, settings))
}

/// The only payer from this key file, as long as the value lives. Two payments at once from one
/// key would spend the same coin: they could be one and the same transaction, and both would
/// report success.
pub(super) fn alone(key: &Path) -> anyhow::Result<std::fs::File> {
    let file = std::fs::File::open(key)
        .with_context(|| format!("cannot open the key file {}", key.display()))?;
    file.lock().context("the key file cannot be locked")?;
    Ok(file)
}

impl Pay {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.amount > Nanos::ZERO,
            "an amount of 0 buys nothing and costs gas: name one, e.g. 0.5IOTA"
        );
        let _alone = alone(&self.key)?;
        let settings = WalletSettings {
            deadline: self.deadline,
            ..WalletSettings::default()
        };
        let wallet = open(&self.key, &self.node, settings)?;
        let memo = memo::encode(&self.offer, &self.username);
        let receipt = wallet
            .pay(self.to, self.amount, &memo, |progress| match progress {
                Progress::Signed { digest } => println!("signed   {digest}"),
                Progress::Retrying { reason } => println!("retrying {reason}"),
                Progress::Executed => println!("executed, waiting for its checkpoint"),
                Progress::Final { checkpoint } => println!("final    in checkpoint {checkpoint}"),
            })
            .await?;
        println!(
            "paid     {} to {}, and {} for gas",
            self.amount, self.to, receipt.gas
        );
        Ok(())
    }
}

impl Wallet {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::New { file } => {
                let key = Key::generate()?;
                key.save_new(&file)?;
                println!("{}", key.address());
            }
            Self::Address { file } => println!("{}", Key::load(&file)?.address()),
            Self::Balance { file, node } => {
                let wallet = open(&file, &node, WalletSettings::default())?;
                println!("{}", wallet.balance().await?);
            }
            Self::Faucet { file, node } => faucet(Key::load(&file)?.address(), &node).await?,
        }
        Ok(())
    }
}

async fn faucet(recipient: Address, node: &str) -> anyhow::Result<()> {
    let url = format!("{}/gas", node.trim_end_matches('/'));
    let request =
        serde_json::json!({ "FixedAmountRequest": { "recipient": recipient.to_string() } });
    let response = crate::http::client()
        .timeout(Duration::from_secs(30))
        .build()?
        .post(&url)
        .json(&request)
        .send()
        .await
        .with_context(|| format!("no faucet answers at {url}"))?;
    let status = response.status();
    let said = response.text().await.unwrap_or_default();
    anyhow::ensure!(status.is_success(), "the faucet says {status}: {said:.200}");
    println!("the faucet sends coins to {recipient}");
    Ok(())
}
