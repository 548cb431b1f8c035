//! Access tokens of the first provider, and the handling of token requests for both.
//!
//! A token is a random string without content, so the sandbox looks up whether it is valid. Lifetimes are
//! measured with the sandbox's clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api_response::{ApiResponse, ErrorFormat, bad_request};
use super::body::{self, BODY_DEADLINE};
use super::faults::TokenFault;
use super::received::Standing;
use super::scripted_body::ScriptedBody;
use super::state::SandboxState;

/// The documented path of the token endpoint.
pub(super) const PATH: &str = "/v0/token";

/// A token request is three short strings, possibly sealed.
const MAX_BODY: usize = 64 * 1024;

/// The limit on valid tokens, so that a client that requests tokens in a loop cannot exhaust memory. No test
/// needs as many at once. Beyond the limit, the oldest tokens become invalid.
const MAX_TOKENS: usize = 10_000;

/// How long after a refusal a client may still send what it refused: requests that were under way.
pub(super) const IN_FLIGHT: Duration = Duration::from_secs(1);

/// The issued tokens, the latest [`MAX_TOKENS`].
#[derive(Default)]
pub(super) struct IssuedTokens {
    tokens: HashMap<String, IssuedToken>,
    /// In order of issue.
    issued: VecDeque<String>,
}

struct IssuedToken {
    /// `None` if the lifetime is longer than the clock can represent.
    end: Option<Instant>,
    /// When the sandbox refused the token for the first time.
    refused: Option<Instant>,
}

impl IssuedToken {
    fn is_valid(&self, now: Instant) -> bool {
        self.end.is_none_or(|end| now < end)
    }
}

impl IssuedTokens {
    pub(super) fn issue(&mut self, lifetime: Duration, now: Instant) -> String {
        // 244 random bits from the operating system.
        let [a, b] = [Uuid::new_v4(), Uuid::new_v4()];
        let token = format!("sandbox-{}{}", a.simple(), b.simple());
        self.tokens.insert(token.clone(), IssuedToken { end: now.checked_add(lifetime), refused: None });
        self.issued.push_back(token.clone());
        while self.issued.len() > MAX_TOKENS {
            if let Some(oldest) = self.issued.pop_front() {
                self.tokens.remove(&oldest);
            }
        }
        token
    }

    pub(super) fn is_valid(&self, token: &str, now: Instant) -> bool {
        self.tokens.get(token).is_some_and(|token| token.is_valid(now))
    }

    /// Judges the token of a call that arrives now. A token that is not valid counts as refused from now on.
    pub(super) fn standing(&mut self, token: Option<&str>, now: Instant) -> Standing {
        let Some(token) = token else {
            return Standing::Missing;
        };
        match self.tokens.get_mut(token) {
            None => Standing::Unknown,
            Some(token) if token.is_valid(now) => Standing::Valid,
            Some(token) => {
                let refused = *token.refused.get_or_insert(now);
                if now.saturating_duration_since(refused) > IN_FLIGHT {
                    Standing::EndedAndRefused
                } else {
                    Standing::Ended
                }
            }
        }
    }

    pub(super) fn revoke_all(&mut self, now: Instant) {
        for token in self.tokens.values_mut() {
            token.end = Some(token.end.map_or(now, |end| end.min(now)));
        }
    }
}

/// Returns the token of the `Authorization: Bearer` header (RFC 6750 section 2.1) if there is exactly one
/// such header. The scheme is case-insensitive (RFC 9110 section 11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Decides on a token request that was read, opened and parsed.
pub(super) type TokenHandler = fn(&SandboxState, &Value, &[TokenFault]) -> ApiResponse;

pub(super) async fn respond(
    state: Arc<SandboxState>,
    request: Request<Incoming>,
    handler: TokenHandler,
) -> Response<ScriptedBody> {
    let (head, body) = request.into_parts();
    let format = ErrorFormat::of(head.uri.path());
    if head.method != Method::POST {
        return format.not_found().into_response();
    }
    state.count_token_request();
    let faults = state.faults.take_for_token();
    // The body is read even for a refusal, because many clients read the response only after sending.
    let wire = body::read(body, MAX_BODY, BODY_DEADLINE).await;
    TokenFault::delay(&faults, &state.clock).await;
    match (wire, TokenFault::refusal(&faults, format)) {
        (_, Some(refusal)) => refusal,
        (Err(error), None) => error.to_response(format).into_response(),
        (Ok(wire), None) => open_and_grant(state, head, wire, faults, handler).await.into_response(),
    }
}

