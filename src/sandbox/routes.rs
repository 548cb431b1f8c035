//! The documented response for each method and path.

use http::{Method, Uri};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::api_response::{ApiResponse, ErrorFormat, bad_request};
use super::bank_credentials::ForcedFlow;
use super::products;
use super::world::ApiState;

pub(super) fn dispatch(api: &mut ApiState, now: Timestamp, method: &Method, uri: &Uri, body: &Value) -> ApiResponse {
    let path = uri.path();
    match (method.as_str(), path) {
        ("GET", "/v0/bank/available") => ApiResponse::ok(json!(api.banks)),
        ("POST", "/v0/bank/credentials/list") => ApiResponse::ok(api.credentials.list()),
        ("POST", "/v0/bank/credentials/status") => {
            with_credentials(api, body, |api, token| api.credentials.status(token))
        }
        ("PUT", "/v0/bank/credentials/status") => force(api, body),
        ("DELETE", "/v0/bank/credentials") => with_credentials(api, body, |api, token| {
            let deleted = api.delete_credentials(token, now);
            deleted.then(|| json!({ "message": "Successfully deleted" }))
        }),
        ("GET", "/v0/platform/link") => {
            let link_token = parameter(uri, "link_token");
            ApiResponse::ok(api.links.list(link_token.as_deref()))
        }
        ("POST", "/v0/platform/link") => redeem(api, now, body),
        ("POST", "/letters/v1/create-signed") => api.letters.create_signed(body, now),
        ("POST", "/letters/v1/search-letters") => api.letters.search(body),
        ("POST", "/letters/v1/discontinue-letter") => match api.letters.discontinue(body, now) {
            Ok(change) => {
                api.connect(change);
                ApiResponse::ok(json!({ "success": true }))
            }
            Err(refusal) => refusal,
        },
        ("POST", _) => match products::Kind::at(path) {
            Some(kind) => kind.respond(api, uri, body),
            None => ErrorFormat::of(path).not_found(),
        },
        _ => ErrorFormat::of(path).not_found(),
    }
}

/// Runs `act` with the `credentials_token` of the body. Returns the documented 400 if there are no such
/// credentials.
fn with_credentials(
    api: &mut ApiState,
    body: &Value,
    act: impl FnOnce(&mut ApiState, &str) -> Option<Value>,
) -> ApiResponse {
    let token = match text(body, "credentials_token") {
        Ok(token) => token,
        Err(refusal) => return refusal,
    };
    act(api, token).map_or_else(unknown_credentials, ApiResponse::ok)
}

fn unknown_credentials() -> ApiResponse {
    bad_request("You are not allowed to access to this credentials")
}

fn force(api: &mut ApiState, body: &Value) -> ApiResponse {
    let flow = body.get("force").and_then(Value::as_str);
    let Some(flow) = flow.and_then(ForcedFlow::parse) else {
        return bad_request("force must be sca, reset or transaction");
    };
    with_credentials(api, body, |api, token| api.credentials.force(token, flow))
}

fn redeem(api: &mut ApiState, now: Timestamp, body: &Value) -> ApiResponse {
    let code = match text(body, "code") {
        Ok(code) => code,
        Err(refusal) => return refusal,
    };
    match api.redeem(code, now) {
        Some((token, used)) => ApiResponse::ok(json!({
            "message": "Successfully retrieved",
            "credentials_token": token,
            "extra": used.extra,
            "link_token": used.link_token,
        })),
        None => bad_request("The code is unknown or was used before"),
    }
}

/// Returns a mandatory member of a body, or the 400 that names it.
fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiResponse> {
    match body.get(name) {
        None | Some(Value::Null) => Err(bad_request(&format!("{name} is required"))),
        Some(value) => value.as_str().ok_or_else(|| bad_request(&format!("{name} must be a string"))),
    }
}

/// Returns the first query parameter of this name, decoded.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    form_urlencoded::parse(uri.query()?.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::TestSandbox;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    #[tokio::test]
    async fn an_undocumented_path_or_method_is_a_404_in_the_error_format_of_the_path() {
        let sandbox = TestSandbox::start().await;
        for (method, target) in [
            (Method::GET, "/v0/bank/credentials/list"),
            (Method::PATCH, "/v0/bank/credentials/status"),
            (Method::POST, "/v0/bank/credentials/made-up"),
            (Method::POST, "/"),
        ] {
            let reply = sandbox.call(method, target, &json!({})).await;
            assert_eq!((reply.status.as_u16(), reply.json()), (404, json!({ "error": "Not Found" })));
        }
        for (method, target) in [(Method::GET, "/letters/v1/search-letters"), (Method::POST, "/letters/v2/x")] {
            let reply = sandbox.call(method, target, &json!({})).await;
            assert_eq!(reply.status, 404);
            assert_eq!(reply.json()["error"]["code"], "NOT_FOUND");
        }
    }

    const BODIES: [(&str, &str); 8] = [
        ("POST", "/v0/bank/credentials/status"),
        ("PUT", "/v0/bank/credentials/status"),
        ("DELETE", "/v0/bank/credentials"),
        ("POST", "/v0/bank/credentials/all"),
        ("POST", "/v0/platform/link"),
        ("POST", "/letters/v1/create-signed"),
        ("POST", "/letters/v1/search-letters"),
        ("POST", "/letters/v1/discontinue-letter"),
    ];

    /// Objects with member names that the API knows and arbitrary values.
    fn bodies() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            Just(json!("sandbox-credentials-1")),
            Just(json!("2024-01-15")),
            Just(json!("-009999-01-01T00:00:00")),
        ];
        let member = prop_oneof![
            Just("credentials_token"),
            Just("force"),
            Just("code"),
            Just("connector_id"),
            Just("data"),
            Just("query"),
            Just("page"),
            Just("page_size"),
            Just("status_in"),
            Just("id_in"),
            Just("labels"),
            Just("creation_date"),
            Just("start"),
            Just("end"),
            Just("letter_id"),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            let object = prop::collection::hash_map(member.clone(), inner.clone(), 0..8);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                object.prop_map(|members| {
                    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
                }),
            ]
        })
    }

    /// Data with the first credentials alone, because each case needs a copy.
    static API: LazyLock<ApiState> = LazyLock::new(|| {
        let mut api = ApiState::seeded(1, Timestamp::UNIX_EPOCH);
        api.credentials.all.truncate(1);
        api
    });

    proptest! {
        #[test]
        fn every_body_gets_a_documented_status(body in bodies()) {
            let now = Timestamp::UNIX_EPOCH;
            let mut api = API.clone();
            for (method, path) in BODIES {
                let method = method.parse().unwrap();
                let response = dispatch(&mut api, now, &method, &Uri::from_static(path), &body);
                prop_assert!(matches!(response.status.as_u16(), 200 | 400 | 404));
            }
        }
    }
}
