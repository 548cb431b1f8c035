//! The two HTTP clients, over one TLS configuration.
//!
//! API requests use hyper-util's pooled client: it streams, and costs a quarter less CPU per
//! request than reqwest. Fetches of key sets and tokens use reqwest: they are rare, and need
//! deadlines and size limits more than speed.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::slice;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::VerifierBuilderError;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use super::body::Outgoing;
use super::connection::ProviderStream;
use super::identity::ClientCertResolver;
use super::proxy::with_port;
use super::turn::Turns;
use super::{BadIdentity, Config, Proxy};
use crate::clock::{Clock, Jitter};
use crate::pem::{self, BadPem};
use crate::watched_files::{self, FileAge, PollOutcome};

/// How long a sent byte may stay without an acknowledgement before the kernel ends the connection. Without it, a
/// connection to a host that vanished lives for 15 minutes. HTTP/1.1 has no other sign of life than TCP's. A provider
/// that stops reading a large body for so long loses it too, because the kernel counts bytes that it cannot send.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection's age varies by a fifth, so that connections that were made together do not end together.
const MIN_AGE_FRACTION: f64 = 0.8;

/// hyper's buffers for an HTTP/1.1 connection: it limits the head of a response, and the size of the pieces in which
/// bodies are read. A caller that reads slowly holds 0.25 MiB of a response, and 0.95 MiB with hyper's default of 408 KiB.
const HTTP1_BUFFER: usize = 64 * 1024;

/// The client for API requests.
pub(super) type DataClient = Client<ProviderConnect, Outgoing>;

/// Connects by TCP, with TLS for https, within a deadline. Boxed, because the type is long and
/// connecting is rare.
type HttpsConnect = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// Connects for the pool of the client, in turns. The client clones it for each request, so clones share all.
#[derive(Clone)]
pub(super) struct ProviderConnect(Arc<Connecting>);

struct Connecting {
    https: HttpsConnect,
    turns: Turns,
    max_age: Duration,
    jitter: Jitter,
}

impl Service<Uri> for ProviderConnect {
    type Response = ProviderStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<ProviderStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Connecting { https, turns, max_age, jitter } = &*self.0;
        let (connecting, turns) = (https.clone().oneshot(target), turns.clone());
        let max_age = jitter.between(*max_age, MIN_AGE_FRACTION, 1.0);
        Box::pin(async move { turns.connect(async move { Ok(ProviderStream::new(connecting.await?, max_age)) }).await })
    }
}

/// How the provider is reached and verified: the trusted roots (the system's and those of `ca_file`),
/// the client certificate, and the proxy. TLS 1.2 and 1.3 only, by rustls on AWS-LC. Verification
/// cannot be turned off.
#[derive(Clone, Debug)]
pub struct Connector {
    config: ClientConfig,
    roots: Arc<RootCertStore>,
    client_certificate: Option<ClientCertResolver>,
    proxy: Option<Proxy>,
}

