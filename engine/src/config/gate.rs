//! `[gate]`: where clients connect, and what they can make the gate do.

use super::limits::LimitsSection;
use super::listeners::ListenerSection;
use super::{ConfigError, socket_address};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate_broker::{Limits, ListenerSettings, Safety, Settings, StoreSettings};

/// Where clients connect, and what they can make the gate do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateConfig {
    /// Where they connect; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// Bounds on what they can make the gate hold or do.
    pub limits: Limits,
    /// How often statistics are published on `$SYS/broker/…`; `None`: never.
    pub sys_interval: Option<Duration>,
    /// Where sessions and messages survive the server.
    pub store: StoreConfig,
}

/// Where sessions, the messages queued for them and retained messages are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder; `None`: `sessions` in the data folder.
    pub folder: Option<PathBuf>,
    /// What must have happened before a message is acknowledged; `None`: nothing is kept.
    pub safety: Option<Safety>,
}

impl Default for GateConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 1883));
        Self {
            listeners: vec![ListenerSettings::new(listen)],
            limits: Limits::default(),
            sys_interval: Some(Duration::from_secs(10)),
            store: StoreConfig {
                folder: None,
                safety: Some(Safety::Disk),
            },
        }
    }
}

impl GateConfig {
    /// The gate's settings, for an engine with this data folder.
    #[must_use]
    pub fn settings(&self, data_dir: &Path) -> Settings {
        let store = self.store.safety.map(|safety| StoreSettings {
            folder: match &self.store.folder {
                Some(folder) => folder.clone(),
                None => data_dir.join("sessions"),
            },
            safety,
        });
        let usual = Settings::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        Settings {
            listeners: self.listeners.clone(),
            limits: self.limits.clone(),
            sys_interval: self.sys_interval,
            store,
            ..usual
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GateSection {
    listen: Option<String>,
    listener: Vec<ListenerSection>,
    sys_interval: Option<u32>,
    limits: LimitsSection,
    store: StoreSection,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct StoreSection {
    folder: Option<PathBuf>,
    safety: Option<SafetyName>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum SafetyName {
    Disk,
    System,
    None,
}

impl StoreSection {
    fn check(self, usual: StoreConfig) -> StoreConfig {
        StoreConfig {
            folder: self.folder.or(usual.folder),
            safety: match self.safety {
                None => usual.safety,
                Some(SafetyName::Disk) => Some(Safety::Disk),
                Some(SafetyName::System) => Some(Safety::System),
                Some(SafetyName::None) => None,
            },
        }
    }
}

impl GateSection {
    pub(super) fn check(self) -> Result<GateConfig, ConfigError> {
        let usual = GateConfig::default();
        Ok(GateConfig {
            listeners: listeners(self.listen, self.listener, usual.listeners)?,
            limits: self.limits.check(usual.limits)?,
            store: self.store.check(usual.store),
            sys_interval: match self.sys_interval {
                None => usual.sys_interval,
                Some(0) => None,
                Some(seconds) => Some(Duration::from_secs(seconds.into())),
            },
        })
    }
}

/// `gate.listen` is the short form of one listener.
fn listeners(
    short: Option<String>,
    sections: Vec<ListenerSection>,
    usual: Vec<ListenerSettings>,
) -> Result<Vec<ListenerSettings>, ConfigError> {
    let example = "\"0.0.0.0:1883\"";
    match (short, sections) {
        (None, sections) if sections.is_empty() => Ok(usual),
        (None, sections) => sections.into_iter().map(ListenerSection::check).collect(),
        (Some(listen), sections) if sections.is_empty() => {
            let address = socket_address("gate.listen", listen, example)?;
            Ok(vec![ListenerSettings::new(address)])
        }
        (Some(listen), _) => Err(ConfigError::Invalid {
            key: "gate.listen",
            value: listen,
            fault: "stands beside [[gate.listener]]: leave it out, and write it as \
                    gate.listener.listen of one listener more"
                .to_owned(),
            example,
        }),
    }
}