async fn open_and_grant(
    state: Arc<SandboxState>,
    head: request::Parts,
    wire: Bytes,
    faults: Vec<TokenFault>,
    handler: TokenHandler,
) -> ApiResponse {
    let format = ErrorFormat::of(head.uri.path());
    let processed = tokio::task::spawn_blocking(move || {
        // The second provider has no keys: it refuses a sealed body as an unknown media type.
        let keys = if format.is_flinks() { Vec::new() } else { state.keys() };
        let content = body::open(&head.headers, &wire, &keys).map_err(|error| error.to_response(format))?;
        let request = serde_json::from_slice(&content.plaintext).map_err(|_not_json| format.not_json())?;
        Ok(handler(&state, &request, &faults))
    });
    match processed.await {
        Ok(Ok(response) | Err(response)) => response,
        Err(error) => {
            tracing::error!(%error, "sandbox: a token request could not be handled");
            format.internal()
        }
    }
}

pub(super) fn grant(state: &SandboxState, request: &Value, faults: &[TokenFault]) -> ApiResponse {
    let text = |field| request.get(field).and_then(Value::as_str);
    let (Some(id), Some(secret)) = (text("client_id"), text("client_secret")) else {
        return bad_request("client_id and client_secret are required");
    };
    if text("grant_type") != Some("client_credentials") {
        return bad_request("grant_type must be client_credentials");
    }
    if id != state.client_id {
        return error(StatusCode::FORBIDDEN, "Unknown client");
    }
    if secret != state.client_secret.expose() {
        return error(StatusCode::UNAUTHORIZED, "Invalid client credentials");
    }
    let lifetime = TokenFault::lifetime(faults, state.token_lifetime);
    let mut document = json!({
        "access_token": state.issue_token(lifetime),
        "expires_in": lifetime.as_secs(),
        "token_type": "Bearer",
        "scope": "credentials letters links",
    });
    TokenFault::distort(faults, &mut document);
    ApiResponse::ok(document)
}