impl Connector {
    /// Reads the system's trust store and, if given, `ca_file`.
    ///
    /// # Errors
    /// If `ca_file` cannot be used.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, ConnectorError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            add_file(&mut roots, path)?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        Ok(Self { config, roots, client_certificate: None, proxy: None })
    }

    /// Builds the connector of a configured upstream.
    ///
    /// # Errors
    /// If one of its files cannot be used.
    pub fn of(config: &Config) -> Result<Self, ConnectorError> {
        let mut connector = Self::new(config.ca_file.as_deref())?;
        if let Some(identity) = &config.identity {
            let provider = Arc::clone(connector.config.crypto_provider());
            let resolver = ClientCertResolver::new(identity.clone(), provider)?;
            connector.config.client_auth_cert_resolver = Arc::new(resolver.clone());
            connector.client_certificate = Some(resolver);
        }
        connector.proxy = config.proxy.clone();
        Ok(connector)
    }

    /// Whether both trust the same certificates.
    pub(crate) fn trusts_the_same(&self, other: &Self) -> bool {
        let (one, other) = (&self.roots.roots, &other.roots.roots);
        one.len() == other.len() && one.iter().all(|root| other.contains(root))
    }

    /// Returns the connector with `proxy` in place of its own.
    #[must_use]
    pub fn with_proxy(self, proxy: Option<Proxy>) -> Self {
        Self { proxy, ..self }
    }

    /// Re-reads the files of the client certificate when they change. Never returns.
    pub async fn run_refresh(self, clock: Clock) {
        match self.client_certificate {
            Some(resolver) => watched_files::run_refresh(&[resolver.0], &clock).await,
            None => std::future::pending().await,
        }
    }

    /// Reads the files of the client certificate now.
    pub(crate) async fn reread(&self) -> Vec<PollOutcome> {
        match &self.client_certificate {
            Some(resolver) => watched_files::poll(slice::from_ref(&resolver.0)).await,
            None => Vec::new(),
        }
    }

    /// Returns the ages of the files that are read again.
    pub(crate) fn file_ages(&self) -> Vec<FileAge> {
        self.client_certificate.as_ref().map(|resolver| resolver.0.file_ages()).unwrap_or_default()
    }

    /// Returns the client for key sets and tokens: no redirects, no retries, no proxy except the
    /// configured one. Each fetch sets its own deadline.
    ///
    /// # Errors
    /// If reqwest rejects the TLS configuration, which is a defect of this build.
    #[expect(clippy::disallowed_methods, reason = "the one place that builds a client")]
    pub fn control_client(&self) -> Result<reqwest::Client, ConnectorError> {
        let builder = reqwest::Client::builder().no_proxy();
        let proxies = self.proxy.as_ref().map(Proxy::for_reqwest).transpose()?.unwrap_or_default();
        let builder = proxies.into_iter().fold(builder, reqwest::ClientBuilder::proxy);
        builder
            .tls_backend_preconfigured(self.config.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(super::CONNECT)
            .pool_idle_timeout(super::POOL_IDLE)
            .user_agent(concat!("jwe-gateway/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ConnectorError::Client)
    }

    /// Fails if there is no trusted root. Without this check every handshake would fail later, with an
    /// error that blames the provider.
    pub(super) fn require_roots(&self) -> Result<(), ConnectorError> {
        if self.roots.is_empty() { Err(ConnectorError::NoRoots) } else { Ok(()) }
    }

    /// Returns the TLS configuration and the trusted roots.
    pub(super) fn parts(&self) -> (&ClientConfig, &Arc<RootCertStore>) {
        (&self.config, &self.roots)
    }

    /// Returns the client for API requests to `target`: HTTP/2 if the provider offers it by ALPN,
    /// HTTP/1.1 otherwise.
    pub(super) fn data_client(&self, target: &Uri, config: &Config) -> DataClient {
        let (connect, max_age) = (config.connect, config.connection_max_age);
        let tcp = tcp_connector(connect);
        let https =
            HttpsConnectorBuilder::new().with_tls_config(self.config.clone()).https_or_http().enable_all_versions();
        let https = match self.proxy.as_ref().and_then(|proxy| proxy.route_to(target)) {
            Some((proxy, authorization)) => {
                let tunnel = Tunnel::new(proxy, tcp);
                let tunnel = match authorization {
                    Some(authorization) => tunnel.with_auth(authorization),
                    None => tunnel,
                };
                let tunnel = tunnel.map_request(with_port as fn(Uri) -> Uri);
                HttpsConnect::new(Timeout::new(https.wrap_connector(tunnel), connect))
            }
            None => HttpsConnect::new(Timeout::new(https.wrap_connector(tcp), connect)),
        };
        let turns = Turns::new(target.scheme() == Some(&Scheme::HTTPS));
        let connector = ProviderConnect(Arc::new(Connecting { https, turns, max_age, jitter: Jitter::random() }));
        Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.pool_idle)
            .http2_keep_alive_interval(config.ping)
            .http2_keep_alive_timeout(config.ping)
            .http1_max_buf_size(HTTP1_BUFFER)
            .http2_adaptive_window(true)
            .build(connector)
    }
}

/// Connects by TCP: to the provider, or to the proxy.
fn tcp_connector(connect: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    tcp
}

/// Why a connector or an HTTP client cannot be built. Found at start-up, never at a request.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The CA file cannot be read or has no certificate.
    #[error("ca_file {0}")]
    CaFile(BadPem),
    /// A certificate of the CA file cannot be used as a root.
    #[error("ca_file {}: {cause}", path.display())]
    NotCertificate {
        /// The file.
        path: PathBuf,
        /// The error of rustls.
        cause: rustls::Error,
    },
    /// The client certificate cannot be used.
    #[error("client certificate: {0}")]
    Identity(#[from] BadIdentity),
    /// There is no trusted root.
    #[error("the system has no trusted certificates: install ca-certificates, or set ca_file")]
    NoRoots,
    /// The configured URL cannot be used in a request.
    #[error("url: {0}")]
    Url(String),
    /// rustls cannot build a certificate verifier from the trusted certificates.
    #[error("the certificate verifier cannot be built: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// rustls rejects its own defaults.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// reqwest rejects the configuration.
    #[error("the HTTP client for key sets and tokens cannot be built")]
    Client(#[source] reqwest::Error),
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), ConnectorError> {
    for certificate in pem::read_certificates(path).map_err(ConnectorError::CaFile)? {
        roots.add(certificate).map_err(|cause| ConnectorError::NotCertificate { path: path.to_owned(), cause })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_ends_a_connection_whose_bytes_are_not_acknowledged() {
        let provider = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let target = format!("http://{}", provider.local_addr().unwrap()).parse().unwrap();
        let connected = tcp_connector(Duration::from_secs(5)).oneshot(target).await.unwrap();
        let socket = socket2::SockRef::from(connected.inner());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(TCP_USER_TIMEOUT));
    }

    #[test]
    fn an_error_in_the_ca_file_names_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = Connector::new(Some(file.path())).unwrap_err().to_string();
        assert!(fault.contains("holds no certificate"), "{fault}");
        let fault = Connector::new(Some(Path::new("/nowhere/ca.pem"))).unwrap_err().to_string();
        assert!(fault.contains("/nowhere/ca.pem"), "{fault}");
    }
}
