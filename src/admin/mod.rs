//! The second listener: health and figures, for whoever runs the process.
//!
//! It is apart from the first so that no path of the provider is shadowed, and so that it can be
//! kept from callers. `/livez` says that the process answers, and nothing else: a provider that
//! is down must not get the gateway restarted. `/readyz` says whether there is what a request
//! needs here, a key and a token, and if not, what is missing. Whether the provider's API answers
//! is not asked: taking every gateway out of rotation would not mend it. Nor is a gateway to several
//! providers taken out because one of them is down: it is ready while it can serve any of them, and
//! says what is missing for the others.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Beside the gateway's own default, and on loopback as that one is.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// Health checks are short; whoever takes longer is not one.
const HEAD: Duration = Duration::from_secs(5);

/// The same, for how many there are at once.
const MAX_CONNECTIONS: usize = 64;

/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self { address: ADDRESS }
    }
}

/// One thing that must hold for requests to go through. Says what is missing when it does not.
pub(crate) type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What is asked by `/readyz`.
pub(crate) struct Checks {
    /// Must hold in any case.
    pub always: Check,
    /// What each upstream needs: at least one of them must have all of it.
    pub upstreams: Vec<Vec<Check>>,
}

/// What the endpoints answer from.
struct Answers {
    checks: Checks,
    metrics: Registry,
}

/// The admin listener, bound.
pub(crate) struct Admin {
    listener: TcpListener,
    answers: Arc<Answers>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Admin {
    /// Binds the listener; the gateway is ready by what `checks` say, and `/metrics` shows what
    /// `metrics` holds.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn bind(config: &Config, checks: Checks, metrics: Registry) -> io::Result<Self> {
        let answers = Arc::new(Answers { checks, metrics });
        Ok(Self { listener: TcpListener::bind(config.address).await?, answers })
    }

    /// The address in use.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for as long as it is polled; dropping it closes every connection.
    pub(crate) async fn serve(self) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= MAX_CONNECTIONS {
                connections.join_next().await;
            }
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let answers = Arc::clone(&self.answers);
            let service = service_fn(move |request| {
                let answer = answer(&request, &answers);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
            connections.spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    }
}

fn answer(request: &Request<Incoming>, answers: &Answers) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => plain(StatusCode::OK, "alive\n"),
        "/readyz" => readiness(&answers.checks),
        "/metrics" => metrics(&answers.metrics),
        _ => plain(StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n"),
    }
}

fn readiness(checks: &Checks) -> Response<Full<Bytes>> {
    let failed = |checks: &[Check]| -> Vec<String> { checks.iter().filter_map(|check| check().err()).collect() };
    let always = (checks.always)().err();
    let upstreams: Vec<_> = checks.upstreams.iter().map(|checks| failed(checks)).collect();
    let is_ready = always.is_none() && upstreams.iter().any(Vec::is_empty);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let missing: Vec<String> = always.into_iter().chain(upstreams.into_iter().flatten()).collect();
    let body = json!({ "ready": is_ready, "missing": missing });
    respond(status, "application/json", format!("{body}\n"))
}

/// In OpenMetrics, which Prometheus reads as well as its own older format.
fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be written down\n"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.to_owned())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
