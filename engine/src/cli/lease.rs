//! `tanglegate lease`

use super::offer::say;
use super::{Common, table};
use crate::control::LeaseRequest;
use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum Lease {
    /// Show leases, running and ended
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show payments and what became of them
    Payments {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a running lease now. The money stays spent: suspending a login is the milder way
    Revoke {
        /// Whose
        #[arg(long)]
        username: String,
        /// Where
        #[arg(long)]
        filter: String,
        /// What it allows
        #[arg(long, default_value = "read")]
        access: String,
    },
}

impl Lease {
    pub(super) async fn run(self, common: &Common) -> anyhow::Result<()> {
        let control = common.control()?;
        match self {
            Self::List { json } => {
                let rows = control.get(&["v1", "leases"]).await?;
                let columns = ["who", "filter", "access", "starts_at", "ends_at", "running"];
                table::print(&rows, &columns, json)?;
            }
            Self::Payments { json } => {
                let rows = control.get(&["v1", "payments"]).await?;
                let columns = [
                    "recorded_at",
                    "amount",
                    "state",
                    "reason",
                    "username",
                    "offer",
                    "spent",
                    "credit",
                    "checkpoint",
                    "digest",
                ];
                table::print(&rows, &columns, json)?;
            }
            Self::Revoke {
                username,
                filter,
                access,
            } => {
                let request = LeaseRequest {
                    username,
                    filter,
                    access,
                };
                say(&control.post(&["v1", "leases", "revoke"], &request).await?);
            }
        }
        Ok(())
    }
}
