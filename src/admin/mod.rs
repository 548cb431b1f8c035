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
//! - `/metrics` returns the metrics, in the text format that the scraper prefers.
//! - `/` and `/status` show the status: see `crate::status`, which makes the page and the JSON.
//! - `POST /reload` and `POST /shutdown` change something: see [`verbs`].
//!
//! [`server`] says why a probe is answered however many connections others hold, and [`access`] which requests are
//! refused.

mod access;
mod exposition;
mod server;
mod verbs;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use serde_json::json;

use self::access::Access;
use self::exposition::Format;
use self::server::{Answer, Work};
pub(crate) use self::verbs::{Actions, MIN_TOKEN, Reloaded};
use self::verbs::{Authority, Verb};
use crate::socket::{Address, InheritedSocket, Socket};

/// The default address: loopback, and the port after the default of the callers' listener.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A TCP address or a unix socket.
    pub address: Address,
    /// The names that `Host` may have, beside `localhost` and addresses. If it is empty, a listener that is not bound to
    /// loopback accepts every name.
    pub hosts: Vec<String>,
    /// The file with the token for requests that change something. If none, they are refused at a TCP address.
    pub token_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { address: ADDRESS.into(), hosts: Vec::new(), token_file: None }
    }
}

/// Returns what `/readyz` reports.
pub(crate) type Checks = Box<dyn Fn() -> Readiness + Send + Sync>;

/// Whether requests can be served, and what is missing.
pub(crate) struct Readiness {
    /// The reason why the gateway takes no requests, even if its upstreams can serve them.
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

/// The settings that a reload can change: `hosts` and `token_file`. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Settings(Arc<ArcSwap<Config>>);

impl Settings {
    #[must_use]
    pub(crate) fn new(config: Config) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    /// The address stays as it is until a restart.
    pub(crate) fn replace(&self, config: Config) {
        self.0.store(Arc::new(config));
    }
}

/// The data behind the endpoints.
pub(crate) struct Endpoints {
    pub(crate) settings: Settings,
    pub(crate) checks: Checks,
    pub(crate) status: StatusPages,
    pub(crate) metrics: Registry,
    pub(crate) actions: Arc<dyn Actions>,
}

/// The admin listener, bound.
pub(crate) struct Admin {
    listener: Socket,
    bound: Option<IpAddr>,
    endpoints: Endpoints,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Admin {
    /// Binds the listener, unless its socket is inherited.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub(crate) async fn bind(
        address: &Address,
        inherited: Option<InheritedSocket>,
        endpoints: Endpoints,
    ) -> io::Result<Self> {
        let bound = address.tcp().map(|address| address.ip());
        let listener = match inherited {
            Some(inherited) => Socket::adopt(inherited)?,
            None => Socket::bind(address).await?,
        };
        Ok(Self { listener, bound, endpoints })
    }

    /// Returns the bound address.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.listener.address()
    }

    /// Serves while it is polled. Dropping the future closes every connection.
    pub(crate) async fn serve(self) {
        let Self { listener, bound, endpoints } = self;
        let endpoints = Arc::new(endpoints);
        server::serve(listener, move |request, work| respond(&request, bound, &endpoints, work)).await;
    }
}

fn respond(request: &Request<Incoming>, bound: Option<IpAddr>, endpoints: &Endpoints, work: Work) -> Answer {
    let Endpoints { settings, checks, status, metrics, actions } = endpoints;
    let settings = settings.0.load();
    let access = Access { bound, hosts: &settings.hosts };
    if let Err(refusal) = access.check(request.headers()) {
        return Answer::Now(plain(StatusCode::FORBIDDEN, refusal));
    }
    let (path, verb) = (request.uri().path(), Verb::at(request.uri().path()));
    match (verb, request.method()) {
        (Some(verb), &Method::POST) => {
            let authority = Authority { token_file: settings.token_file.clone(), is_unix: bound.is_none() };
            return Answer::Later(Box::pin(verb.run(request.headers().clone(), authority, Arc::clone(actions), work)));
        }
        (Some(_), _) => return Answer::Now(method_not_allowed("POST")),
        (None, &Method::GET | &Method::HEAD) => {}
        (None, _) => return Answer::Now(method_not_allowed("GET, HEAD")),
    }
    Answer::Now(match path {
        "/livez" => plain(StatusCode::OK, "alive\n"),
        "/readyz" => readiness(checks),
        "/metrics" => encoded(metrics, Format::of(request.headers())),
        "/" => page(status),
        "/status" => response(StatusCode::OK, "application/json", (status.json)()),
        _ => plain(StatusCode::NOT_FOUND, "/, /status, /livez, /readyz, /metrics, /reload or /shutdown\n"),
    })
}

fn method_not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &format!("{allowed}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
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

fn encoded(registry: &Registry, format: Format) -> Response<Full<Bytes>> {
    match format.encode(registry) {
        Ok(text) => response(StatusCode::OK, format.content_type(), text),
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
