//! Where clients come in: what carries their bytes, and what is known about them before they have
//! said anything.

mod certificates;
mod proxied;
mod settings;

pub use certificates::{CertificateName, ClientCertificates, TlsError, TlsSettings};
pub use settings::{ListenerSettings, Transport};

use crate::socket::Socket;
use certificates::Certificates;
pub(crate) use certificates::{NameError, Prepared};
#[cfg(any(test, fuzzing))]
pub(crate) use proxied::origin;
use rustls::ServerConnection;
use std::io;
use std::net::IpAddr;
use tokio::net::TcpStream;

/// A listener, without its TCP socket.
pub(crate) struct Entrance {
    settings: ListenerSettings,
    certificates: Option<Certificates>,
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

    /// Reads whom a connection from `proxy` is from; an error when that is not to be believed.
    pub(crate) async fn origin(&self, stream: &TcpStream, proxy: IpAddr) -> io::Result<IpAddr> {
        let proxy = proxy.to_canonical();
        if !self.trusts(proxy) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(proxied::read_origin(stream).await?.unwrap_or(proxy))
    }

    fn trusts(&self, proxy: IpAddr) -> bool {
        let trusted = &self.settings.trusted_proxies;
        trusted.iter().any(|it| it.contains(&proxy))
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
