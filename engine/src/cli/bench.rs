//! `tanglegate bench`

use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum Bench {}

impl Bench {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {}
    }
}
