//! The way to a provider, one step at a time, for somebody who wants to know where it ends.
//!
//! It goes by the same trust, certificate and proxy as requests do. The one thing it does besides:
//! it keeps the certificate that the other side showed, also when it is refused, so that it can be
//! said whose it is. Nothing is sent over the connection.

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

/// For the other side to object to our certificate.
const VERDICT: Duration = Duration::from_millis(500);

/// A way to be walked.
pub(crate) struct Probe {
    target: Uri,
    proxy: Option<(Uri, Option<http::HeaderValue>)>,
    tls: ClientConfig,
    observed: Arc<ObservedCertificate>,
    deadline: Duration,
}

/// What a completed handshake tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// `TLSv1_3`.
    pub version: String,
    /// Who signed the certificate.
    pub issuer: String,
    /// The certificate's end.
    pub not_after: SystemTime,
}

/// Where the way ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// DNS knows no such name, or does not answer.
    #[error("{host} has no address: {cause}")]
    NoAddress {
        /// The name.
        host: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Nothing took the connection.
    #[error("{address}: {cause}")]
    NoConnection {
        /// The last address tried.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// Longer than the upstream's `connect`.
    #[error("nothing within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The proxy did not open a tunnel.
    #[error("the proxy refuses: {0}")]
    ProxyRefused(String),
    /// Signed by nobody we trust.
    #[error("the certificate is issued by {issuer}, which is not trusted")]
    Untrusted {
        /// Who signed it.
        issuer: String,
    },
    /// Another host's.
    #[error("the certificate is not for this host name")]
    WrongName,
    /// Past its end.
    #[error("the certificate has expired")]
    Expired,
    /// The other side wants a certificate, or another one.
    #[error("the provider refuses the handshake: {0}")]
    Refused(String),
    /// Anything else that ends a handshake.
    #[error("no TLS: {0}")]
    NoTls(String),
}

impl Probe {
    /// The way to this upstream.
    ///
    /// # Errors
    /// When its files or its URL cannot be used.
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

    /// Whether a proxy is on the way.
    #[must_use]
    pub(crate) fn has_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// Whether the provider is spoken to by TLS.
    #[must_use]
    pub(crate) fn has_tls(&self) -> bool {
        self.target.scheme_str() == Some("https")
    }

    /// The host that is connected to, the provider or the proxy, and its port.
    #[must_use]
    pub(crate) fn next_host(&self) -> (String, u16) {
        let next = self.proxy.as_ref().map_or(&self.target, |(proxy, _)| proxy);
        let default = if next.scheme_str() == Some("https") { 443 } else { 80 };
        let port = next.port_u16().unwrap_or(default);
        (next.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(), port)
    }

    /// Asks DNS.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, ProbeError> {
        let (host, port) = self.next_host();
        let found = self.within(tokio::net::lookup_host((host.as_str(), port))).await?;
        let no_address = |cause| ProbeError::NoAddress { host: host.clone(), cause };
        let addresses: Vec<_> = found.map_err(no_address)?.collect();
        if addresses.is_empty() { Err(no_address(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
    }

    /// Connects to the first of them that takes it.
    ///
    /// # Errors
    /// See [`ProbeError`].
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

    /// Has the proxy connect to the provider.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub(crate) async fn tunnel(&self, stream: TcpStream) -> Result<TcpStream, ProbeError> {
        let Some((proxy, says)) = &self.proxy else { return Ok(stream) };
        let mut stream = Some(TokioIo::new(stream));
        let only = service_fn(move |_: Uri| {
            let stream = stream.take().ok_or(io::ErrorKind::AlreadyExists);
            async move { stream.map_err(io::Error::from) }
        });
        let tunnel = Tunnel::new(proxy.clone(), only);
        let mut tunnel = if let Some(says) = says { tunnel.with_auth(says.clone()) } else { tunnel };
        let opened = self.within(tunnel.call(with_port(self.target.clone()))).await?;
        opened.map(TokioIo::into_inner).map_err(|error| ProbeError::ProxyRefused(error_chain::chain(&error)))
    }

    /// Shakes hands by TLS.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub(crate) async fn handshake(&self, stream: TcpStream) -> Result<Handshake, ProbeError> {
        let host = self.target.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| ProbeError::NoTls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(self.tls.clone()));
        let shaken = self.within(connector.connect(name, stream)).await?;
        let leaf = self.observed.leaf();
        let issuer = leaf.as_ref().map_or_else(|| "(unreadable)".to_owned(), |(issuer, _)| issuer.clone());
        match shaken {
            Ok(mut stream) => {
                // In TLS 1.3 the other side judges our certificate when we are done, and says so by what
                // is read next; one that has nothing against it says nothing, or begins with HTTP/2.
                if let Ok(Err(error)) = tokio::time::timeout(VERDICT, stream.read_u8()).await
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

/// The verifier that requests use, too.
fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build()
}

/// Why the handshake failed, as far as rustls tells.
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
            other => ProbeError::NoTls(format!("the certificate, issued by {issuer}, is refused: {other}")),
        },
        rustls::Error::AlertReceived(alert) => ProbeError::Refused(format!("{alert:?}")),
        other => ProbeError::NoTls(other.to_string()),
    }
}

/// The certificate that the other side showed last.
#[derive(Debug, Default)]
struct ObservedCertificate(Mutex<Option<Vec<u8>>>);

impl ObservedCertificate {
    fn keep(&self, leaf: &CertificateDer<'_>) {
        // A poisoned lock only means that another thread panicked; what it guards is whole.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf.to_vec());
    }

    /// Who issued it, and its end; none when there is none, or it cannot be read.
    fn leaf(&self) -> Option<(String, SystemTime)> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let certificate = Certificate::from_der(shown.as_deref()?).ok()?.tbs_certificate;
        Some((certificate.issuer.to_string(), certificate.validity.not_after.to_system_time()))
    }
}

#[derive(Debug)]
struct RecordingVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    observed: Arc<ObservedCertificate>,
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.observed.keep(leaf);
        self.verifier.verify_server_cert(leaf, between, name, ocsp, now)
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
