//! The management interface: the methods of [`Sandbox`](super::Sandbox) over HTTP, for people and for test
//! suites in other languages.
//!
//! One table per group of verbs ([`GROUPS`]) holds method, path, description and handler of each verb. The index,
//! the routing and the tests of the OpenAPI document (`src/openapi/management.json`) read the same tables, so a verb
//! cannot be missing in one of them.
//!
//! The interface asks for no credential: its caller is on the same host. An address that other hosts can reach must be
//! allowed explicitly, and web pages are refused ([`host_check`]).

#[cfg(test)]
pub(super) mod described;
mod faults;
mod keys;
mod life_cycles;
mod received;
mod world;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use jiff::fmt::friendly::SpanParser;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::api_response::ApiResponse;
use super::body::{self, BODY_DEADLINE};
use super::faults::Armed;
use super::scripted_body::ScriptedBody;
use super::state::SandboxState;
use super::{host_check, routes};

/// Every verb, in the order of the index. A new group is a file beside this one, and a line here.
const GROUPS: [&[Verb]; 6] = [INDEX, keys::VERBS, received::VERBS, faults::VERBS, world::VERBS, life_cycles::VERBS];

const INDEX: &[Verb] =
    &[Verb { method: "GET", path: "/", query: "", what: "this list", handler: |request| Box::pin(index(request)) }];

/// One operation.
struct Verb {
    method: &'static str,
    /// A segment in braces, such as `{number}`, stands for any text.
    path: &'static str,
    /// The query parameters as the index shows them.
    query: &'static str,
    what: &'static str,
    handler: fn(VerbRequest) -> Answer,
}

type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// The error is a response too.
type Reply = Result<Response<ScriptedBody>, ApiResponse>;

/// A request for one verb.
struct VerbRequest {
    state: Arc<SandboxState>,
    addresses: Arc<Addresses>,
    uri: Uri,
    /// The text of the path's segment in braces, decoded. Empty if the path has none.
    segment: String,
    body: Incoming,
}

/// The addresses that clients use.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    pub(super) provider: SocketAddr,
    pub(super) management: SocketAddr,
    pub(super) allowed_hosts: Vec<String>,
    /// Whether the provider's API uses TLS.
    pub(super) tls: bool,
}

impl Addresses {
    pub(super) fn provider_url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.provider)
    }

    pub(super) fn management_url(&self) -> String {
        format!("http://{}", self.management)
    }
}

impl Verb {
    /// Returns the text of the segment in braces if `path` is this verb's path.
    fn match_path(&self, path: &str) -> Option<String> {
        let mut segment = String::new();
        let mut given = path.split('/');
        for expected in self.path.split('/') {
            let given = given.next()?;
            if expected.starts_with('{') && !given.is_empty() {
                segment = percent_encoding::percent_decode_str(given).decode_utf8().ok()?.into_owned();
            } else if expected != given {
                return None;
            }
        }
        given.next().is_none().then_some(segment)
    }
}

impl VerbRequest {
    /// The first query parameter of this name, decoded.
    fn parameter(&self, name: &str) -> Option<String> {
        routes::parameter(&self.uri, name)
    }

    /// Reads the body, at most `limit` bytes, as JSON.
    async fn json<T: DeserializeOwned>(body: Incoming, limit: usize) -> Result<T, ApiResponse> {
        let Ok(body) = body::read(body, limit, BODY_DEADLINE).await else {
            return Err(bad_request(&format!(
                "the request body is larger than {limit} bytes or did not arrive completely"
            )));
        };
        serde_json::from_slice(&body).map_err(|error| bad_request(&error.to_string()))
    }
}

