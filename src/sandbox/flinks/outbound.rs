//! Outbound: tokens, data providers, and the address that starts a user's consent in a browser.

use http::header::LOCATION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use jiff::ToSpan;
use serde_json::{Value, json};
use url::Url;

use super::Flinks;
use super::dialect::Dialect;
use super::routes::Call;
use crate::sandbox::api_response::ApiResponse;
use crate::sandbox::faults::TokenFault;
use crate::sandbox::routes::parameter;
use crate::sandbox::scripted_body::ScriptedBody;
use crate::sandbox::state::{SandboxState, lock};

/// The path of the token endpoint.
pub(in crate::sandbox) const TOKEN_PATH: &str = "/Token";

/// The address for the user's browser.
pub(in crate::sandbox) const AUTHORIZE_PATH: &str = "/api/v1/authorize";

/// The only scope that the documentation names.
const SCOPE: &str = "client:admin";

const PROVIDERS: [(u32, &str, &str); 2] = [(9000, "SandboxBank", "CA"), (9001, "Sandbox Credit Union", "US")];

/// Decides on a token request.
pub(in crate::sandbox) fn grant(state: &SandboxState, request: &Value, faults: &[TokenFault]) -> ApiResponse {
    let Flinks { keys, tokens, .. } = &state.flinks;
    let error = |status, text| Dialect::Outbound.error(status, text);
    let text = |field| request.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("grant_type") != "client_credentials" || text("scope") != SCOPE {
        let text = "grant_type must be client_credentials and scope client:admin";
        return error(StatusCode::BAD_REQUEST, text);
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

/// Sends the browser of a user who agrees with everything back to `redirect_uri`, with a code (RFC 6749 section
/// 4.1.2). How a recipient exchanges the code is not documented, so the sandbox has no exchange.
pub(in crate::sandbox) fn send_user_on<B>(state: &SandboxState, request: &Request<B>) -> Response<ScriptedBody> {
    let refuse = |text: &str| Dialect::Outbound.error(StatusCode::BAD_REQUEST, text).into_response();
    if request.method() != Method::GET {
        return Dialect::Outbound.not_found().into_response();
    }
    let query = |name| parameter(request.uri(), name).unwrap_or_default();
    for name in ["client_id", "scope", "state", "correlation_id"] {
        if query(name).is_empty() {
            return refuse(&format!("{name} is required"));
        }
    }
    if query("response_type") != "code" {
        return refuse("response_type must be code");
    }
    if !PROVIDERS.iter().any(|(id, ..)| id.to_string() == query("provider_id")) {
        return refuse("provider_id is unknown");
    }
    let Ok(mut target) = Url::parse(&query("redirect_uri")) else {
        return refuse("redirect_uri is not an absolute URL");
    };
    let code = lock(&state.flinks.sessions).next_id();
    target.query_pairs_mut().append_pair("code", &code).append_pair("state", &query("state"));
    let Ok(location) = HeaderValue::from_str(target.as_str()) else {
        return refuse("redirect_uri is not an absolute URL");
    };
    let mut response = Response::new(ScriptedBody::whole(""));
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, location);
    response
}

pub(super) fn providers(_call: &Call<'_>) -> ApiResponse {
    let provider = |(id, name, country): (u32, &str, &str)| {
        json!({
            "provider_id": id,
            "name": name,
            "country": country,
            "scopes": ["ACCOUNT_BASIC", "ACCOUNT_DETAILED", "ACCOUNT_PAYMENTS", "TRANSACTIONS", "CUSTOMER_CONTACT"],
        })
    };
    ApiResponse::ok(PROVIDERS.map(provider).into_iter().collect())
}

/// One recipient is registered with the first provider and waits for the second.
pub(super) fn registrations(call: &Call<'_>) -> ApiResponse {
    let day = call.flinks.data.today.saturating_sub(30.days());
    let registrations = PROVIDERS.iter().zip(["ACTIVE", "PENDING_APPROVAL"]);
    let document = |(&(id, name, country), status): (&(u32, &str, &str), &str)| {
        json!({
            "client_id": call.flinks.keys.client_id,
            "client_name": "Sandbox Recipient",
            "provider_id": id,
            "provider_name": name,
            "country": country,
            "registration_status": status,
            "requested_on": format!("{day}T09:00:00.0000000Z"),
        })
    };
    ApiResponse::ok(registrations.map(document).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::flinks::testing::FlinksTest;

    #[tokio::test]
    async fn a_token_has_no_type_and_is_accepted_until_it_is_revoked() {
        let flinks = FlinksTest::start().await;
        let document = flinks.request_token(|_| {}).await.ok();
        assert!(document.get("token_type").is_none());
        assert_eq!(document["expires_in"], 3600);
        let accounts = "/api/fdx/5/accounts";
        flinks.get(accounts).await.ok();
        flinks.sandbox.handle.revoke_tokens();
        let refused = flinks.get(accounts).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (401, &json!(602)));
        let refused = flinks.get("/api/v1/providers").await;
        assert_eq!((refused.status.as_u16(), refused.json()), (401, json!({ "message": "Invalid Bearer Token" })));
        for (member, value, status) in
            [("scope", "other", 400), ("grant_type", "password", 400), ("client_secret", "wrong", 401)]
        {
            let refused = flinks.request_token(|request| request[member] = json!(value)).await;
            assert_eq!(refused.status, status, "{member}");
            assert!(refused.json()["message"].is_string());
        }
    }

    #[tokio::test]
    async fn every_refusal_of_the_token_endpoint_has_the_format_of_outbound() {
        use crate::sandbox::testing::send;
        use crate::sandbox::{Fault, TokenFault};
        let flinks = FlinksTest::start().await;
        let post = |kind: &'static str, body: Vec<u8>| {
            let request =
                flinks.sandbox.http.post(flinks.sandbox.handle.url() + TOKEN_PATH).header("content-type", kind);
            send(request.body(body))
        };
        let sealed = flinks.sandbox.seal(b"{}").await;
        let mut replies = vec![
            (400, post("application/json", b"{".to_vec()).await),
            (413, post("application/json", vec![b' '; 100_000]).await),
            (415, post("application/jose", sealed).await),
            (415, post("text/plain", b"{}".to_vec()).await),
            (404, flinks.get(TOKEN_PATH).await),
        ];
        flinks.sandbox.handle.arm_times(Fault::Token(TokenFault::ServerError), 1);
        replies.push((500, flinks.request_token(|_| {}).await));
        for (status, reply) in replies {
            assert_eq!(reply.status, status);
            assert!(reply.json()["message"].is_string(), "{status}");
        }
    }

    #[tokio::test]
    async fn a_users_browser_is_sent_back_with_a_code_and_the_state() {
        let flinks = FlinksTest::start().await;
        let query = "response_type=code&client_id=c&redirect_uri=https%3A%2F%2Fapp.example%2Fback%3Fx%3D1&scope=TRANSACTIONS\
                     &state=s%26t&provider_id=9000&correlation_id=1";
        let reply = flinks.get(&format!("{AUTHORIZE_PATH}?{query}")).await;
        assert_eq!(reply.status, 302);
        let target = Url::parse(reply.header("location")).unwrap();
        assert_eq!(target.host_str(), Some("app.example"));
        let pairs: Vec<_> = target.query_pairs().collect();
        assert_eq!((&*pairs[0].1, &*pairs[1].0, &*pairs[2].1), ("1", "code", "s&t"));
        for wrong in ["provider_id=9000", "response_type=code", "state=s%26t", "redirect_uri=https%3A%2F%2F"] {
            let reply = flinks.get(&format!("{AUTHORIZE_PATH}?{}", query.replace(wrong, "x=1&y="))).await;
            assert_eq!(reply.status, 400, "{wrong}");
            assert!(reply.json()["message"].is_string());
        }
    }
}
