//! `tanglegate devnet`

use super::{asked_to_end, quantity, serve};
use crate::config::LogFormat;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tanglegate_core::Nanos;

#[derive(clap::Args)]
pub(super) struct Devnet {
    /// Where it listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// The file that keeps its state; without one it forgets everything at the end
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How long executed transactions wait for their checkpoint
    #[arg(long, default_value = "250ms", value_parser = quantity::duration)]
    checkpoint_interval: Duration,
    /// What the faucet (POST /gas) gives per request
    #[arg(long, default_value = "10IOTA", value_parser = quantity::amount)]
    faucet_amount: Nanos,
}

impl Devnet {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        serve::start_logging(LogFormat::Text);
        let devnet = tanglegate_devnet::Devnet::start(tanglegate_devnet::Settings {
            listen: self.listen,
            state: self.state,
            checkpoint_interval: self.checkpoint_interval,
            faucet_amount: self.faucet_amount.0,
        })
        .await?;
        println!(
            "development ledger {} at {}",
            devnet.chain_identifier(),
            devnet.url()
        );
        println!(
            "faucet: tanglegate wallet faucet --node {} KEYFILE",
            devnet.url()
        );
        asked_to_end().await?;
        devnet.shutdown().await;
        Ok(())
    }
}
