//! `tanglegate bench`

use super::asked_to_end;
use crate::bench::{broker, log};
use clap::Subcommand;
use std::time::Duration;

#[derive(Subcommand)]
pub(super) enum Bench {
    /// Append events: saturated, 32 commands in flight, one alone
    Append {
        /// Seconds for each figure with its floor
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        seconds: u64,
    },
    /// Read events: verified, folded, rebuilt into tables
    Replay {
        /// Events in the log
        #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
        events: u64,
    },
    /// Start the engine's writer on a full log
    Start {
        /// Events in the log
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
        events: u64,
    },
    /// Pass messages, beside Mosquitto with the same rights; and ask for permits
    Broker {
        /// Seconds of each load on each server, each time
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
        /// How often the servers take turns; the median counts
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
        rounds: u8,
        /// Measure only what has this in its name, e.g. latency, "QoS 1" or permit
        #[arg(long, value_name = "WORDS")]
        only: Option<String>,
    },
}

impl Bench {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let ended = async { drop(asked_to_end().await) };
        let report = match self {
            Self::Append { seconds } => log::append(Duration::from_secs(seconds), ended)
                .await?
                .to_string(),
            Self::Replay { events } => log::replay(events, ended).await?.to_string(),
            Self::Start { events } => log::start(events, ended).await?.to_string(),
            Self::Broker {
                seconds,
                rounds,
                only,
            } => {
                let settings = broker::Settings {
                    load: Duration::from_secs(seconds),
                    rounds: rounds.into(),
                    only,
                    ..broker::Settings::default()
                };
                tokio::select! {
                    report = broker::run(settings) => report?,
                    () = ended => return Ok(()),
                }
            }
        };
        print!("{report}");
        Ok(())
    }
}
