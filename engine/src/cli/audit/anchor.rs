//! `tanglegate audit anchor` and `anchors`

use super::super::table;
use crate::audit::Archive;
use crate::control::{AnchorRequest, HeadAnswer, Outcome};
use crate::ledger::{Anchor as Memo, Node, NodeLimits, anchored};
use crate::wallet::{Key, Progress, Wallet, WalletSettings};
use anyhow::{Context, ensure};
use clap::Args;
use std::path::PathBuf;
use tanglegate_core::Digest;
use tanglegate_crypto::{HeadVerifier, SignedHead};

#[derive(Args)]
pub(in crate::cli) struct Anchor {
    /// The key file that pays the gas (see `wallet new`); nothing else is paid
    #[arg(long, value_name = "FILE", required_unless_present = "transaction")]
    key: Option<PathBuf>,
    /// Record a transaction that carries a tree head already, for example after an interruption
    #[arg(long, value_name = "DIGEST", conflicts_with = "key", value_parser = digest)]
    transaction: Option<Digest>,
    /// The JSON-RPC endpoint of an IOTA node or development ledger
    #[arg(long, default_value = super::super::pay::NODE, env = "TANGLEGATE_NODE_URL")]
    node: String,
}

/// A transaction's digest, in base58.
pub(super) fn digest(text: &str) -> Result<Digest, String> {
    let digest = Digest::parse(text);
    digest.map_err(|_| format!("'{text}' is no digest of a transaction: 32 bytes in base58"))
}

impl Anchor {
    /// Writes the newest head into the ledger and has the engine record it.
    pub(super) async fn run(self, common: &super::Common) -> anyhow::Result<bool> {
        let control = common.control()?;
        let node = Node::new(&self.node, NodeLimits::default())?;
        let transaction = match (self.transaction, &self.key) {
            (Some(transaction), _) => transaction,
            (None, key) => {
                let key = key.as_ref().context("name a key file with --key")?;
                let newest: HeadAnswer = control.get(&["v1", "log", "head"]).await?;
                send(key, node.clone(), newest).await?
            }
        };
        let found = anchored(&node, transaction).await?;
        let Memo { size, root, .. } = found.anchor;
        let request = AnchorRequest {
            size,
            root: hex::encode(root),
            transaction: transaction.to_string(),
        };
        let recorded: Outcome = control.post(&["v1", "log", "anchors"], &request).await?;
        println!(
            "anchored the tree head of {size} events in checkpoint {}, by {}; event {}",
            found.checkpoint,
            found.sender,
            recorded.position.unwrap_or_default()
        );
        Ok(true)
    }
}

async fn send(key: &std::path::Path, node: Node, newest: HeadAnswer) -> anyhow::Result<Digest> {
    let none = "this engine has signed no tree head yet; its log says why";
    let (note, signer) = (newest.note.context(none)?, newest.key.context(none)?);
    let signer: HeadVerifier = signer.parse()?;
    let signed = SignedHead::parse(&note)?;
    let head = signed.verify(&signer)?;
    let memo = Memo::of(head.origin.as_str(), head.size, head.root);
    // As for payments: two at once from one key would spend the same coin.
    let file = std::fs::File::open(key)
        .with_context(|| format!("cannot open the key file {}", key.display()))?;
    file.lock().context("the key file cannot be locked")?;
    let wallet = Wallet::new(Key::load(key)?, node, WalletSettings::default());
    let receipt = wallet
        .note(&memo.encode(), |progress| match progress {
            Progress::Signed { digest } => println!("signed   {digest}"),
            Progress::Retrying { reason } => println!("retrying {reason}"),
            Progress::Executed => println!("executed, waiting for its checkpoint"),
            Progress::Final { checkpoint } => println!("final    in checkpoint {checkpoint}"),
        })
        .await?;
    println!("paid     {} for gas", receipt.gas);
    let digest = Digest::parse(&receipt.digest);
    ensure!(
        digest.is_ok(),
        "the wallet names no digest: {}",
        receipt.digest
    );
    Ok(digest?)
}

#[derive(Args)]
pub(in crate::cli) struct Anchors {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Anchors {
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let rows = serde_json::to_value(archive.anchors().await?)?;
        let columns = ["position", "recorded_at", "size", "root", "transaction"];
        table::print(&rows, &columns, self.json)?;
        Ok(true)
    }
}
