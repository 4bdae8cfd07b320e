//! The one place for configuration: one TOML file, the environment for secrets. Everything is
//! parsed and checked before a port opens.

mod gate;
mod limits;
mod listeners;

pub use gate::GateConfig;

use crate::heads::HeadSettings;
use crate::snapshot;
use gate::GateSection;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate_core::Address;
use tanglegate_crypto::Origin;

/// The annotated example, which is also what `tanglegate config` prints.
pub const EXAMPLE: &str = include_str!("../../deploy/tanglegate.example.toml");

/// Configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key or value that does not belong there.
    #[error("in the configuration {}: {message}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Place and reason.
        message: String,
    },
    /// A value that does not make sense.
    #[error("{key} = {value:?} {fault}; for example {key} = {example}")]
    Invalid {
        /// Which key.
        key: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        fault: String,
        /// A right one, as it would stand in the file.
        example: &'static str,
    },
}

/// Everything that an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This engine's name in the log.
    pub node: String,
    /// Where a private database, the control socket and the MQTT sessions live; `None`: the usual
    /// place.
    pub data_dir: Option<PathBuf>,
    /// The operator's database; `None`: a private one.
    pub database: Option<DatabaseUrl>,
    /// How the gate listens.
    pub gate: GateConfig,
    /// What is followed; `None`: no ledger, no sales.
    pub ledger: Option<LedgerConfig>,
    /// Where metrics are told; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// How logs are written.
    pub log: LogFormat,
    /// When tree heads are signed, and under which name.
    pub heads: HeadSettings,
    /// Events between two snapshots of the log; 0: none are taken.
    pub snapshot_events: u64,
}

/// The address of a database. It may hold a password, so it stands in the environment variable
/// `DATABASE_URL` and not in the file, and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(zeroize::Zeroizing<String>);

impl DatabaseUrl {
    /// Takes an address.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self(zeroize::Zeroizing::new(url))
    }

    /// The address.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

/// Which payments count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// The JSON-RPC endpoint of an IOTA node or indexer.
    pub node_url: String,
    /// The address that is paid.
    pub seller: Address,
    /// Pause between two looks at a quiet ledger, in milliseconds.
    pub poll_ms: u64,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "tanglegate".to_owned(),
            data_dir: None,
            database: None,
            gate: GateConfig::default(),
            ledger: None,
            metrics: None,
            log: LogFormat::Text,
            heads: HeadSettings::default(),
            snapshot_events: snapshot::EVERY,
        }
    }
}

/// The file as it is written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    node: Option<String>,
    data_dir: Option<PathBuf>,
    gate: GateSection,
    ledger: Option<LedgerSection>,
    metrics: MetricsSection,
    log: LogSection,
    heads: HeadsSection,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerSection {
    node_url: String,
    seller: String,
    poll_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct MetricsSection {
    listen: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LogSection {
    format: LogFormat,
    snapshot_events: Option<u64>,
}

/// Fewer events are folded sooner than a snapshot is read.
const LEAST_SNAPSHOT_EVENTS: u64 = 1_000;

impl LogSection {
    fn snapshot_events(&self) -> Result<u64, ConfigError> {
        match self.snapshot_events {
            Some(events @ 1..LEAST_SNAPSHOT_EVENTS) => Err(ConfigError::Invalid {
                key: "log.snapshot_events",
                value: events.to_string(),
                fault: "is neither 0 (no snapshots) nor 1000 or more".to_owned(),
                example: "1000000",
            }),
            events => Ok(events.unwrap_or(snapshot::EVERY)),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct HeadsSection {
    origin: Option<String>,
    every_events: Option<u64>,
    every_s: Option<u64>,
}

impl HeadsSection {
    fn check(self) -> Result<HeadSettings, ConfigError> {
        let usual = HeadSettings::default();
        let origin = self.origin.map(|name| {
            Origin::parse(&name).map_err(|it| ConfigError::Invalid {
                key: "heads.origin",
                value: name,
                fault: format!("is no name of a log ({it})"),
                example: "\"log.example.org\"",
            })
        });
        let positive = |key, value: Option<u64>, usual, example| match value {
            Some(0) => Err(ConfigError::Invalid {
                key,
                value: "0".to_owned(),
                fault: "is not positive".to_owned(),
                example,
            }),
            other => Ok(other.unwrap_or(usual)),
        };
        let every_events = positive(
            "heads.every_events",
            self.every_events,
            usual.every_events,
            "10000",
        )?;
        let every_s = positive("heads.every_s", self.every_s, usual.every.as_secs(), "10")?;
        Ok(HeadSettings {
            origin: origin.transpose()?,
            every_events,
            every: Duration::from_secs(every_s.min(86_400)),
        })
    }
}

impl Config {
    /// Reads a file, and the secrets from the environment. Without a file, everything has its
    /// usual value.
    ///
    /// # Errors
    /// When the file cannot be read or a key in it is wrong; the message names the key.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let mut config = match path {
            None => Self::default(),
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                        path: path.to_owned(),
                        source,
                    })?;
                Self::parse(&text, path)?
            }
        };
        let url = std::env::var("DATABASE_URL")
            .ok()
            .filter(|it| !it.is_empty());
        config.database = url.map(DatabaseUrl::new);
        Ok(config)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|it| ConfigError::Malformed {
            path: path.to_owned(),
            message: it.to_string(),
        })?;
        let usual = Self::default();
        Ok(Self {
            node: node_name(file.node.unwrap_or(usual.node))?,
            data_dir: file.data_dir,
            database: None,
            gate: file.gate.check()?,
            ledger: file.ledger.map(LedgerSection::check).transpose()?,
            metrics: file.metrics.check()?,
            log: file.log.format,
            heads: file.heads.check()?,
            snapshot_events: file.log.snapshot_events()?,
        })
    }
}

