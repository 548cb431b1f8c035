//! The admin listener: health, metrics and status, for operators.
//!
//! It is separate from the callers' listener, so that it shadows no path of the provider and can be
//! closed to callers.
//!
//! - `/livez` reports that the process responds. It checks nothing else: a provider that is down must
//!   not cause a restart of the gateway.
//! - `/readyz` reports whether a request can be served: a usable key and a usable credential for at
//!   least one upstream. The body lists what is missing, also for the other upstreams. Warnings are
//!   failures that do not affect requests yet. It does not ask the provider's API: taking every
//!   gateway out of rotation would not repair the provider.
//! - `/metrics` returns the metrics.
//! - `/` and `/status` show the status: see `crate::status`, which makes the page and the JSON.
//!
//! [`server`] says why a probe is answered however many connections others hold, and [`access`] which requests are
//! refused.

mod access;
mod server;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use self::access::Access;

/// The default address: loopback, and the port after the default of the callers' listener.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The names that `Host` may have, beside `localhost` and addresses. If it is empty, a listener that is not bound to
    /// loopback accepts every name.
    pub hosts: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { address: ADDRESS, hosts: Vec::new() }
    }
}

/// Returns what `/readyz` reports.
pub(crate) type Checks = Box<dyn Fn() -> Readiness + Send + Sync>;

/// Whether requests can be served, and what is missing.
pub(crate) struct Readiness {
    /// The reason why the gateway takes no requests, whatever its upstreams can do.
    pub stopping: Option<String>,
    /// What each upstream lacks. At least one must lack nothing.
    pub missing: Vec<Vec<String>>,
    /// Failures to report. They do not decide readiness.
    pub warnings: Vec<String>,
}

/// What `/` and `/status` return, made at each request.
pub(crate) struct StatusPages {
    /// The page for a browser.
    pub html: Box<dyn Fn() -> String + Send + Sync>,
    /// Its content security policy.
    pub policy: String,
    /// The same as JSON.
    pub json: Box<dyn Fn() -> String + Send + Sync>,
}

/// The data behind the endpoints.
struct Endpoints {
    access: Access,
    checks: Checks,
    status: StatusPages,
    metrics: Registry,
}

/// The admin listener, bound.
pub(crate) struct Admin {
    listener: TcpListener,
    endpoints: Arc<Endpoints>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Admin {
    /// Binds the listener. `checks` decide `/readyz`; `/metrics` encodes `metrics`; `/` and `/status` show `status`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub(crate) async fn bind(
        config: &Config,
        checks: Checks,
        metrics: Registry,
        status: StatusPages,
    ) -> io::Result<Self> {
        let access = Access { bound: config.address.ip(), hosts: config.hosts.clone() };
        let endpoints = Arc::new(Endpoints { access, checks, status, metrics });
        Ok(Self { listener: TcpListener::bind(config.address).await?, endpoints })
    }

    /// Returns the bound address.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves while it is polled. Dropping the future closes every connection.
    pub(crate) async fn serve(self) {
        let endpoints = self.endpoints;
        server::serve(self.listener, move |request| respond(&request, &endpoints)).await;
    }
}

fn respond(request: &Request<Incoming>, endpoints: &Endpoints) -> Response<Full<Bytes>> {
    if let Err(refusal) = endpoints.access.check(request.headers()) {
        return plain(StatusCode::FORBIDDEN, refusal);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => plain(StatusCode::OK, "alive\n"),
        "/readyz" => readiness(&endpoints.checks),
        "/metrics" => metrics(&endpoints.metrics),
        "/" => page(&endpoints.status),
        "/status" => response(StatusCode::OK, "application/json", (endpoints.status.json)()),
        _ => plain(StatusCode::NOT_FOUND, "/, /status, /livez, /readyz or /metrics\n"),
    }
}

fn readiness(checks: &Checks) -> Response<Full<Bytes>> {
    let Readiness { stopping, missing, warnings } = checks();
    let is_ready = stopping.is_none() && missing.iter().any(Vec::is_empty);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let missing: Vec<String> = stopping.into_iter().chain(missing.into_iter().flatten()).collect();
    let mut body = json!({ "ready": is_ready, "missing": missing });
    if !warnings.is_empty() {
        body["warnings"] = json!(warnings);
    }
    response(status, "application/json", format!("{body}\n"))
}

fn page(status: &StatusPages) -> Response<Full<Bytes>> {
    let mut response = response(StatusCode::OK, "text/html; charset=utf-8", (status.html)());
    // The policy is ASCII. If it were not, the page would be shown without it, so it is not shown.
    let Ok(policy) = HeaderValue::from_str(&status.policy) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the page has no valid content security policy\n");
    };
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// OpenMetrics, which Prometheus reads as well as its older text format.
fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => response(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded\n"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A browser must not guess that a metric's label is HTML.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
