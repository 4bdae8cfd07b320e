//! `tanglegate rule`

use super::offer::say;
use super::{Common, table};
use crate::control::RuleRequest;
use clap::Subcommand;
use tanglegate_core::RuleId;

#[derive(Subcommand)]
pub(super) enum Rule {
    /// Give a right without end, e.g. a device the right to publish
    Give {
        /// Which topics, e.g. sensor/1m
        #[arg(long)]
        filter: String,
        /// What it allows: read, write or readwrite
        #[arg(long, default_value = "read")]
        access: String,
        /// To whom; without it to everyone, anonymous clients too
        #[arg(long)]
        username: Option<String>,
    },
    /// Take a right back; it ends at once
    Remove {
        /// The rule's identity (see `rule list`)
        #[arg(value_parser = RuleId::parse)]
        id: RuleId,
    },
    /// Show all rules
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Rule {
    pub(super) async fn run(self, common: &Common) -> anyhow::Result<()> {
        let control = common.control()?;
        match self {
            Self::Give {
                filter,
                access,
                username,
            } => {
                let request = RuleRequest {
                    username,
                    filter,
                    access,
                };
                say(&control.post(&["v1", "rules"], &request).await?);
            }
            Self::Remove { id } => say(&control.delete(&["v1", "rules", &id.to_string()]).await?),
            Self::List { json } => {
                let rows = control.get(&["v1", "rules"]).await?;
                table::print(&rows, &["who", "filter", "access", "rule"], json)?;
            }
        }
        Ok(())
    }
}
