//! Connects to a provider one step at a time, so that `doctor` can say which step fails.
//!
//! It uses the same trusted certificates, client certificate and proxy as requests. In addition it keeps the
//! certificate that the server presented, even a rejected one, to report its issuer. No request is sent.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::Uri;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::{Service, service_fn};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::proxy::with_port;
use super::{Config, Connector, ConnectorError};
use crate::error_chain;
use crate::transport_error::certificate_fault;

/// How long the server may take to reject our certificate.
const REJECTION_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) struct Probe {
    target: Uri,
    proxy: Option<(Uri, Option<http::HeaderValue>)>,
    tls: ClientConfig,
    observed: Arc<ObservedCertificate>,
    deadline: Duration,
}

/// The result of a completed handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// Such as `TLSv1_3`.
    pub version: String,
    /// The issuer of the server's certificate.
    pub issuer: String,
    /// The end of the certificate's validity.
    pub not_after: SystemTime,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("{host} cannot be resolved: {cause}")]
    NoAddress { host: String, cause: io::Error },
    #[error("{address}: {cause}")]
    NoConnection {
        /// The last address that was tried.
        address: SocketAddr,
        cause: io::Error,
    },
    /// The step took longer than the upstream's `connect`.
    #[error("timed out after {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the proxy opened no tunnel: {0}")]
    ProxyRefused(String),
    #[error("the certificate is issued by {issuer}, which is not trusted")]
    Untrusted { issuer: String },
    #[error("the certificate issued by {issuer} is not trusted: {cause}")]
    BadCertificate { issuer: String, cause: String },
    #[error("the certificate is not for this host name")]
    WrongName,
    #[error("the certificate has expired")]
    Expired,
    /// The server sent a TLS alert, for instance because it requires a client certificate.
    #[error("the provider refused the handshake: {0}")]
    Refused(String),
    /// Any other failure of the handshake.
    #[error("the TLS handshake failed: {0}")]
    NoTls(String),
}

impl Probe {
    /// A probe of this upstream.
    ///
    /// # Errors
    /// If one of its files or its URL cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, ConnectorError> {
        let tls = Connector::of(config)?;
        let target: Uri = config.url.as_str().parse().map_err(|_| ConnectorError::Url("not a URI".into()))?;
        let (client, roots) = tls.parts();
        let mut client = client.clone();
        let observed = Arc::new(ObservedCertificate::default());
        if target.scheme_str() == Some("https") {
            tls.require_roots()?;
            let verifier = verifier(roots, client.crypto_provider())?;
            let recording = RecordingVerifier { verifier, observed: Arc::clone(&observed) };
            client.dangerous().set_certificate_verifier(Arc::new(recording));
        }
        let proxy = config.proxy.as_ref().and_then(|proxy| proxy.route_to(&target));
        Ok(Self { target, proxy, tls: client, observed, deadline: config.connect })
    }

    #[must_use]
    pub(crate) fn has_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    #[must_use]
    pub(crate) fn has_tls(&self) -> bool {
        self.target.scheme_str() == Some("https")
    }

    /// Host and port of the first connection: those of the proxy if there is one, otherwise of the provider.
    #[must_use]
    pub(crate) fn next_host(&self) -> (String, u16) {
        let next = self.proxy.as_ref().map_or(&self.target, |(proxy, _)| proxy);
        let default = if next.scheme_str() == Some("https") { 443 } else { 80 };
        let port = next.port_u16().unwrap_or(default);
        (next.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(), port)
    }

    /// Resolves the name of the next host.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, ProbeError> {
        let (host, port) = self.next_host();
        let found = self.within(tokio::net::lookup_host((host.as_str(), port))).await?;
        let no_address = |cause| ProbeError::NoAddress { host: host.clone(), cause };
        let addresses: Vec<_> = found.map_err(no_address)?.collect();
        if addresses.is_empty() { Err(no_address(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
    }

    /// Connects to the first address that accepts a connection.
    pub(crate) async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ProbeError> {
        let connecting = async {
            let mut last = Err(ProbeError::TimedOut(self.deadline));
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(cause) => last = Err(ProbeError::NoConnection { address: *address, cause }),
                }
            }
            last
        };
        self.within(connecting).await?
    }

    /// Asks the proxy for a tunnel to the provider. Without a proxy, returns the stream unchanged.
    pub(crate) async fn tunnel(&self, stream: TcpStream) -> Result<TcpStream, ProbeError> {
        let Some((proxy, authorization)) = &self.proxy else { return Ok(stream) };
        let mut stream = Some(TokioIo::new(stream));
        let only = service_fn(move |_: Uri| {
            let stream = stream.take().ok_or(io::ErrorKind::AlreadyExists);
            async move { stream.map_err(io::Error::from) }
        });
        let tunnel = Tunnel::new(proxy.clone(), only);
        let mut tunnel = match authorization {
            Some(authorization) => tunnel.with_auth(authorization.clone()),
            None => tunnel,
        };
        let opened = self.within(tunnel.call(with_port(self.target.clone()))).await?;
        opened.map(TokioIo::into_inner).map_err(|error| ProbeError::ProxyRefused(error_chain::chain(&error)))
    }

    /// Completes a TLS handshake.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> Result<Handshake, ProbeError> {
        let host = self.target.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| ProbeError::NoTls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(self.tls.clone()));
        let result = self.within(connector.connect(name, stream)).await?;
        let leaf = self.observed.leaf();
        let issuer = leaf.as_ref().map_or_else(|| "(unreadable)".to_owned(), |(issuer, _)| issuer.clone());
        match result {
            Ok(mut stream) => {
                // In TLS 1.3 the server checks our certificate after our side has finished, and a rejection is
                // the next thing to read. A server that accepts it sends nothing, or begins HTTP/2.
                if let Ok(Err(error)) = tokio::time::timeout(REJECTION_TIMEOUT, stream.read_u8()).await
                    && error.kind() != io::ErrorKind::UnexpectedEof
                {
                    return Err(refused(&error, issuer));
                }
                let version = stream.get_ref().1.protocol_version();
                let version = version.and_then(|version| version.as_str()).unwrap_or("TLS").to_owned();
                let not_after = leaf.map_or(SystemTime::UNIX_EPOCH, |(_, not_after)| not_after);
                Ok(Handshake { version, issuer, not_after })
            }
            Err(error) => Err(refused(&error, issuer)),
        }
    }

    async fn within<T>(&self, step: impl Future<Output = T>) -> Result<T, ProbeError> {
        tokio::time::timeout(self.deadline, step).await.map_err(|_| ProbeError::TimedOut(self.deadline))
    }
}

