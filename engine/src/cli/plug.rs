//! `tanglegate plug`

use super::{asked_to_end, quantity, serve};
use crate::config::LogFormat;
use crate::plug::{self, Login, Recording, Settings, Unit};
use anyhow::Context;
use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Args)]
pub(super) struct Plug {
    /// The gate's host
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The gate's port
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// The plug's login; its password comes from --password-file or TANGLEGATE_PASSWORD
    #[arg(long)]
    username: Option<String>,
    /// A file whose first line is the password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Topic of the instant power, in mW
    #[arg(long, default_value = "sensor/live")]
    live_topic: String,
    /// Topic of the mean over the last minute, in mW
    #[arg(long, default_value = "sensor/1m")]
    mean_topic: String,
    /// Time between two readings
    #[arg(long, default_value = "500ms", value_parser = quantity::duration)]
    interval: Duration,
    /// Seconds of the recording per second
    #[arg(long, default_value_t = 1)]
    speed: u32,
    /// A recording of your own: CSV with one row per minute (see engine/data/README.md)
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// The column with the power
    #[arg(long, default_value = "Global_active_power", requires = "csv")]
    column: String,
    /// The unit of that column
    #[arg(long, value_enum, default_value_t = PowerUnit::Kilowatt, requires = "csv")]
    unit: PowerUnit,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum PowerUnit {
    #[value(name = "mW")]
    Milliwatt,
    #[value(name = "W")]
    Watt,
    #[value(name = "kW")]
    Kilowatt,
}

impl From<PowerUnit> for Unit {
    fn from(unit: PowerUnit) -> Self {
        match unit {
            PowerUnit::Milliwatt => Self::Milliwatt,
            PowerUnit::Watt => Self::Watt,
            PowerUnit::Kilowatt => Self::Kilowatt,
        }
    }
}

impl Plug {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        serve::start_logging(LogFormat::Text);
        let mut settings = Settings::new(&self.host, self.port);
        if let Some(username) = &self.username {
            settings.login = Some(Login::read(username, self.password_file.as_deref())?);
        }
        if let Some(path) = &self.csv {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the recording {}", path.display()))?;
            let minute = Duration::from_secs(60);
            settings.recording = Recording::parse(&text, &self.column, self.unit.into(), minute)
                .with_context(|| format!("in the recording {}", path.display()))?;
        }
        settings.live_topic = self.live_topic;
        settings.mean_topic = self.mean_topic;
        settings.interval = self.interval;
        settings.speed = self.speed;
        let end = async {
            if let Err(error) = asked_to_end().await {
                tracing::error!(%error, "signals cannot be heard; stopping");
            }
        };
        Ok(plug::run(settings, end).await?)
    }
}
