//! Certificates for tests, generated for loopback in each run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jwe_gateway::config::Config;
use jwe_gateway::config::{Identity, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

/// A certificate authority, and a directory with the files of a listener whose certificate it signed.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its private key, both PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, directory: tempfile::tempdir().unwrap() };
        authority.put("ca.pem", &authority.issuer.pem());
        authority.install(&authority.issue());
        authority
    }

    /// Issues a pair for 127.0.0.1, for a listener or a caller.
    pub(crate) fn issue(&self) -> Pair {
        self.issue_with(|_| {})
    }

    pub(crate) fn issue_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// Replaces the listener's files by `pair`.
    pub(crate) fn install(&self, pair: &Pair) {
        self.put("cert.pem", &pair.certificate);
        self.put("key.pem", &pair.key);
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Replaces the client certificate that [`client`](Self::client) names by one for `name`.
    pub(crate) fn put_client(&self, name: &str) {
        let name = rcgen::SanType::DnsName(name.try_into().unwrap());
        let pair = self.issue_with(|params| params.subject_alt_names.push(name));
        self.put("client.pem", &pair.certificate);
        self.put("client.key", &pair.key);
    }

    pub(crate) fn client(&self) -> Identity {
        Identity { certificate: self.path("client.pem"), private_key: self.path("client.key") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Configures a listener with this authority's certificate.
    pub(crate) fn serve(&self, config: &mut Config) {
        config.gateway.listen.tls = Some(TlsFiles {
            certificate: self.path("cert.pem"),
            private_key: self.path("key.pem"),
            client_ca: None,
            require_client_certificate: false,
        });
    }

    /// Configures the same listener, which also requires a client certificate of this authority.
    pub(crate) fn serve_mtls(&self, config: &mut Config) {
        self.serve(config);
        let tls = config.gateway.listen.tls.as_mut().unwrap();
        (tls.client_ca, tls.require_client_certificate) = (Some(self.path("ca.pem")), true);
    }

    /// Returns a TLS configuration for callers. It trusts this authority, and presents `pair` if there is one.
    pub(crate) fn caller(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
        pair: Option<&Pair>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(first(&self.issuer.pem())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match pair {
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![first(&pair.certificate)], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

/// Returns the first certificate of a PEM text.
pub(crate) fn first(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Returns a client with this TLS configuration.
#[expect(clippy::disallowed_methods, reason = "a caller of the gateway; its TLS is under test")]
pub(crate) fn client(config: ClientConfig) -> reqwest::Client {
    reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap()
}

/// Returns a client that connects to a unix socket.
#[expect(clippy::disallowed_methods, reason = "a caller of the gateway; the socket is under test")]
pub(crate) fn unix_client(path: &Path) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(Authority::new().caller(rustls::ALL_VERSIONS, &[], None))
        .unix_socket(path)
        .no_proxy()
        .build()
        .unwrap()
}
