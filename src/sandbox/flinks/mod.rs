//! The second provider, Flinks: every operation of its OpenAPI document, at the same address as the first.
//!
//! Flinks accepts no JWE. Its token request has a `scope`, its token response has no `token_type`, and it has
//! fixed keys for its other products. [`routes`] lists the operations with the credential of each. There is one
//! file per product:
//!
//! | product | paths | file |
//! |---|---|---|
//! | Connect: accounts of a login | `/v3/{customer}/BankingServices/` | `connect.rs`, `accounts.rs` |
//! | Enrich: attributes of a login | `/v3/{customer}/insight/` | `enrich.rs` |
//! | Pay | `/v2/pay/` | `pay.rs` |
//! | Outbound: tokens, data providers | `/Token`, `/api/v1/` | `outbound.rs` |
//! | FDX, part of Outbound | `/api/fdx/5/` | `fdx.rs` |
//!
//! The data comes from the seed and does not change. What changes are the request ids: see [`sessions`]. An
//! unknown path gets 404 with any credential, because each operation has its own.
//!
//! The documentation says 400 for an invalid token in one place and 401 in another. The sandbox responds with
//! 401, which a client can distinguish from an invalid request.

mod accounts;
mod connect;
mod data;
mod dialect;
mod enrich;
mod fdx;
mod outbound;
mod pay;
mod routes;
mod sessions;

#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod testing;

use std::sync::Mutex;

use bytes::Bytes;
use http::request;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use self::data::FlinksData;
use self::routes::{Call, Credential};
use self::sessions::Sessions;
use super::api_response::{ApiResponse, ErrorFormat};
use super::body::{self, ContentError, RequestBody};
use super::state::{SandboxState, lock};
use super::token::{self, IssuedTokens};
use crate::secret::Secret;

pub(super) use self::dialect::Dialect;
pub(super) use self::outbound::{AUTHORIZE_PATH, TOKEN_PATH, grant, send_user_on};

const CLIENT_ID: &str = "sandbox-flinks-client";

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
    data: FlinksData,
    sessions: Mutex<Sessions>,
}

impl Flinks {
    pub(super) fn new(seed: u64, now: Timestamp) -> Self {
        let random = |what: &str| Secret::new(format!("sandbox-flinks-{what}-{}", Uuid::new_v4().simple()));
        let keys = FlinksKeys {
            client_id: CLIENT_ID.to_owned(),
            client_secret: random("secret"),
            bearer: random("bearer"),
            api_key: random("api-key"),
            auth_key: random("auth-key"),
        };
        Self {
            keys,
            tokens: Mutex::default(),
            data: FlinksData::seeded(seed, now),
            sessions: Mutex::new(Sessions::seeded(seed)),
        }
    }

    /// Forgets all request ids and starts to number them again. Keys and tokens stay.
    pub(super) fn reset(&self) {
        lock(&self.sessions).reset();
    }
}

/// Returns the refusal of a request without the credential that its operation requires.
pub(super) fn refusal(state: &SandboxState, head: &request::Parts) -> Option<ApiResponse> {
    let route = routes::find(&head.method, head.uri.path())?;
    let Flinks { keys, tokens, .. } = &state.flinks;
    let has_key = |name: &str, key: &Secret| {
        let mut values = head.headers.get_all(name).iter();
        matches!((values.next(), values.next()), (Some(value), None) if value.as_bytes() == key.expose().as_bytes())
    };
    let has_fixed_key = || token::bearer(&head.headers) == Some(keys.bearer.expose());
    let has_auth_key = || has_key("flinks-auth-key", &keys.auth_key);
    let authenticated = match route.credential {
        Credential::AccessToken => {
            let now = state.now();
            token::bearer(&head.headers).is_some_and(|token| lock(tokens).is_valid(token, now))
        }
        Credential::FixedKey => has_fixed_key(),
        Credential::AuthKey => has_auth_key(),
        Credential::AuthKeyOrFixedKey => has_auth_key() || has_fixed_key(),
        Credential::ApiKey => has_key("x-api-key", &keys.api_key),
    };
    (!authenticated).then(|| route.dialect().unauthenticated())
}

/// Reads the body and responds to an authenticated call.
pub(super) fn respond(
    state: &SandboxState,
    head: &request::Parts,
    wire: &Bytes,
    dialect: Dialect,
) -> (Result<RequestBody, ContentError>, ApiResponse) {
    let format = ErrorFormat::Flinks(dialect);
    // Without keys: a sealed body is refused like any other media type that Flinks does not know.
    let content = body::open(&head.headers, wire, &[]);
    let response = match &content {
        Err(error) => error.to_response(format),
        Ok(content) => match body::parse(&content.plaintext) {
            Err(_not_json) => format.not_json(),
            Ok(body) => dispatch(&state.flinks, head, &body, dialect),
        },
    };
    (content, response)
}

fn dispatch(flinks: &Flinks, head: &request::Parts, body: &Value, dialect: Dialect) -> ApiResponse {
    match routes::find(&head.method, head.uri.path()) {
        Some(route) => (route.handler)(&Call { flinks, route, uri: &head.uri, body }),
        None => dialect.not_found(),
    }
}
