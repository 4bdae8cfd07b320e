//! A certificate authority of the test's own.

#![expect(clippy::unwrap_used, reason = "a test that fails may say where")]

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::Arc;
use tanglegate_broker::{CertificateName, ClientCertificates, TlsSettings};
use tempfile::TempDir;

/// It vouches for servers and clients, and keeps its files until it is dropped.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// An authority, and files `server.pem` and `server.key` for localhost.
    #[expect(clippy::new_without_default, reason = "it writes files")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            folder: TempDir::new().unwrap(),
        };
        authority.write("authority.pem", &authority.issuer.pem());
        authority.certify_server();
        authority
    }

    /// Where a file of its own lies.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a file of its own.
    pub fn write(&self, file: &str, contents: &str) {
        std::fs::write(self.path(file), contents).unwrap();
    }

    /// Makes the server's certificate anew.
    pub fn certify_server(&self) {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        self.certify("server", params);
    }

    /// Makes it anew, to end at the beginning of that day.
    pub fn certify_server_until(&self, year: i32, month: u8, day: u8) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, month, day);
        self.certify("server", params);
    }

    /// Makes files `<name>.pem` and `<name>.key` for the client of that common name, whose
    /// alternative names are `names`.
    pub fn certify_client(&self, name: &str, names: &[&str]) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        for name in names {
            let text = (*name).try_into().unwrap();
            let is_mail = name.contains('@');
            let kind = if is_mail {
                SanType::Rfc822Name
            } else {
                SanType::DnsName
            };
            params.subject_alt_names.push(kind(text));
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(name.as_bytes().to_vec().into());
        self.certify(name, params);
    }

    /// Makes `crl.pem`, the list of revoked clients, whose next update is due in that year.
    pub fn revoke(&self, names: &[&str], due: i32) {
        let begun = rcgen::date_time_ymd(2_020, 1, 1);
        let revoked = names.iter().map(|name| RevokedCertParams {
            serial_number: name.as_bytes().to_vec().into(),
            revocation_time: begun,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: begun,
            next_update: rcgen::date_time_ymd(due, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        self.write("crl.pem", &list.pem().unwrap());
    }

    fn certify(&self, name: &str, params: CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// TLS for a server, which asks clients for certificates or does not.
    pub fn tls(&self, clients: Option<(bool, CertificateName)>) -> TlsSettings {
        TlsSettings {
            certificates: self.path("server.pem"),
            key: self.path("server.key"),
            clients: clients.map(|(required, name)| ClientCertificates {
                authorities: self.path("authority.pem"),
                crl: None,
                required,
                name,
            }),
        }
    }

    /// TLS for a client, with the certificate of that name or without one.
    pub fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match name {
            None => config.with_no_client_auth(),
            Some(name) => {
                let certificate = self.path(&format!("{name}.pem"));
                let certificate = CertificateDer::from_pem_file(certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                let config = config.with_client_auth_cert(vec![certificate], key);
                config.unwrap()
            }
        })
    }
}
