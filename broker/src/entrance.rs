//! Where clients come in: what carries their bytes, and what is known about them before they have
//! said anything.

mod certificates;
mod expiry;
mod proxied;
mod settings;

pub use certificates::{CertificateName, ClientCertificates, TlsError, TlsSettings};
pub(crate) use expiry::watch_certificates;
pub use settings::{ListenerSettings, Transport};

use crate::socket::Socket;
use crate::statistics::{Counter, ListenerStatistics};
use certificates::Certificates;
pub(crate) use certificates::{NameError, Prepared};
#[cfg(any(test, fuzzing))]
pub(crate) use proxied::origin;
use rustls::ServerConnection;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;

/// A listener, without its TCP socket.
pub(crate) struct Entrance {
    settings: ListenerSettings,
    certificates: Option<Certificates>,
    failed_tls: Counter,
    failed_websocket: Counter,
}

impl Entrance {
    /// Reads the files that the settings name.
    pub(crate) fn new(settings: ListenerSettings) -> Result<Self, TlsError> {
        let application: &[u8] = match settings.transport {
            Transport::Tcp => b"mqtt",
            Transport::WebSocket => b"http/1.1",
        };
        let tls = settings.tls.clone();
        let certificates = tls.map(|it| Certificates::read(it, application));
        Ok(Self {
            certificates: certificates.transpose()?,
            settings,
            failed_tls: Counter::default(),
            failed_websocket: Counter::default(),
        })
    }

    /// Reads the files of TLS again; what comes of it counts from [`Self::take_over`] on.
    pub(crate) fn prepare(&self) -> Result<Option<Prepared>, TlsError> {
        let certificates = self.certificates.as_ref();
        certificates.map(Certificates::prepare).transpose()
    }

    /// Connections from now on are served with this; those that are open stay as they are.
    pub(crate) fn take_over(&self, prepared: Prepared) {
        if let Some(certificates) = &self.certificates {
            certificates.take_over(prepared);
        }
    }

    /// A client with another idea of TLS or WebSocket, a wrong certificate for example, is nobody's
    /// fault; whoever looks for the reason finds it. Other ends of a connection are not counted.
    pub(crate) fn note_failure(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::InvalidData {
            return;
        }
        tracing::debug!(listener = %self.settings.address, %error, "a client was not understood");
        match error.get_ref() {
            Some(it) if it.is::<rustls::Error>() => self.failed_tls.one(),
            _ => self.failed_websocket.one(),
        }
    }

    /// How it is; it listens at `address`.
    pub(crate) fn statistics(&self, address: SocketAddr) -> ListenerStatistics {
        let certificates = self.certificates.as_ref();
        let speaks_frames = self.settings.transport == Transport::WebSocket;
        ListenerStatistics {
            address,
            failed_tls: certificates.map(|_| self.failed_tls.read()),
            failed_websocket: speaks_frames.then(|| self.failed_websocket.read()),
            certificate_expires: certificates.map(Certificates::expires),
            revocation_list_due: certificates.and_then(Certificates::lists_due),
        }
    }

    /// Open connections, at most.
    pub(crate) fn connections(&self) -> usize {
        self.settings.connections
    }

    /// True when clients without a login may come in here.
    pub(crate) fn lets_anonymous_in(&self) -> bool {
        self.settings.anonymous
    }

    /// True when a load balancer says first whom a connection is from.
    pub(crate) fn is_proxied(&self) -> bool {
        !self.settings.trusted_proxies.is_empty()
    }

    /// True when the word of whoever connects from that address counts on whom a connection is
    /// from.
    pub(crate) fn trusts(&self, proxy: IpAddr) -> bool {
        let (proxy, trusted) = (proxy.to_canonical(), &self.settings.trusted_proxies);
        trusted.iter().any(|it| it.contains(&proxy))
    }

    /// Reads whom a connection from `proxy`, which is trusted, is from; an error when it does not
    /// say so.
    pub(crate) async fn origin(&self, stream: &TcpStream, proxy: IpAddr) -> io::Result<IpAddr> {
        let origin = proxied::read_origin(stream).await?;
        Ok(origin.unwrap_or(proxy.to_canonical()))
    }

    /// The connection as a stream of what the client says.
    pub(crate) fn socket(&self, stream: TcpStream) -> Result<Socket, rustls::Error> {
        let tls = match &self.certificates {
            Some(certificates) => Some(ServerConnection::new(certificates.present())?),
            None => None,
        };
        Ok(match (&tls, self.settings.transport) {
            (None, Transport::Tcp) => Socket::plain(stream),
            _ => Socket::layered(stream, tls),
        })
    }

    /// What has to be said before MQTT is spoken.
    pub(crate) async fn open(&self, socket: &mut Socket) -> io::Result<()> {
        match self.settings.transport {
            Transport::Tcp => Ok(()),
            Transport::WebSocket => socket.upgrade().await,
        }
    }

    /// The user name that the client's certificate gives it; `None` without a certificate.
    pub(crate) fn client_name(&self, socket: &Socket) -> Result<Option<String>, NameError> {
        match (&self.certificates, socket.client_certificate()) {
            (Some(certificates), Some(it)) => certificates.name_in(it).map(Some),
            _ => Ok(None),
        }
    }
}