fn error(status: StatusCode, text: &str) -> ApiResponse {
    ApiResponse { status, body: json!({ "error": text }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::{TestSandbox, send};
    use crate::sandbox::{Options, Sandbox};
    use http::header::CONTENT_TYPE;

    #[tokio::test]
    async fn valid_credentials_get_a_token_in_the_documented_format() {
        let sandbox = TestSandbox::start().await;
        let reply = sandbox.request_token(&sandbox.credentials()).await;
        assert_eq!(reply.header("content-type"), "application/json");
        let reply = reply.ok();
        assert_eq!(reply["expires_in"], 3600);
        assert_eq!(reply["token_type"], "Bearer");
        assert!(reply["scope"].is_string());
        assert!(reply["access_token"].as_str().unwrap().len() >= 64);
        // `TestSandbox` requested the first one when it started.
        assert_eq!(sandbox.handle.token_requests(), 2);
        assert!(sandbox.handle.received().is_empty());
    }

    #[tokio::test]
    async fn wrong_credentials_and_malformed_requests_get_different_statuses() {
        let sandbox = TestSandbox::start().await;
        let with = |field: &str, value: Value| {
            let mut body = sandbox.credentials();
            body[field] = value;
            body
        };
        let cases = [
            (with("client_secret", json!("wrong")), 401),
            (with("client_id", json!("unknown")), 403),
            (with("client_id", json!(7)), 400),
            (with("client_secret", Value::Null), 400),
            (with("grant_type", json!("password")), 400),
            (json!([]), 400),
            (json!("text"), 400),
        ];
        for (body, status) in cases {
            let reply = sandbox.request_token(&body).await;
            assert_eq!(reply.status, status, "{body}");
            assert!(reply.json()["error"].is_string());
        }
    }

    #[tokio::test]
    async fn a_token_request_must_be_a_small_json_post() {
        let sandbox = TestSandbox::start().await;
        let url = sandbox.handle.url() + PATH;
        let post = |kind: &'static str, body: String| {
            let request = sandbox.http.post(&url).header(CONTENT_TYPE, kind);
            send(request.body(body))
        };
        assert_eq!(post("application/json", "{".to_owned()).await.status, 400);
        let form = "grant_type=client_credentials".to_owned();
        assert_eq!(post("application/x-www-form-urlencoded", form).await.status, 415);
        let large = " ".repeat(MAX_BODY + 1);
        assert_eq!(post("application/json", large).await.status, 413);
        assert_eq!(send(sandbox.http.get(&url)).await.status, 404);
    }

    #[tokio::test]
    async fn a_token_request_may_be_sealed() {
        let sandbox = TestSandbox::start().await;
        let message = sandbox.seal(sandbox.credentials().to_string().as_bytes()).await;
        let reply = sandbox.post_jose(PATH, message).await.ok();
        assert!(reply["access_token"].is_string());
    }

    #[tokio::test]
    async fn a_token_is_valid_until_it_expires() {
        let mut sandbox =
            TestSandbox::start_with(Options { token_lifetime: Duration::from_secs(10), ..Options::default() }).await;
        sandbox.control.advance(Duration::from_secs(9));
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 200);
        sandbox.control.advance(Duration::from_secs(1));
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 401);
        sandbox.renew_token().await;
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 200);
    }

    #[tokio::test]
    async fn a_revoked_token_is_refused_and_a_new_token_is_accepted() {
        let mut sandbox = TestSandbox::start().await;
        sandbox.handle.revoke_tokens();
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 401);
        sandbox.renew_token().await;
        assert_eq!(sandbox.get("/v0/bank/available").await.status, 200);
    }

    #[tokio::test]
    async fn the_client_secret_can_be_chosen_and_is_otherwise_random() {
        let chosen = Sandbox::start(Options {
            client_id: Some("me".to_owned()),
            client_secret: Some("canary".to_owned()),
            ..Options::default()
        });
        let chosen = chosen.await.unwrap();
        assert_eq!((chosen.client_id(), chosen.client_secret()), ("me", "canary"));
        assert!(!format!("{chosen:?}").contains("canary"));
        let [a, b] = [TestSandbox::start().await, TestSandbox::start().await];
        assert_ne!(a.handle.client_secret(), b.handle.client_secret());
    }

    #[test]
    fn debug_output_of_options_omits_the_secret() {
        let options = Options { client_secret: Some("canary".to_owned()), ..Options::default() };
        assert!(!format!("{options:?}").contains("canary"));
    }

    #[test]
    fn the_oldest_token_becomes_invalid_when_there_are_too_many() {
        let mut tokens = IssuedTokens::default();
        #[expect(clippy::disallowed_methods, reason = "the test needs any instant")]
        let now = Instant::now();
        let lifetime = Duration::from_secs(60);
        let first = tokens.issue(lifetime, now);
        let second = tokens.issue(lifetime, now);
        for _ in 2..=MAX_TOKENS {
            tokens.issue(lifetime, now);
        }
        assert!(!tokens.is_valid(&first, now));
        assert!(tokens.is_valid(&second, now));
        assert_eq!(tokens.tokens.len(), MAX_TOKENS);
    }

    #[test]
    fn a_lifetime_too_long_for_the_clock_never_ends() {
        let mut tokens = IssuedTokens::default();
        #[expect(clippy::disallowed_methods, reason = "the test needs any instant")]
        let now = Instant::now();
        let token = tokens.issue(Duration::MAX, now);
        assert!(tokens.is_valid(&token, now + Duration::from_secs(3600)));
    }

    #[test]
    fn exactly_one_bearer_header_is_accepted() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, http::HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(with(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&["bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&["Basic abc"]), None);
        assert_eq!(with(&["Bearer"]), None);
        assert_eq!(with(&["Bearer abc", "Bearer abc"]), None);
        assert_eq!(with(&[]), None);
    }
}