fn node_name(name: String) -> Result<String, ConfigError> {
    if (1..=48).contains(&name.len()) && name.chars().all(|it| it.is_ascii_graphic() || it == ' ') {
        return Ok(name);
    }
    Err(ConfigError::Invalid {
        key: "node",
        value: name,
        fault: "is not 1 to 48 printable ASCII characters".to_owned(),
        example: "\"plug-shop\"",
    })
}

fn socket_address(
    key: &'static str,
    text: String,
    example: &'static str,
) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| ConfigError::Invalid {
        key,
        value: text,
        fault: "is not an IP address with a port".to_owned(),
        example,
    })
}

impl MetricsSection {
    fn check(self) -> Result<Option<SocketAddr>, ConfigError> {
        let example = "\"127.0.0.1:9464\"";
        let address = |it| socket_address("metrics.listen", it, example);
        self.listen.map(address).transpose()
    }
}

impl LedgerSection {
    fn check(self) -> Result<LedgerConfig, ConfigError> {
        let http = self.node_url.starts_with("http://") || self.node_url.starts_with("https://");
        if !http {
            return Err(ConfigError::Invalid {
                key: "ledger.node_url",
                value: self.node_url,
                fault: "is not an http:// or https:// address".to_owned(),
                example: "\"http://127.0.0.1:9000\"",
            });
        }
        let seller = Address::parse(&self.seller).map_err(|fault| ConfigError::Invalid {
            key: "ledger.seller",
            value: self.seller,
            fault: format!("is not an address: {fault}"),
            example: "\"0x8d2d1c260127c74476b27136c5e38c003b66b889f5c80032fb81ebc3f44f45a3\"",
        })?;
        let poll_ms = self.poll_ms.unwrap_or(1_000);
        if !(10..=600_000).contains(&poll_ms) {
            return Err(ConfigError::Invalid {
                key: "ledger.poll_ms",
                value: poll_ms.to_string(),
                fault: "is not between 10 and 600000 milliseconds".to_owned(),
                example: "1000",
            });
        }
        Ok(LedgerConfig {
            node_url: self.node_url,
            seller,
            poll_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("test.toml")).map_err(|it| it.to_string())
    }

    #[test]
    fn the_annotated_example_is_valid_and_says_the_usual_values() {
        let example = parse(EXAMPLE).expect("valid");
        let usual = Config::default();
        assert_eq!((example.node, example.gate), (usual.node, usual.gate));
        assert_eq!(example.heads, usual.heads);
        assert_eq!(example.snapshot_events, usual.snapshot_events);
        assert!(example.ledger.is_some());
    }

    #[test]
    fn an_empty_file_is_enough() {
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn every_bound_of_the_gate_can_be_written_and_stands_in_the_example() {
        let usual = format!("{:?}", tanglegate_broker::Limits::default());
        let names = usual
            .split([' ', '{'])
            .filter_map(|it| it.strip_suffix(':'));
        for name in names.filter(|it| !["per_second", "burst"].contains(it)) {
            let in_example = EXAMPLE.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{name} =")) || line == format!("[gate.limits.{name}]")
            });
            assert!(in_example, "{name} is not in the example");
        }
    }

