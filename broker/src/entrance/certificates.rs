//! TLS: who we are, and who a client is.

use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tanglegate_core::Timestamp;
use x509_parser::extensions::GeneralName;

/// The files that TLS is set up from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file with our certificate, followed by those that lead to its authority.
    pub certificates: PathBuf,
    /// PEM file with its private key (PKCS#8, PKCS#1 or SEC 1, not encrypted).
    pub key: PathBuf,
    /// What clients show, if they are asked for anything.
    pub clients: Option<ClientCertificates>,
}

/// Clients that log in by a certificate. The name in it is the user name; no password is needed,
/// and one that is sent has to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file with the certificates of the authorities that know our clients.
    pub authorities: PathBuf,
    /// PEM file with the authorities' lists of certificates that they have revoked, one for each
    /// of them, if revoked ones are to be refused. A list whose next update is overdue counts no
    /// more, and without a list of its authority no certificate is good.
    pub crl: Option<PathBuf>,
    /// Whether a client has to have a certificate; otherwise it may log in with a password, too.
    pub required: bool,
    /// Which name in the certificate is the user name.
    pub name: CertificateName,
}

/// A name in a certificate (RFC 5280). There has to be exactly one of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateName {
    /// The subject's common name.
    #[default]
    CommonName,
    /// The subject's alternative name that is a DNS name.
    Dns,
    /// The subject's alternative name that is an e-mail address.
    Email,
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommonName => "common name",
            Self::Dns => "DNS name",
            Self::Email => "e-mail address",
        })
    }
}

/// Files that TLS cannot be set up from.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} in {}: {error}; give a PEM file that this account can read", path.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: pem::Error,
    },
    /// There is nothing in the file.
    #[error("{} holds no certificate; give a PEM file with “BEGIN CERTIFICATE” in it", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The certificate and the key do not go together, or one of them is of no use.
    #[error(
        "the certificate in {} cannot be used with the key in {}: {error}; give the key that the \
         first certificate in the file was made for (RSA, ECDSA or Ed25519)",
        certificates.display(), key.display()
    )]
    Mismatch {
        /// File with the certificates.
        certificates: PathBuf,
        /// File with the key.
        key: PathBuf,
        /// Why not.
        error: rustls::Error,
    },
    /// There is no list of revoked certificates in the file.
    #[error("{} holds no list of revoked certificates; give a PEM file with “BEGIN X509 CRL” in it", path.display())]
    NoList {
        /// Which file.
        path: PathBuf,
    },
    /// An authority, or its list of revoked certificates, is of no use.
    #[error("clients cannot be checked against the authorities in {}: {why}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// A certificate that gives its owner no user name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the client's certificate cannot be read")]
    Unreadable,
    #[error("the client's certificate has to have one {kind}, the user name; it has {count}")]
    Count { kind: CertificateName, count: usize },
}

/// What new connections are served with.
pub(crate) struct Prepared {
    config: Arc<ServerConfig>,
    /// When the first of our certificates ends.
    expires: Timestamp,
    /// When the first list of revoked certificates is overdue; `None` without any.
    lists_due: Option<Timestamp>,
}

/// What one listener shows, and asks for.
pub(super) struct Certificates {
    settings: TlsSettings,
    /// The application protocol that clients may ask for (RFC 7301).
    application: &'static [u8],
    present: RwLock<Prepared>,
}

impl Certificates {
    pub(super) fn read(
        settings: TlsSettings,
        application: &'static [u8],
    ) -> Result<Self, TlsError> {
        let prepared = prepare(&settings, application)?;
        Ok(Self {
            settings,
            application,
            present: RwLock::new(prepared),
        })
    }

    pub(super) fn prepare(&self) -> Result<Prepared, TlsError> {
        prepare(&self.settings, self.application)
    }

    pub(super) fn take_over(&self, prepared: Prepared) {
        *self.present.write() = prepared;
    }

    pub(super) fn present(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.present.read().config)
    }

    /// When the first of our certificates ends.
    pub(super) fn expires(&self) -> Timestamp {
        self.present.read().expires
    }

    /// When the first list of revoked certificates is overdue; `None` without any.
    pub(super) fn lists_due(&self) -> Option<Timestamp> {
        self.present.read().lists_due
    }

    /// The user name in a certificate that was checked.
    pub(super) fn name_in(&self, certificate: &CertificateDer<'_>) -> Result<String, NameError> {
        let clients = self.settings.clients.as_ref();
        let kind = clients.map(|it| it.name).unwrap_or_default();
        name_in(certificate, kind)
    }
}

