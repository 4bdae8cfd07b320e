//! `tanglegate bench`

use super::asked_to_end;
use crate::bench::mqtt::{self, Section};
use crate::bench::{buyers, log};
use clap::Subcommand;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tanglegate_broker::Safety;

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
    /// Audit a long log: check it, fold it, explain, prove, export
    Audit {
        /// Events in the log
        #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
        events: u64,
        /// One round of each
        #[arg(long)]
        quick: bool,
    },
    /// Sell to strangers: answer sealed purchases, and hold against floods and forgeries
    Buyers {
        /// In a minute: fewer purchases, strangers and forgeries
        #[arg(long)]
        quick: bool,
    },
    /// Pass messages, hold sessions and check passwords, beside Mosquitto with the same rights
    #[command(alias = "broker")]
    Mqtt {
        /// Measure these parts only
        #[arg(long, value_delimiter = ',', value_name = "PARTS")]
        only: Vec<Section>,
        /// In a few minutes: one round of short loads and smaller crowds
        #[arg(long)]
        quick: bool,
        /// Seconds of each load on each server, each time; usually 3
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: Option<u64>,
        /// How often the servers take turns; the median counts; usually 3
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
        rounds: Option<u8>,
    },
    /// A gate to be measured; `bench mqtt` starts it
    #[command(hide = true)]
    Gate {
        /// Its logins and rights
        #[arg(long)]
        scene: PathBuf,
        /// Where it keeps sessions and messages; without it, in memory alone
        #[arg(long)]
        store: Option<PathBuf>,
        /// What has to be done before it answers
        #[arg(long, value_enum, default_value_t = Safe::Disk)]
        safety: Safe,
    },
}

/// [`Safety`], on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Safe {
    /// The disk has it
    Disk,
    /// The operating system has it
    System,
}

impl From<Safe> for Safety {
    fn from(safe: Safe) -> Self {
        match safe {
            Safe::Disk => Self::Disk,
            Safe::System => Self::System,
        }
    }
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
            Self::Audit { events, quick } => {
                let program = std::env::current_exe()?;
                log::audit(program, events, quick, ended).await?.to_string()
            }
            Self::Buyers { quick } => {
                let settings = if quick {
                    buyers::Settings::quick()
                } else {
                    buyers::Settings::default()
                };
                buyers::run(settings, ended).await?.to_string()
            }
            Self::Mqtt {
                only,
                quick,
                seconds,
                rounds,
            } => {
                let mut settings = if quick {
                    mqtt::Settings::quick()
                } else {
                    mqtt::Settings::default()
                };
                settings.program = std::env::current_exe()?;
                settings.load = seconds.map_or(settings.load, Duration::from_secs);
                settings.rounds = rounds.map_or(settings.rounds, usize::from);
                if !only.is_empty() {
                    settings.only = only;
                }
                return measure_mqtt(settings, ended).await;
            }
            Self::Gate {
                scene,
                store,
                safety,
            } => {
                let store = store.map(|folder| (folder, safety.into()));
                return mqtt::serve_gate(&scene, store).await;
            }
        };
        print!("{report}");
        Ok(())
    }
}

/// Prints each table as soon as it is known. When `ended` completes, the measurement under way is
/// the last one.
async fn measure_mqtt(
    settings: mqtt::Settings,
    ended: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let measuring = tokio::task::spawn_blocking(move || {
        mqtt::run(&settings, &stopping, |text| {
            print!("{text}");
            // Who reads it line by line may be gone; the measurement goes on.
            let _ = std::io::stdout().flush();
        })
    });
    tokio::pin!(measuring);
    tokio::select! {
        measured = &mut measuring => return measured?,
        () = ended => stop.store(true, Ordering::Relaxed),
    }
    measuring.await?
}
