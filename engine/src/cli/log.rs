//! `tanglegate log`

use super::{Common, asked_to_end};
use crate::control::{Control, EventLine};
use clap::Subcommand;
use std::io::Write;
use std::time::Duration;
use tanglegate_core::Timestamp;

#[derive(Subcommand)]
pub(super) enum Log {
    /// Show the newest events
    Tail {
        /// Go on showing new ones
        #[arg(long, short)]
        follow: bool,
        /// How many to begin with
        #[arg(long, short = 'n', default_value_t = 20)]
        lines: u64,
        /// Begin after this position instead
        #[arg(long, conflicts_with = "lines")]
        after: Option<u64>,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
}

impl Log {
    pub(super) async fn run(self, common: &Common) -> anyhow::Result<()> {
        let Self::Tail {
            follow,
            lines,
            after,
            json,
        } = self;
        let control = common.control()?;
        tokio::select! {
            shown = tail(&control, after, lines, follow, json) => shown,
            asked = asked_to_end() => Ok(asked?),
        }
    }
}

async fn tail(
    control: &Control,
    after: Option<u64>,
    lines: u64,
    follow: bool,
    json: bool,
) -> anyhow::Result<()> {
    let mut after = after;
    let mut most = lines;
    loop {
        let events = control.events(after, most).await?;
        for event in &events {
            show(event, json)?;
        }
        after = events.last().map(|it| it.position).or(after).or(Some(0));
        most = 1_000;
        if events.is_empty() && !follow {
            return Ok(());
        }
        if events.is_empty() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

fn show(event: &EventLine, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(event)?)?;
    } else {
        let EventLine {
            position,
            kind,
            text,
            origin,
            ..
        } = event;
        let at = Timestamp(event.recorded_at);
        writeln!(out, "{position:>8}  {at}  {kind:<22} {text}  [{origin}]")?;
    }
    Ok(())
}