pub(super) async fn respond(
    state: Arc<SandboxState>,
    addresses: Arc<Addresses>,
    request: Request<Incoming>,
) -> io::Result<Response<ScriptedBody>> {
    let (head, body) = request.into_parts();
    let admitted = host_check::admit(&head.headers, addresses.management.ip(), &addresses.allowed_hosts);
    let found = GROUPS.iter().copied().flatten().find_map(|verb| {
        let segment = verb.match_path(head.uri.path())?;
        (verb.method == head.method).then_some((verb, segment))
    });
    let result = match (admitted, found) {
        (Err(message), _) => Err(error_response(StatusCode::FORBIDDEN, &message)),
        (Ok(()), None) => Err(not_found()),
        (Ok(()), Some((verb, segment))) => {
            (verb.handler)(VerbRequest { state, addresses, uri: head.uri, segment, body }).await
        }
    };
    let mut response = result.unwrap_or_else(ApiResponse::into_response);
    // A plaintext must not run as a script in a page that embeds it.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Refuses an address that other hosts can reach unless it is allowed.
pub(super) fn check_address(address: SocketAddr, allow_remote: bool) -> io::Result<()> {
    if allow_remote || !is_remote(address) {
        return Ok(());
    }
    let message = format!(
        "the management address {address} is not loopback: any host that can connect would get the sandbox's private \
         keys and the plaintext of every request; use a loopback address such as 127.0.0.1:8091, or set \
         --allow-remote-management"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// A warning if other hosts can reach `address`.
pub(super) fn remote_warning(address: SocketAddr) -> Option<String> {
    is_remote(address).then(|| {
        format!(
            "the management interface listens on {address}, which is not loopback: any host that can connect gets the \
             private keys and the plaintext of every request, without a credential"
        )
    })
}

fn is_remote(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

async fn index(request: VerbRequest) -> Reply {
    let VerbRequest { state, addresses, .. } = request;
    let verbs: serde_json::Map<String, Value> = GROUPS
        .iter()
        .copied()
        .flatten()
        .map(|verb| (format!("{} {}{}", verb.method, verb.path, verb.query), json!(verb.what)))
        .collect();
    ok(json!({
        "what": banner(&state),
        "provider": addresses.provider_url(),
        "management": addresses.management_url(),
        "jwks_fetches": state.jwks_fetches(),
        "token_requests": state.token_requests(),
        "verbs": verbs,
    }))
}

pub(super) fn banner(state: &SandboxState) -> String {
    let armed: Vec<_> = state.faults.armed().iter().map(Armed::to_string).collect();
    let armed = if armed.is_empty() { "none".to_owned() } else { armed.join(", ") };
    format!(
        "This is a sandbox, not a real provider: its keys, tokens and data are made up, and lost \
         when it stops. Faults armed: {armed}."
    )
}

fn ok(body: Value) -> Reply {
    Ok(ApiResponse::ok(body).into_response())
}

fn bad_request(message: &str) -> ApiResponse {
    error_response(StatusCode::BAD_REQUEST, message)
}

/// Reads a duration with a unit, such as `2s`.
fn duration(text: &str) -> Result<Duration, ApiResponse> {
    SpanParser::new().parse_unsigned_duration(text).map_err(|_| {
        bad_request(&format!("{text:?} is no duration: use the units h, m, s and ms, such as wait=2s or advance=1h30m"))
    })
}

fn not_found() -> ApiResponse {
    error_response(StatusCode::NOT_FOUND, "no such operation or recorded request; GET / lists the operations")
}

fn error_response(status: StatusCode, message: &str) -> ApiResponse {
    ApiResponse { status, body: json!({ "error": message }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    use crate::sandbox::testing::TestSandbox;
    use crate::sandbox::{Options, Sandbox};

    #[tokio::test]
    async fn the_index_says_that_the_sandbox_is_not_real_and_lists_the_operations() {
        let sandbox = TestSandbox::start().await;
        let index = sandbox.manage(Method::GET, "/").await.ok();
        assert!(index["what"].as_str().unwrap().contains("not a real provider"));
        assert!(sandbox.handle.banner().contains("not a real provider"));
        assert_eq!(index["provider"], sandbox.handle.url());
        assert_eq!(index["management"], sandbox.handle.management_url());
        assert_eq!((&index["jwks_fetches"], &index["token_requests"]), (&json!(0), &json!(1)));
        for (method, target) in [
            (Method::GET, "/nothing"),
            (Method::GET, "/received/1/body"),
            (Method::GET, "/received/last/body"),
            (Method::GET, "/received/-1/body"),
            (Method::PUT, "/rotate"),
        ] {
            assert_eq!(sandbox.manage(method, target).await.status, 404, "{target}");
        }
    }

    #[tokio::test]
    async fn every_listed_operation_exists() {
        let sandbox = TestSandbox::start().await;
        sandbox.get("/v0/bank/available").await.ok();
        for verb in GROUPS.iter().copied().flatten() {
            let path = verb.path.replace("{number}", "1").replace("{token}", "sandbox-credentials-1");
            let path = path.replace("{id}", "5a4db0c5-0000-4000-8000-000000000005");
            let reply = sandbox.manage(verb.method.parse().unwrap(), &path).await;
            assert_ne!(reply.status, 404, "{} {}", verb.method, verb.path);
        }
    }

    #[tokio::test]
    async fn an_address_that_other_hosts_can_reach_must_be_allowed() {
        let start = |address: &str, allow_remote_management| {
            let management = address.parse().unwrap();
            Sandbox::start(Options { management, allow_remote_management, ..Options::default() })
        };
        for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0", "[2001:db8::1]:0", "[::ffff:192.0.2.1]:0"] {
            let error = start(address, false).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{address}");
            let message = error.to_string();
            assert!(message.contains(address) && message.contains("--allow-remote-management"), "{message}");
        }
        let remote = start("0.0.0.0:0", true).await.unwrap();
        let warning = remote.remote_management_warning().unwrap();
        assert!(warning.contains("0.0.0.0:") && warning.contains("private keys"), "{warning}");
        for allowed in [false, true] {
            let local = start("127.0.0.1:0", allowed).await.unwrap();
            assert_eq!(local.remote_management_warning(), None);
        }
        for address in ["127.0.0.2:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            check_address(address.parse().unwrap(), false).unwrap();
        }
    }

    #[tokio::test]
    async fn no_response_may_be_read_as_another_media_type() {
        let sandbox = TestSandbox::start().await;
        sandbox.get("/v0/bank/available").await.ok();
        for (target, status) in [("/", 200), ("/received/last/body", 200), ("/nothing", 404), ("/received/9/body", 404)]
        {
            let reply = sandbox.manage(Method::GET, target).await;
            assert_eq!(
                (reply.status.as_u16(), reply.header("x-content-type-options")),
                (status, "nosniff"),
                "{target}"
            );
        }
        let refused = sandbox.http.get(sandbox.handle.management_url()).header("origin", "https://evil.example");
        let refused = crate::sandbox::testing::send(refused).await;
        assert_eq!((refused.status.as_u16(), refused.header("x-content-type-options")), (403, "nosniff"));
    }
}