/// The same verifier as for requests.
fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build()
}

/// Classifies the error of a failed handshake.
fn refused(error: &io::Error, issuer: String) -> ProbeError {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return ProbeError::NoTls(error.to_string());
    };
    match tls {
        rustls::Error::InvalidCertificate(fault) => match fault {
            CertificateError::UnknownIssuer => ProbeError::Untrusted { issuer },
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ProbeError::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => ProbeError::Expired,
            other => ProbeError::BadCertificate { issuer, cause: certificate_fault(other) },
        },
        rustls::Error::AlertReceived(alert) => ProbeError::Refused(format!("{alert:?}")),
        other => ProbeError::NoTls(other.to_string()),
    }
}

/// The certificate that the server presented last.
#[derive(Debug, Default)]
struct ObservedCertificate(Mutex<Option<Vec<u8>>>);

impl ObservedCertificate {
    fn keep(&self, leaf: &CertificateDer<'_>) {
        // A poisoned lock only means that another thread panicked: the value is complete.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf.to_vec());
    }

    /// Issuer and end of validity. `None` if there is no certificate, or it cannot be parsed.
    fn leaf(&self) -> Option<(String, SystemTime)> {
        let observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let certificate = Certificate::from_der(observed.as_deref()?).ok()?.tbs_certificate;
        Some((certificate.issuer.to_string(), certificate.validity.not_after.to_system_time()))
    }
}

/// Verifies a certificate as requests do, and keeps it.
#[derive(Debug)]
struct RecordingVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    observed: Arc<ObservedCertificate>,
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.observed.keep(leaf);
        self.verifier.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_that_cannot_be_built_is_not_reported_as_a_faulty_url() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let error = verifier(&Arc::new(RootCertStore::empty()), &provider).map_err(ConnectorError::from).unwrap_err();
        assert!(matches!(error, ConnectorError::Verifier(_)), "{error:?}");
        assert!(error.to_string().starts_with("the certificate verifier cannot be built: "), "{error}");
    }
}
