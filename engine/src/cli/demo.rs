//! `tanglegate demo`

use super::asked_to_end;
use crate::demo::{self, Settings, Verdict};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub(super) struct Demo {
    /// How many seconds of live data the buyer pays for (at least 8: the least purchase)
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(8..=3600))]
    seconds: u64,
    /// Leave everything running afterwards, and say how to try it yourself
    #[arg(long)]
    stay: bool,
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = Settings {
            paid: Duration::from_secs(self.seconds),
            stay: self.stay,
        };
        let verdict = tokio::select! {
            verdict = demo::run(settings) => verdict?,
            asked = asked_to_end() => {
                asked?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        Ok(match verdict {
            Verdict::Kept => ExitCode::SUCCESS,
            Verdict::Broken => ExitCode::FAILURE,
        })
    }
}
