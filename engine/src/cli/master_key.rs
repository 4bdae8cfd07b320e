//! `tanglegate master-key`

use super::Common;
use crate::buyers::{MasterKeySource, SecretStore};
use crate::event_log::{self, Entropy, EventLog};
use crate::serve::{Database, data_dir};
use anyhow::Context;
use clap::Subcommand;
use std::path::PathBuf;
use std::time::Duration;
use tanglegate_crypto::MasterKey;
use zeroize::Zeroizing;

/// How long an engine that is just stopping may take.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Subcommand)]
pub(super) enum MasterKeyCommand {
    /// Wrap the engine's secrets under a new master key; the engine must not run meanwhile
    Rotate {
        /// The new key, one line of 64 hexadecimal digits; without it one is made. Needed where the
        /// engine takes its key from the environment or from systemd: give it this one from then on
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

impl MasterKeyCommand {
    pub(super) async fn run(self, common: &Common) -> anyhow::Result<()> {
        let Self::Rotate { to } = self;
        let config = common.config()?;
        let data_dir = data_dir(&config)?;
        let database = Database::open(&config, &data_dir, |_| ()).await?;
        let rotated = rotate(&data_dir, &database, to).await;
        database.stop().await;
        println!("{}", rotated?);
        Ok(())
    }
}

async fn rotate(
    data_dir: &std::path::Path,
    database: &Database,
    to: Option<PathBuf>,
) -> anyhow::Result<String> {
    let options = database.options();
    event_log::migrate(options).await?;
    let mut log = EventLog::open(options).await?;
    log.claim(PATIENCE).await?;
    let mut entropy = Entropy::system();
    let source = MasterKeySource::of(data_dir);
    let new = match &to {
        Some(path) => {
            let text = std::fs::read_to_string(path).map(Zeroizing::new);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            MasterKey::from_text(&text).with_context(|| path.display().to_string())?
        }
        None => MasterKey::from_bytes(entropy.bytes()),
    };
    let (store, old) = SecretStore::settle(&source, options, &mut entropy).await?;
    let (before, after) = (old.id(), new.id());
    let own = source.keep_next(&new)?;
    anyhow::ensure!(
        own || to.is_some(),
        "the engine does not take its master key from the data folder: name a file with the new \
         one, --to FILE"
    );
    // Whatever becomes of it, both keys stay until it is known which one is right: the next start,
    // or the next call, looks.
    let number = store.rewrap(&new, &mut entropy).await?;
    if own {
        source.take_over()?;
    }
    log.close().await;
    Ok(format!(
        "{number} secrets are wrapped under master key {after} instead of {before}"
    ))
}
