//! `[gate]`: where clients connect, and what they can make the gate do.

use super::limits::LimitsSection;
use super::listeners::ListenerSection;
use super::{ConfigError, socket_address};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;
use tanglegate_broker::{Limits, ListenerSettings, Settings};

/// Where clients connect, and what they can make the gate do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateConfig {
    /// Where they connect; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// Bounds on what they can make the gate hold or do.
    pub limits: Limits,
    /// How often statistics are published on `$SYS/broker/…`; `None`: never.
    pub sys_interval: Option<Duration>,
}

impl Default for GateConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 1883));
        Self {
            listeners: vec![ListenerSettings::new(listen)],
            limits: Limits::default(),
            sys_interval: Some(Duration::from_secs(10)),
        }
    }
}

impl GateConfig {
    /// The gate's settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let usual = Settings::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        Settings {
            listeners: self.listeners.clone(),
            limits: self.limits.clone(),
            sys_interval: self.sys_interval,
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
}

impl GateSection {
    pub(super) fn check(self) -> Result<GateConfig, ConfigError> {
        let usual = GateConfig::default();
        Ok(GateConfig {
            listeners: listeners(self.listen, self.listener, usual.listeners)?,
            limits: self.limits.check(usual.limits)?,
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
