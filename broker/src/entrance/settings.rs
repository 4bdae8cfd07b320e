//! How a listener is set up.

use super::TlsSettings;
use ipnet::IpNet;
use std::net::SocketAddr;

/// What carries MQTT's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// TCP as it is.
    #[default]
    Tcp,
    /// Binary WebSocket frames of the subprotocol `mqtt`, whatever the path (MQTT 5.0 §6).
    WebSocket,
}

/// One place where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where; port 0 is any free one.
    pub address: SocketAddr,
    /// What carries MQTT's bytes.
    pub transport: Transport,
    /// TLS under it, if wanted.
    pub tls: Option<TlsSettings>,
    /// Load balancers whose word counts on whom a connection is from. With any, every connection
    /// has to come from one of them and begin with a PROXY protocol header (version 1 or 2); the
    /// address in it is the one that limits count.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether clients without a login may come in here.
    pub anonymous: bool,
    /// Open connections here, at most; beyond it new ones are closed unread. The gate's own
    /// bounds hold as well.
    pub connections: usize,
}

impl ListenerSettings {
    /// The usual settings: plain TCP, for everybody.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            transport: Transport::Tcp,
            tls: None,
            trusted_proxies: vec![],
            anonymous: true,
            connections: usize::MAX,
        }
    }
}
