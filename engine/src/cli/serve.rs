//! `tanglegate serve`

use super::{Common, asked_to_end};
use crate::config::LogFormat;
use crate::serve::Engine;
use std::io::IsTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

pub(super) async fn run(common: &Common) -> anyhow::Result<()> {
    let config = common.config()?;
    start_logging(config.log);
    let mut hangup = signal(SignalKind::hangup())?;
    let starting = Engine::start(&config, |what| info!("{what}"));
    let mut engine = tokio::select! {
        started = starting => started?,
        asked = asked_to_end() => return Ok(asked?),
    };
    for address in engine.mqtt_addresses().iter().skip(1) {
        info!(mqtt = %address, "clients connect here too");
    }
    info!(mqtt = %engine.mqtt_address(), control = %engine.control_socket().display(), "ready");
    let ended = asked_to_end();
    tokio::pin!(ended);
    let failure = loop {
        tokio::select! {
            asked = &mut ended => { asked?; break None; }
            why = engine.failed() => break Some(why),
            _ = hangup.recv() => engine.reload_certificates(),
        }
    };
    info!("stopping");
    engine.stop().await;
    match failure {
        None => Ok(()),
        Some(why) => Err(anyhow::anyhow!("the engine stopped: {why}")),
    }
}

/// Logs go to standard error, in colours only where that is a terminal; `RUST_LOG` chooses what
/// is written.
pub(super) fn start_logging(format: LogFormat) {
    let usual = "info,sqlx=warn,rumqttd=off,hyper=warn,reqwest=warn";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}