fn prepare(settings: &TlsSettings, application: &[u8]) -> Result<Prepared, TlsError> {
    let chain = read_certificates("certificates", &settings.certificates)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| {
        let (what, path) = ("a private key", settings.key.clone());
        TlsError::Unreadable { what, path, error }
    })?;
    let expires = first_end(&chain);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Setup)?;
    let lists_of = |it: &ClientCertificates| it.crl.as_deref().map(read_lists).transpose();
    let lists = settings.clients.as_ref().map(lists_of).transpose()?;
    let lists = lists.flatten();
    let lists_due = lists.as_deref().map(first_due);
    let config = match &settings.clients {
        Some(clients) => config.with_client_cert_verifier(verifier(clients, lists, provider)?),
        None => config.with_no_client_auth(),
    };
    let config = config.with_single_cert(chain, key);
    let mut config = config.map_err(|error| TlsError::Mismatch {
        certificates: settings.certificates.clone(),
        key: settings.key.clone(),
        error,
    })?;
    config.alpn_protocols = vec![application.to_vec()];
    if settings.clients.is_some() {
        // A resumed session would be as good as a certificate that has expired meanwhile.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Prepared {
        config: Arc::new(config),
        expires,
        lists_due,
    })
}

/// When the first of these certificates ends, exclusively. One that cannot be read ends now: who
/// looks at it sees that something is wrong.
fn first_end(chain: &[CertificateDer<'_>]) -> Timestamp {
    let end = |certificate: &CertificateDer<'_>| {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        // The last second is still good (RFC 5280 §4.1.2.5).
        Some(Timestamp((seconds + 1).saturating_mul(1_000)))
    };
    let ends = chain.iter().map(|it| end(it).unwrap_or(Timestamp(0)));
    ends.min().unwrap_or(Timestamp::FOREVER)
}

/// When the next update of the first of these lists is due; what cannot be read is overdue.
fn first_due(lists: &[CertificateRevocationListDer<'_>]) -> Timestamp {
    let due = |list: &CertificateRevocationListDer<'_>| {
        let (_, parsed) = x509_parser::parse_x509_crl(list).ok()?;
        let seconds = u64::try_from(parsed.next_update()?.timestamp()).ok()?;
        Some(Timestamp(seconds.saturating_mul(1_000)))
    };
    let due = lists.iter().map(|it| due(it).unwrap_or(Timestamp(0)));
    due.min().unwrap_or(Timestamp::FOREVER)
}

fn verifier(
    clients: &ClientCertificates,
    lists: Option<Vec<CertificateRevocationListDer<'static>>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let path = &clients.authorities;
    let unusable = |why: String| TlsError::Authority {
        path: path.clone(),
        why,
    };
    let mut roots = RootCertStore::empty();
    for authority in read_certificates("the authorities of clients", path)? {
        let added = roots.add(authority);
        added.map_err(|error| unusable(error.to_string()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(lists) = lists {
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    let builder = if clients.required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder.build().map_err(|error| unusable(error.to_string()))
}

fn read_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect);
    let lists: Vec<_> = read.map_err(|error| TlsError::Unreadable {
        what: "lists of revoked certificates",
        path: path.to_owned(),
        error,
    })?;
    if lists.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::NoList { path });
    }
    Ok(lists)
}

fn read_certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| TlsError::Unreadable {
        what,
        path: path.to_owned(),
        error,
    })?;
    if certificates.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::Empty { path });
    }
    Ok(certificates)
}

fn name_in(certificate: &CertificateDer<'_>, kind: CertificateName) -> Result<String, NameError> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, certificate) = parsed.map_err(|_| NameError::Unreadable)?;
    let names: Vec<&str> = if kind == CertificateName::CommonName {
        let names = certificate.subject().iter_common_name();
        let names: Result<_, _> = names.map(|it| it.as_str()).collect();
        names.map_err(|_| NameError::Unreadable)?
    } else {
        let found = certificate.subject_alternative_name();
        let found = found.map_err(|_| NameError::Unreadable)?;
        let names = found.map_or(&[][..], |it| &it.value.general_names);
        names
            .iter()
            .filter_map(|it| alternative(it, kind))
            .collect()
    };
    match names[..] {
        [name] => Ok(name.to_owned()),
        _ => Err(NameError::Count {
            kind,
            count: names.len(),
        }),
    }
}

/// The name, if it is of the kind that is wanted.
fn alternative<'a>(name: &GeneralName<'a>, kind: CertificateName) -> Option<&'a str> {
    match (name, kind) {
        (GeneralName::DNSName(name), CertificateName::Dns)
        | (GeneralName::RFC822Name(name), CertificateName::Email) => Some(name),
        _ => None,
    }
}
