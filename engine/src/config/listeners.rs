//! `[[gate.listener]]`: where clients connect, and by what.

use super::{ConfigError, socket_address};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;
use tanglegate_broker::{
    CertificateName, ClientCertificates, IpNet, ListenerSettings, TlsSettings, Transport,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerSection {
    listen: String,
    #[serde(default)]
    transport: WrittenTransport,
    tls: Option<TlsSection>,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    anonymous: Option<bool>,
    connections: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum WrittenTransport {
    #[default]
    Tcp,
    WebSocket,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    certificates: PathBuf,
    key: PathBuf,
    clients: Option<ClientsSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientsSection {
    authorities: PathBuf,
    crl: Option<PathBuf>,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    name: WrittenName,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum WrittenName {
    #[default]
    CommonName,
    Dns,
    Email,
}

fn yes() -> bool {
    true
}

impl ListenerSection {
    pub(super) fn check(self) -> Result<ListenerSettings, ConfigError> {
        let address = socket_address("gate.listener.listen", self.listen, "\"0.0.0.0:8883\"")?;
        let usual = ListenerSettings::new(address);
        if self.connections == Some(0) {
            return Err(ConfigError::Invalid {
                key: "gate.listener.connections",
                value: "0".to_owned(),
                fault: "would let nobody in".to_owned(),
                example: "1000",
            });
        }
        let trusted = self.trusted_proxies.into_iter().map(network);
        Ok(ListenerSettings {
            transport: match self.transport {
                WrittenTransport::Tcp => Transport::Tcp,
                WrittenTransport::WebSocket => Transport::WebSocket,
            },
            tls: self.tls.map(TlsSection::settings),
            trusted_proxies: trusted.collect::<Result<_, _>>()?,
            anonymous: self.anonymous.unwrap_or(usual.anonymous),
            connections: self.connections.unwrap_or(usual.connections),
            ..usual
        })
    }
}

/// A network, or an address that stands for itself alone.
fn network(text: String) -> Result<IpNet, ConfigError> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse().ok().or_else(alone);
    network.ok_or_else(|| ConfigError::Invalid {
        key: "gate.listener.trusted_proxies",
        value: text.clone(),
        fault: "is neither an IP address nor a network".to_owned(),
        example: "[\"10.0.0.7\", \"192.168.0.0/16\"]",
    })
}

impl TlsSection {
    fn settings(self) -> TlsSettings {
        TlsSettings {
            certificates: self.certificates,
            key: self.key,
            clients: self.clients.map(|it| ClientCertificates {
                authorities: it.authorities,
                crl: it.crl,
                required: it.required,
                name: match it.name {
                    WrittenName::CommonName => CertificateName::CommonName,
                    WrittenName::Dns => CertificateName::Dns,
                    WrittenName::Email => CertificateName::Email,
                },
            }),
        }
    }
}