    #[test]
    fn listeners_are_read_with_everything_that_belongs_to_them() {
        let text = r#"
            [[gate.listener]]
            listen = "127.0.0.1:1883"
            [[gate.listener]]
            listen = "0.0.0.0:8884"
            transport = "websocket"
            anonymous = false
            connections = 50
            trusted_proxies = ["10.0.0.7", "192.168.0.0/16"]
            [gate.listener.tls]
            certificates = "chain.pem"
            key = "key.pem"
            clients = { authorities = "ca.pem", crl = "crl.pem", required = false, name = "email" }
            [gate.limits]
            retained_messages = 0
            [gate.limits.anonymous]
            requests = "unlimited"
            request_bytes = { per_second = 5, burst = 6 }
            keep_alive = "unlimited"
            stalled = 30
        "#;
        let gate = parse(text).expect("valid").gate;
        assert_eq!(gate.listeners.len(), 2);
        let second = &gate.listeners[1];
        assert_eq!(second.transport, tanglegate_broker::Transport::WebSocket);
        assert_eq!((second.anonymous, second.connections), (false, 50));
        assert_eq!(second.trusted_proxies.len(), 2);
        let tls = second.tls.as_ref().expect("TLS");
        let clients = tls.clients.as_ref().expect("certificates");
        assert_eq!(tls.key, Path::new("key.pem"));
        assert_eq!(clients.name, tanglegate_broker::CertificateName::Email);
        assert!(!clients.required && clients.crl.as_deref() == Some(Path::new("crl.pem")));
        assert_eq!(gate.limits.retained_messages, 0);
        let anonymous = &gate.limits.anonymous;
        assert_eq!((anonymous.requests, anonymous.keep_alive), (None, None));
        let bytes = Some(tanglegate_broker::Rate::new(5, 6));
        assert_eq!(anonymous.request_bytes, bytes);
        assert_eq!(anonymous.stalled, Duration::from_secs(30));
    }

    #[test]
    fn errors_name_the_key_and_show_a_right_value() {
        let seller =
            "seller = \"0x8d2d1c260127c74476b27136c5e38c003b66b889f5c80032fb81ebc3f44f45a3\"";
        let cases = [
            ("node = \"\"".to_owned(), "node", "plug-shop"),
            (
                "heads.origin = \"my log\"".to_owned(),
                "heads.origin",
                "log.example.org",
            ),
            ("heads.every_s = 0".to_owned(), "heads.every_s", "10"),
            (
                "gate.listen = \"localhost\"".to_owned(),
                "gate.listen",
                "0.0.0.0:1883",
            ),
            (
                "gate.limits.connections = 0".to_owned(),
                "gate.limits.connections",
                "1000",
            ),
            (
                "gate.limits.conections = 5".to_owned(),
                "conections",
                "connections",
            ),
            (
                "gate.limits.connections = \"many\"".to_owned(),
                "gate.limits.connections",
                "1000",
            ),
            (
                "gate.limits.connections = [1]".to_owned(),
                "connections",
                "line 1",
            ),
            (
                "gate.limits.anonymous.requests = 10".to_owned(),
                "gate.limits.anonymous.requests",
                "{ per_second = 10, burst = 100 }",
            ),
            (
                "gate.limits.anonymous.requests = { per_second = 0, burst = 1 }".to_owned(),
                "gate.limits.anonymous.requests",
                "per_second = 10",
            ),
            (
                "gate.limits.known.in_flight = 65536".to_owned(),
                "gate.limits.known.in_flight",
                "1000",
            ),
            (
                "gate.listen = \"127.0.0.1:1\"\n[[gate.listener]]\nlisten = \"127.0.0.1:2\""
                    .to_owned(),
                "gate.listen",
                "gate.listener.listen",
            ),
            (
                "[[gate.listener]]\nlisten = \"localhost\"".to_owned(),
                "gate.listener.listen",
                "0.0.0.0:8883",
            ),
            (
                "[[gate.listener]]\ntransport = \"tcp\"".to_owned(),
                "listen",
                "missing",
            ),
            (
                "[[gate.listener]]\nlisten = \"127.0.0.1:2\"\ntransport = \"udp\"".to_owned(),
                "udp",
                "websocket",
            ),
            (
                "[[gate.listener]]\nlisten = \"127.0.0.1:2\"\ntls = { key = \"k\" }".to_owned(),
                "certificates",
                "missing",
            ),
            (
                "[[gate.listener]]\nlisten = \"127.0.0.1:2\"\ntrusted_proxies = [\"lb\"]"
                    .to_owned(),
                "gate.listener.trusted_proxies",
                "10.0.0.7",
            ),
            (
                format!("[ledger]\nnode_url = \"ftp://x\"\n{seller}"),
                "ledger.node_url",
                "http://",
            ),
            (
                "[ledger]\nnode_url = \"http://x\"".to_owned(),
                "seller",
                "missing",
            ),
            (
                "[ledger]\nnode_url = \"http://x\"\nseller = \"0x12\"".to_owned(),
                "ledger.seller",
                "0x8d2d",
            ),
            (
                format!("[ledger]\nnode_url = \"http://x\"\n{seller}\npoll_ms = 1"),
                "ledger.poll_ms",
                "1000",
            ),
            ("log.format = \"xml\"".to_owned(), "format", "text"),
            (
                "log.snapshot_events = 10".to_owned(),
                "log.snapshot_events",
                "1000000",
            ),
            (
                "metrics.listen = \":9464\"".to_owned(),
                "metrics.listen",
                "127.0.0.1:9464",
            ),
        ];
        for (text, key, remedy) in cases {
            let error = parse(&text).expect_err(&text);
            assert!(
                error.contains(key) && error.contains(remedy),
                "{text}: {error}"
            );
        }
    }
}
