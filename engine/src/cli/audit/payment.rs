//! `tanglegate audit payment`

use super::super::table::printable;
use super::explain::line;
use super::show;
use crate::audit::{Archive, life_of};
use anyhow::bail;
use clap::Args;
use tanglegate_core::Digest;

#[derive(Args)]
pub(in crate::cli) struct Payment {
    /// The digest of its transaction, as wallets and explorers show it (base58)
    digest: String,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

impl Payment {
    /// Yes when the money was booked; no when it waits to be claimed.
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let digest = Digest::parse(&self.digest)?;
        let lives = life_of(archive, digest).await?;
        if lives.is_empty() {
            bail!(
                "no payment of transaction {digest} stands in this log: `tanglegate status` tells \
                 up to which checkpoint the ledger is recorded"
            );
        }
        show(&lives, self.json, || {
            let mut text = String::new();
            for life in &lives {
                text.push_str(&format!("payment {}: {}\n", life.payment, life.fate));
                let chain: String = life.chain.iter().map(line).collect();
                text.extend(chain.lines().map(|it| printable(it) + "\n"));
            }
            text
        })?;
        Ok(lives.iter().all(|it| it.booked))
    }
}
