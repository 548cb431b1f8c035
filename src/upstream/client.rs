//! The two HTTP clients, over one TLS set-up.
//!
//! The data path uses hyper-util's pooled client: it streams, and costs a quarter less per
//! request than reqwest. The control plane (key sets, tokens) uses reqwest, whose requests
//! are rare and want deadlines and size limits more than speed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use super::body::Outgoing;
use super::identity::ClientCertResolver;
use super::proxy::with_port;
use super::{BadIdentity, Config, Proxy};
use crate::clock::Clock;
use crate::pem::{BadPem, PemFile};

/// How long an idle connection stays in the pool. Shorter than the idle time-out of any usual
/// server or load balancer (60 s and more), so that it is we who close it and no request meets
/// a connection which the other side is closing.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// HTTP/2 pings find out about a connection that died silently; HTTP/1 needs none, its idle
/// connections do not live long enough.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// The data path's client.
pub(super) type DataClient = Client<ProviderConnect, Outgoing>;

/// TCP, or TLS over it, within a deadline. Boxed: connecting is rare, and its type is long.
type ProviderConnect = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// How the provider is reached and known: whom we believe to be it (the system's roots, and a file's
/// beside them), what we show it, and the proxy on the way. TLS 1.2 and 1.3 only, by rustls on
/// AWS-LC; verification cannot be turned off.
#[derive(Clone, Debug)]
pub struct Connector {
    config: ClientConfig,
    roots: Arc<RootCertStore>,
    shown: Option<ClientCertResolver>,
    proxy: Option<Proxy>,
}

impl Connector {
    /// Reads the system's trust store, and `ca_file` when there is one.
    ///
    /// # Errors
    /// When `ca_file` cannot be used.
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
        Ok(Self { config, roots, shown: None, proxy: None })
    }

    /// As an upstream is configured.
    ///
    /// # Errors
    /// When one of its files cannot be used.
    pub fn of(config: &Config) -> Result<Self, ConnectorError> {
        let mut tls = Self::new(config.ca_file.as_deref())?;
        if let Some(identity) = &config.identity {
            let provider = Arc::clone(tls.config.crypto_provider());
            let shown = ClientCertResolver::new(identity.clone(), provider)?;
            tls.config.client_auth_cert_resolver = Arc::new(shown.clone());
            tls.shown = Some(shown);
        }
        tls.proxy = config.proxy.clone();
        Ok(tls)
    }

    /// With this proxy on the way.
    #[must_use]
    pub fn with_proxy(self, proxy: Option<Proxy>) -> Self {
        Self { proxy, ..self }
    }

    /// Follows the files of the certificate that is shown, where there is one. Never ends.
    pub async fn run_refresh(self, clock: Clock) {
        match self.shown {
            Some(shown) => shown.0.run_refresh(clock).await,
            None => std::future::pending().await,
        }
    }

    /// The client for key sets and tokens: no redirects, no second try, and no proxy but the configured
    /// one. Each fetch sets its own deadline.
    ///
    /// # Errors
    /// When reqwest does not accept the TLS set-up, which is a fault of this build.
    #[expect(clippy::disallowed_methods, reason = "the one place that builds a client")]
    pub fn control_client(&self) -> Result<reqwest::Client, ConnectorError> {
        let builder = reqwest::Client::builder().no_proxy();
        let proxies = self.proxy.as_ref().map(Proxy::for_control).transpose()?.unwrap_or_default();
        let builder = proxies.into_iter().fold(builder, reqwest::ClientBuilder::proxy);
        builder
            .tls_backend_preconfigured(self.config.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(super::CONNECT)
            .pool_idle_timeout(POOL_IDLE)
            .user_agent(concat!("jwe-gateway/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ConnectorError::Client)
    }

    /// That there is anyone to trust. Without, every handshake would fail later, with an error
    /// that points at the provider.
    pub(super) fn require_roots(&self) -> Result<(), ConnectorError> {
        if self.roots.is_empty() { Err(ConnectorError::NoRoots) } else { Ok(()) }
    }

    /// What handshakes are made with, and by whom certificates are judged.
    pub(super) fn parts(&self) -> (&ClientConfig, &Arc<RootCertStore>) {
        (&self.config, &self.roots)
    }

    /// The client for the data path to `target`: HTTP/1.1, or HTTP/2 where the provider offers it by
    /// ALPN.
    pub(super) fn data_client(&self, target: &Uri, connect: Duration) -> DataClient {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect));
        let https =
            HttpsConnectorBuilder::new().with_tls_config(self.config.clone()).https_or_http().enable_all_versions();
        let connector = match self.proxy.as_ref().and_then(|proxy| proxy.on_the_way_to(target)) {
            Some((proxy, says)) => {
                let tunnel = Tunnel::new(proxy, tcp);
                let tunnel = if let Some(says) = says { tunnel.with_auth(says) } else { tunnel };
                let tunnel = tunnel.map_request(with_port as fn(Uri) -> Uri);
                ProviderConnect::new(Timeout::new(https.wrap_connector(tunnel), connect))
            }
            None => ProviderConnect::new(Timeout::new(https.wrap_connector(tcp), connect)),
        };
        Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .http2_keep_alive_interval(HTTP2_PING)
            .http2_adaptive_window(true)
            .build(connector)
    }
}

/// The trust set-up cannot be used; found at start-up, never at a request.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The CA file does not hold what it should.
    #[error("ca_file {0}")]
    CaFile(BadPem),
    /// The CA file holds something that is no CA certificate.
    #[error("ca_file {}: {cause}", path.display())]
    NotCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// The client certificate cannot be shown.
    #[error("client certificate: {0}")]
    Identity(#[from] BadIdentity),
    /// No root at all.
    #[error("the system has no trusted certificates (install ca-certificates, or set ca_file)")]
    NoRoots,
    /// The configured URL cannot stand in a request.
    #[error("url: {0}")]
    Url(String),
    /// rustls refuses its own defaults.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// reqwest refuses the set-up.
    #[error("the control-plane client cannot be built")]
    Client(#[source] reqwest::Error),
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), ConnectorError> {
    let certificates = PemFile::read(path).and_then(|file| file.certificates()).map_err(ConnectorError::CaFile)?;
    for certificate in certificates {
        roots.add(certificate).map_err(|cause| ConnectorError::NotCertificate { path: path.to_owned(), cause })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = Connector::new(Some(file.path())).unwrap_err().to_string();
        assert!(fault.contains("holds no certificate"), "{fault}");
        let fault = Connector::new(Some(Path::new("/nowhere/ca.pem"))).unwrap_err().to_string();
        assert!(fault.contains("/nowhere/ca.pem"), "{fault}");
    }
}
