//! Tree heads of the engine that runs: signed, and told to everybody who may read them.

use crate::config::Config;
use crate::heads::{Heads, KeyFolder, Signer, SignerError};
use crate::writer::Started;
use sqlx::postgres::PgConnectOptions;
use std::path::Path;
use tanglegate_broker::{Announcer, Clock};
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// The signing of heads, and who tells them.
pub(super) struct Signing {
    signer: Signer,
    telling: JoinHandle<()>,
}

impl Signing {
    /// Starts it. Another engine may be the one that signs: then this one goes on without.
    pub(super) async fn start(
        config: &Config,
        data_dir: &Path,
        options: &PgConnectOptions,
        writer: &Started,
        clock: &Clock,
        announcer: Announcer,
    ) -> Result<Option<Self>, SignerError> {
        let folder = KeyFolder::of(data_dir);
        let clock = clock.clone();
        let signer = Signer::start(&config.heads, folder, options, writer, move || clock.now());
        let signer = match signer.await {
            Err(error @ SignerError::OtherKey { .. }) => {
                warn!(%error, "this engine signs no tree heads");
                return Ok(None);
            }
            started => started?,
        };
        let heads = signer.heads();
        info!(key = %heads.key(), "tree heads are signed with this key");
        let telling = tokio::spawn(tell(heads, announcer));
        Ok(Some(Self { signer, telling }))
    }

    /// What others may know of it and ask of it.
    pub(super) fn heads(&self) -> Heads {
        self.signer.heads()
    }

    /// Signs what happened since the last head.
    pub(super) async fn stop(self) {
        self.signer.stop().await;
        self.telling.abort();
    }
}

/// Tells each head, and with it the key that verifies it.
async fn tell(mut heads: Heads, announcer: Announcer) {
    let mut newest = heads.latest();
    loop {
        if let Some(note) = &newest {
            let key = heads.key();
            announcer.announce("log/key", key.0.as_bytes()).await;
            announcer.announce("log/head", note.as_bytes()).await;
        }
        newest = heads.next().await;
        if newest.is_none() {
            return;
        }
    }
}
