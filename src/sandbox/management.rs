//! The management interface: the methods of [`Sandbox`](super::Sandbox) over HTTP, for people and for test
//! suites in other languages.
//!
//! It asks for no credential: its caller is on the same host. An address that other hosts can reach must be
//! allowed explicitly, and web pages are refused ([`host_check`]).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Rotation;
use super::api_response::ApiResponse;
use super::body::{self, BODY_DEADLINE};
use super::faults::{Armed, Fault};
use super::scripted_body::ScriptedBody;
use super::state::{SandboxState, lock};
use super::{host_check, key_set, listing, routes};

/// The operations and their descriptions, as `GET /` lists them.
const VERBS: [(&str, &str); 12] = [
    ("GET /", "this list"),
    (
        "POST /rotate?overlap=true|false|SECONDS",
        "publish a new key, first in the set; the older keys stay (true, the default), are removed at once (false) or after SECONDS",
    ),
    ("POST /retire?kid=KID", "remove one key from the set at once"),
    ("POST /revoke-tokens", "revoke all tokens issued so far"),
    ("GET /keys/private", "the JWK Set with private members"),
    ("GET /received", "the recorded requests, oldest first"),
    ("GET /received/last/body", "the body of the last request after opening, as bytes"),
    ("GET /received/N/body", "the body of request number N after opening, as bytes"),
    ("DELETE /received", "delete the recorded requests"),
    ("GET /faults", "the armed faults, and a sample of each fault"),
    (
        "POST /faults",
        "arm a fault for N requests: {\"fault\": SAMPLE, \"times\": N}; without times, until it is disarmed",
    ),
    ("DELETE /faults", "disarm all faults"),
];

/// The size limit of a fault as JSON.
const MAX_BODY: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) provider: SocketAddr,
    pub(super) management: SocketAddr,
}

