//! The second provider, Flinks, as far as a test of the gateway needs it.
//!
//! Flinks accepts no JWE. Its token request has a `scope`, its token response has no `token_type`, and it has
//! three kinds of fixed keys for its other products. The sandbox has one endpoint for each kind of
//! credential, at the same address as the first provider:
//!
//! | endpoint | required credential |
//! |---|---|
//! | `GET /api/fdx/5/accounts` | `Authorization: Bearer` with a token from `POST /Token` |
//! | `GET /v3/{customer}/BankingServices/GetNightlyRefreshStatus` | `Authorization: Bearer` with a fixed key |
//! | `POST /v2/pay/sessions/initiate` | `x-api-key` with a fixed key |
//! | `POST /v3/{customer}/BankingServices/Authorize` | `flinks-auth-key` with a fixed key |
//!
//! The documentation says 400 for an invalid token in one place and 401 in another. The sandbox responds with
//! 401, which a client can distinguish from an invalid request.

use std::sync::Mutex;

use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use uuid::Uuid;

use super::api_response::ApiResponse;
use super::body::RequestBody;
use super::faults::TokenFault;
use super::state::{SandboxState, lock};
use super::token::{self, IssuedTokens};
use crate::secret::Secret;

/// The path of its token endpoint.
pub(super) const TOKEN_PATH: &str = "/Token";

const CLIENT_ID: &str = "sandbox-flinks-client";

/// The only scope that its documentation names.
const SCOPE: &str = "client:admin";

/// The credentials for the second provider's endpoints, random in each run. `Debug` omits the secrets.
#[derive(Clone, Debug)]
pub struct FlinksKeys {
    /// The `client_id` for its token endpoint.
    pub client_id: String,
    /// The secret of that client.
    pub client_secret: Secret,
    /// The fixed key for `Authorization: Bearer`.
    pub bearer: Secret,
    /// The fixed key for `x-api-key`.
    pub api_key: Secret,
    /// The fixed key for `flinks-auth-key`.
    pub auth_key: Secret,
}

pub(super) struct Flinks {
    pub(super) keys: FlinksKeys,
    pub(super) tokens: Mutex<IssuedTokens>,
}

/// The endpoints of the second provider, except its token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlinksEndpoint {
    Accounts,
    NightlyRefresh,
    Pay,
    Authorize,
}

impl Flinks {
    pub(super) fn new() -> Self {
        let random = |what: &str| Secret::new(format!("sandbox-flinks-{what}-{}", Uuid::new_v4().simple()));
        let keys = FlinksKeys {
            client_id: CLIENT_ID.to_owned(),
            client_secret: random("secret"),
            bearer: random("bearer"),
            api_key: random("api-key"),
            auth_key: random("auth-key"),
        };
        Self { keys, tokens: Mutex::default() }
    }
}

impl FlinksEndpoint {
    /// Returns the endpoint at this path, for any method.
    pub(super) fn at(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments[..] {
            ["api", "fdx", "5", "accounts"] => Some(Self::Accounts),
            ["v3", _, "BankingServices", "GetNightlyRefreshStatus"] => Some(Self::NightlyRefresh),
            ["v3", _, "BankingServices", "Authorize"] => Some(Self::Authorize),
            ["v2", "pay", "sessions", "initiate"] => Some(Self::Pay),
            _ => None,
        }
    }

    /// Whether the request carries the credential that this endpoint requires.
    pub(super) fn authenticates(self, state: &SandboxState, headers: &HeaderMap) -> bool {
        let Flinks { keys, tokens } = &state.flinks;
        let has_key = |name: &str, key: &Secret| {
            let mut values = headers.get_all(name).iter();
            matches!((values.next(), values.next()), (Some(value), None) if value.as_bytes() == key.expose().as_bytes())
        };
        match self {
            Self::Accounts => {
                let now = state.now();
                token::bearer(headers).is_some_and(|token| lock(tokens).is_valid(token, now))
            }
            Self::NightlyRefresh => token::bearer(headers) == Some(keys.bearer.expose()),
            Self::Pay => has_key("x-api-key", &keys.api_key),
            Self::Authorize => has_key("flinks-auth-key", &keys.auth_key),
        }
    }

    pub(super) fn unauthenticated(self) -> ApiResponse {
        let body = match self {
            Self::Accounts => json!({ "message": "Invalid Bearer Token" }),
            _ => json!({ "HttpStatusCode": 401, "Message": "Unauthorized", "FlinksCode": "UNAUTHORIZED" }),
        };
        ApiResponse { status: StatusCode::UNAUTHORIZED, body }
    }

    /// Responds to an authenticated call.
    pub(super) fn respond(self, method: &Method, uri: &Uri, request_body: &RequestBody, body: &Value) -> ApiResponse {
        if request_body.opened.is_some() {
            return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json");
        }
        let customer = uri.path().split('/').nth(2).unwrap_or_default();
        match (self, method.as_str()) {
            (Self::Accounts, "GET") => ApiResponse::ok(accounts()),
            (Self::NightlyRefresh, "GET") => ApiResponse::ok(json!({ "HttpStatusCode": 200, "IneligibleCards": [] })),
            (Self::Authorize, "POST") => match body.get("LoginId").and_then(Value::as_str) {
                Some(login) => ApiResponse::ok(json!({
                    "HttpStatusCode": 200,
                    "Links": [],
                    "Login": { "Username": "sandbox", "IsScheduledRefresh": false, "Type": "Personal", "Id": login },
                    "Institution": "FlinksCapital",
                    "RequestId": Uuid::new_v4().to_string(),
                    "CustomerId": customer,
                })),
                None => error(StatusCode::BAD_REQUEST, "LoginId is required"),
            },
            (Self::Pay, "POST") => match body.get("amount").and_then(Value::as_f64) {
                Some(amount) if amount > 0.0 => ApiResponse::ok(json!({ "sessionId": Uuid::new_v4().to_string() })),
                _ => error(StatusCode::BAD_REQUEST, "amount is required"),
            },
            _ => error(StatusCode::NOT_FOUND, "Not Found"),
        }
    }
}

