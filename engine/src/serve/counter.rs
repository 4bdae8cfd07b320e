//! The part of the engine that sells to strangers, for a measurement that stands in the place of
//! the ledger: it hands over the payments itself.

use super::buyers::{Buyers, Post, Telling};
use super::following::{Fed, Recorder};
use super::start_writer;
use crate::buyers::Keyring;
use crate::config::GateConfig;
use crate::event_log::Origin;
use crate::writer::{Settings, Started};
use sqlx::postgres::PgConnectOptions;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tanglegate_broker::{AccessView, Clock, Gate, ListenerSettings, Statistics};
use tanglegate_core::{Command, Confirmation, Timestamp};

/// Writer, gate and buyers' desk, with the usual limits.
pub(crate) struct Counter {
    writer: Started,
    gate: Gate,
    buyers: Buyers,
    recorder: Recorder,
    clock: Clock,
}

impl Counter {
    /// Opens on a migrated database; what the engine keeps in files stands in `data_dir`. The gate
    /// listens on any free port of 127.0.0.1.
    pub(crate) async fn open(options: &PgConnectOptions, data_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data_dir)?;
        let (view, clock, post) = (AccessView::new(), Clock::wall(), Post::default());
        let writer = start_writer(options, Settings::default(), &view, &post, &clock).await?;
        let telling = Telling {
            options,
            data_dir,
            post,
            view: view.clone(),
            clock: clock.clone(),
        };
        let (_, keyring) = telling.open_secrets().await?;
        let config = GateConfig {
            listeners: vec![ListenerSettings::new(SocketAddr::from(([127, 0, 0, 1], 0)))],
            ..GateConfig::default()
        };
        let gate = Gate::start(config.settings(data_dir), view, clock.clone()).await?;
        let buyers = Buyers::start(telling, keyring.clone(), &writer, &gate, None).await?;
        let recorder = Recorder {
            writer: writer.handle.clone(),
            keyring,
        };
        Ok(Self {
            writer,
            gate,
            buyers,
            recorder,
            clock,
        })
    }

    /// Where strangers connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gate.local_addr()
    }

    /// What makes keys and opens memos.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.recorder.keyring
    }

    /// What the gate did.
    pub(crate) fn statistics(&self) -> Statistics {
        self.gate.statistics()
    }

    /// The engine's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the operator says.
    pub(crate) async fn submit(&self, command: Command) -> anyhow::Result<()> {
        self.writer
            .handle
            .submit(Origin::Engine, None, command)
            .await?;
        Ok(())
    }

    /// Takes payments as they come from the ledger's follower; returns when they are recorded.
    pub(crate) async fn take(&self, payments: Vec<Confirmation>) -> anyhow::Result<()> {
        let fed = self.recorder.record(payments, &mut 0).await;
        anyhow::ensure!(
            fed == Fed::Recorded,
            "the payments are not recorded: {fed:?}"
        );
        Ok(())
    }

    /// Stops everything.
    pub(crate) async fn close(self) {
        self.buyers.stop();
        self.gate.shutdown(Duration::from_secs(2)).await;
        self.writer.stop().await;
    }
}