pub(super) async fn respond(
    state: Arc<SandboxState>,
    addresses: Addresses,
    request: Request<Incoming>,
) -> io::Result<Response<ScriptedBody>> {
    let (head, body) = request.into_parts();
    let result = match host_check::admit(&head.headers, addresses.management.ip()) {
        Ok(()) => dispatch(&state, addresses, &head.method, &head.uri, body).await,
        Err(message) => Err(error_response(StatusCode::FORBIDDEN, message)),
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

async fn dispatch(
    state: &Arc<SandboxState>,
    addresses: Addresses,
    method: &Method,
    uri: &Uri,
    body: Incoming,
) -> Result<Response<ScriptedBody>, ApiResponse> {
    let path = uri.path();
    let response = match (method.as_str(), path) {
        ("GET", "/") => index(state, addresses),
        ("POST", "/rotate") => {
            let rotation = rotation(routes::parameter(uri, "overlap").as_deref())?;
            let kid = key_set::rotate(state, rotation).await.map_err(|error| {
                tracing::error!(%error, "sandbox: a new key could not be generated");
                error_response(StatusCode::INTERNAL_SERVER_ERROR, "a new key could not be generated")
            })?;
            ApiResponse::ok(json!({ "kid": kid }))
        }
        ("POST", "/retire") => {
            let kid = routes::parameter(uri, "kid").ok_or_else(|| {
                error_response(StatusCode::BAD_REQUEST, "parameter kid is missing: POST /retire?kid=KID")
            })?;
            if !lock(&state.keys).retire(&kid) {
                return Err(error_response(StatusCode::NOT_FOUND, "no published key has this kid"));
            }
            ApiResponse::ok(json!({ "retired": kid }))
        }
        ("POST", "/revoke-tokens") => {
            state.revoke_tokens();
            ApiResponse::ok(json!({ "revoked": true }))
        }
        ("GET", "/keys/private") => ApiResponse::ok(key_set::private_jwks(&state.keys())),
        ("GET", "/received") => listing::list(state).await,
        ("DELETE", "/received") => {
            lock(&state.received).clear();
            ApiResponse::ok(json!({ "forgotten": true }))
        }
        ("GET", "/faults") => ApiResponse::ok(json!({
            "armed": state.faults.armed(),
            "samples": Fault::samples(),
        })),
        ("POST", "/faults") => arm(state, body).await?,
        ("DELETE", "/faults") => {
            state.faults.disarm_all();
            ApiResponse::ok(json!({ "disarmed": true }))
        }
        ("GET", _) => match received_body(state, path) {
            Some(plaintext) => return Ok(octet_stream(plaintext)),
            None => return Err(not_found()),
        },
        _ => return Err(not_found()),
    };
    Ok(response.into_response())
}

fn index(state: &SandboxState, addresses: Addresses) -> ApiResponse {
    let verbs: serde_json::Map<String, Value> =
        VERBS.iter().map(|(verb, what)| ((*verb).to_owned(), json!(what))).collect();
    ApiResponse::ok(json!({
        "what": banner(state),
        "provider": format!("http://{}", addresses.provider),
        "management": format!("http://{}", addresses.management),
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

async fn arm(state: &SandboxState, body: Incoming) -> Result<ApiResponse, ApiResponse> {
    let Ok(body) = body::read(body, MAX_BODY, BODY_DEADLINE).await else {
        return Err(error_response(
            StatusCode::BAD_REQUEST,
            "the request body is larger than 64 KiB or did not arrive completely",
        ));
    };
    let armed: Armed =
        serde_json::from_slice(&body).map_err(|error| error_response(StatusCode::BAD_REQUEST, &error.to_string()))?;
    armed.check().map_err(|message| error_response(StatusCode::BAD_REQUEST, &message))?;
    let response = ApiResponse::ok(json!(armed));
    state.faults.arm(armed);
    Ok(response)
}

fn rotation(overlap: Option<&str>) -> Result<Rotation, ApiResponse> {
    match overlap {
        None | Some("true") => Ok(Rotation::Overlap),
        Some("false") => Ok(Rotation::HardCut),
        Some(seconds) => match seconds.parse() {
            Ok(seconds) => Ok(Rotation::OverlapFor(Duration::from_secs(seconds))),
            Err(_) => {
                Err(error_response(StatusCode::BAD_REQUEST, "overlap must be true, false or a whole number of seconds"))
            }
        },
    }
}

/// `/received/last/body` or `/received/N/body`.
fn received_body(state: &SandboxState, path: &str) -> Option<Bytes> {
    let call_number = path.strip_prefix("/received/")?.strip_suffix("/body")?;
    let log = lock(&state.received);
    let call = match call_number {
        "last" => log.last(),
        number => log.numbered(number.parse().ok()?),
    };
    call.map(|call| call.plaintext.clone())
}

fn octet_stream(bytes: Bytes) -> Response<ScriptedBody> {
    let mut response = Response::new(ScriptedBody::whole(bytes));
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    response
}

fn not_found() -> ApiResponse {
    error_response(StatusCode::NOT_FOUND, "no such operation or recorded request; GET / lists the operations")
}

pub(super) fn error_response(status: StatusCode, message: &str) -> ApiResponse {
    ApiResponse { status, body: json!({ "error": message }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose;
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
        for (verb, _) in VERBS {
            let (method, target) = verb.split_once(' ').unwrap();
            let path = target.split('?').next().unwrap().replace('N', "1");
            let reply = sandbox.manage(method.parse().unwrap(), &path).await;
            assert_ne!(reply.status, 404, "{verb}");
        }
    }

    #[tokio::test]
    async fn the_overlap_parameter_decides_how_long_the_older_keys_stay() {
        let sandbox = TestSandbox::start().await;
        let published = async || sandbox.jwks().await.ok()["keys"].as_array().unwrap().len();
        for (overlap, keys) in [("", 2), ("?overlap=true", 3), ("?overlap=60", 4)] {
            let reply = sandbox.manage(Method::POST, &format!("/rotate{overlap}")).await.ok();
            let kid = sandbox.jwks().await.ok()["keys"][0]["kid"].clone();
            assert_eq!(reply["kid"], kid);
            assert_eq!(published().await, keys);
        }
        sandbox.control.advance(Duration::from_secs(60));
        assert_eq!(published().await, 1);
        let new = sandbox.manage(Method::POST, "/rotate?overlap=false").await.ok();
        assert_eq!(published().await, 1);

        let retire = format!("/retire?kid={}", new["kid"].as_str().unwrap());
        assert_eq!(sandbox.manage(Method::POST, &retire).await.status, 200);
        assert_eq!(sandbox.manage(Method::POST, &retire).await.status, 404);
        assert_eq!(published().await, 0);
        for wrong in ["/rotate?overlap=soon", "/rotate?overlap=-1", "/retire"] {
            assert_eq!(sandbox.manage(Method::POST, wrong).await.status, 400, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_private_key_set_opens_a_message_sealed_for_the_public_set() {
        let sandbox = TestSandbox::start().await;
        let message = sandbox.seal(b"{\"a\":1}").await;
        let set = sandbox.manage(Method::GET, "/keys/private").await.ok();
        assert_eq!(set, sandbox.handle.private_jwks());
        let key = jose::DecryptionKey::from_jwk(&set["keys"][0]).unwrap();
        assert_eq!(*jose::open(&message, &[key]).unwrap().plaintext, b"{\"a\":1}");
        let public = sandbox.jwks().await.ok();
        assert!(set["keys"][0]["d"].is_string() && public["keys"][0].get("d").is_none());
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

    #[tokio::test]
    async fn revoke_tokens_makes_issued_tokens_invalid() {
        let sandbox = TestSandbox::start().await;
        sandbox.manage(Method::POST, "/revoke-tokens").await.ok();
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 401);
    }
}