/// Decides on a token request.
pub(super) fn grant(state: &SandboxState, request: &Value, faults: &[TokenFault]) -> ApiResponse {
    let Flinks { keys, tokens } = &state.flinks;
    let text = |field| request.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("grant_type") != "client_credentials" || text("scope") != SCOPE {
        return error(StatusCode::BAD_REQUEST, "grant_type must be client_credentials and scope client:admin");
    }
    if text("client_id") != keys.client_id || text("client_secret") != keys.client_secret.expose() {
        return error(StatusCode::UNAUTHORIZED, "Invalid client credentials");
    }
    let lifetime = TokenFault::lifetime(faults, state.token_lifetime);
    let token = lock(tokens).issue(lifetime, state.now());
    let mut document = json!({ "access_token": token, "expires_in": lifetime.as_secs() });
    TokenFault::distort(faults, &mut document);
    ApiResponse::ok(document)
}

fn error(status: StatusCode, message: &str) -> ApiResponse {
    let body = json!({ "HttpStatusCode": status.as_u16(), "Message": message, "FlinksCode": "INVALID_REQUEST" });
    ApiResponse { status, body }
}

fn accounts() -> Value {
    json!({
        "page": { "nextOffset": "", "totalElements": 1 },
        "accounts": [{ "locAccount": {
            "accountId": "11",
            "accountType": "CREDITCARD",
            "productName": "Sandbox Card",
            "status": "OPEN",
            "currency": { "currencyCode": "CAD" },
        } }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::{TestResponse, TestSandbox, send};
    use http::header::CONTENT_TYPE;

    const AUTHORIZE: &str = "/v3/customer/BankingServices/Authorize";
    const NIGHTLY: &str = "/v3/customer/BankingServices/GetNightlyRefreshStatus";
    const PAY: &str = "/v2/pay/sessions/initiate";
    const ACCOUNTS: &str = "/api/fdx/5/accounts";

    async fn call(
        sandbox: &TestSandbox,
        method: Method,
        path: &str,
        header: (&str, &str),
        body: Value,
    ) -> TestResponse {
        let request = sandbox.http.request(method, format!("{}{path}", sandbox.handle.url()));
        let request = request.header(CONTENT_TYPE, "application/json").header(header.0, header.1);
        send(request.body(body.to_string())).await
    }

    async fn token(sandbox: &TestSandbox, change: impl FnOnce(&mut Value)) -> TestResponse {
        let keys = sandbox.handle.flinks();
        let mut request = json!({
            "grant_type": "client_credentials",
            "client_id": keys.client_id,
            "client_secret": keys.client_secret.expose(),
            "scope": SCOPE,
        });
        change(&mut request);
        call(sandbox, Method::POST, TOKEN_PATH, ("accept", "*/*"), request).await
    }

    #[tokio::test]
    async fn a_token_has_no_type_and_is_accepted_until_it_is_revoked() {
        let sandbox = TestSandbox::start().await;
        let document = token(&sandbox, |_| {}).await.ok();
        assert!(document.get("token_type").is_none());
        assert_eq!(document["expires_in"], 3600);
        let bearer = format!("Bearer {}", document["access_token"].as_str().unwrap());
        let accounts = async || call(&sandbox, Method::GET, ACCOUNTS, ("authorization", &bearer), json!({})).await;
        assert!(accounts().await.ok()["accounts"].is_array());
        sandbox.handle.revoke_tokens();
        let refused = accounts().await;
        assert_eq!((refused.status.as_u16(), refused.json()["message"].as_str()), (401, Some("Invalid Bearer Token")));
        for (member, value, status) in
            [("scope", "other", 400), ("grant_type", "password", 400), ("client_secret", "wrong", 401)]
        {
            assert_eq!(token(&sandbox, |request| request[member] = json!(value)).await.status, status, "{member}");
        }
    }

    #[tokio::test]
    async fn each_fixed_key_is_accepted_at_its_own_endpoint_only() {
        let sandbox = TestSandbox::start().await;
        let keys = sandbox.handle.flinks().clone();
        let bearer = format!("Bearer {}", keys.bearer.expose());
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-api-key", keys.api_key.expose()),
            ("flinks-auth-key", keys.auth_key.expose()),
        ];
        let body = json!({ "LoginId": "5e115eac", "amount": 100.0 });
        let endpoints = [(Method::GET, NIGHTLY), (Method::POST, PAY), (Method::POST, AUTHORIZE)];
        for (index, (method, path)) in endpoints.into_iter().enumerate() {
            for (other, header) in headers.into_iter().enumerate() {
                let status = call(&sandbox, method.clone(), path, header, body.clone()).await.status;
                assert_eq!(status, if other == index { 200 } else { 401 }, "{path} with {}", header.0);
            }
        }
        let received = sandbox.handle.received().pop().unwrap();
        assert_eq!((received.plaintext, received.opened.is_none()), (body.to_string().into(), true));
    }

    #[tokio::test]
    async fn a_jwe_body_is_refused() {
        let sandbox = TestSandbox::start().await;
        let keys = sandbox.handle.flinks();
        let request =
            sandbox.http.post(format!("{}{PAY}", sandbox.handle.url())).header("x-api-key", keys.api_key.expose());
        let sealed = sandbox.seal(br#"{"amount":1}"#).await;
        let reply = send(request.header(CONTENT_TYPE, "application/jose").body(sealed)).await;
        assert_eq!(reply.status, 415);
    }
}
