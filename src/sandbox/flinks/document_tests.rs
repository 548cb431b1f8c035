//! Compares the sandbox with the OpenAPI document of Flinks: the routes in both directions, and the response of each
//! operation.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Value, json};

use super::routes::{Credential, ROUTES, Route};
use super::testing::{FlinksTest, LOGIN_1, LOGIN_2};
use super::{AUTHORIZE_PATH, TOKEN_PATH};
use crate::openapi::FLINKS;
use crate::sandbox::Options;
use crate::sandbox::testing::TestResponse;

fn document() -> Value {
    serde_json::from_str(FLINKS).unwrap()
}

/// The operations of the document, by method and path.
fn operations(document: &Value) -> BTreeMap<(String, String), &Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if let Some(operation) = item.get(method) {
                operations.insert((method.to_uppercase(), path.clone()), operation);
            }
        }
    }
    operations
}

#[test]
fn the_routes_are_the_operations_of_the_document() {
    let document = document();
    let documented: BTreeSet<_> = operations(&document).into_keys().collect();
    let mut served: BTreeSet<_> =
        ROUTES.iter().map(|route| (route.method.to_string(), route.template.to_owned())).collect();
    served.insert(("POST".to_owned(), TOKEN_PATH.to_owned()));
    served.insert(("GET".to_owned(), AUTHORIZE_PATH.to_owned()));
    assert_eq!(served, documented);
}

#[test]
fn each_route_requires_the_documented_credential() {
    let document = document();
    let operations = operations(&document);
    for route in &ROUTES {
        let operation = operations[&(route.method.to_string(), route.template.to_owned())];
        let schemes: Vec<_> =
            operation["security"].as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap().keys()).collect();
        let expected: &[&str] = match route.credential {
            Credential::AccessToken => &["accessToken"],
            Credential::FixedKey => &["fixedKey"],
            Credential::AuthKey => &["authKey"],
            Credential::AuthKeyOrFixedKey => &["authKey", "fixedKey"],
            Credential::ApiKey => &["apiKey"],
        };
        assert_eq!(schemes, expected, "{}", route.template);
    }
}

/// Asserts that the document has this status for the operation, and that the body matches the schema there.
fn assert_valid(document: &Value, method: &str, template: &str, reply: &TestResponse) {
    let what = format!("{method} {template}: {}", reply.status);
    let responses = &operations(document)[&(method.to_owned(), template.to_owned())]["responses"];
    let status = reply.status.as_u16();
    let mut response = responses.get(status.to_string()).or_else(|| responses.get(format!("{}XX", status / 100)));
    if let Some(target) = response.and_then(|response| response["$ref"].as_str()) {
        response = document.pointer(target.trim_start_matches('#'));
    }
    let response = response.unwrap_or_else(|| panic!("{what} is not documented"));
    let Some(schema) = response.pointer("/content/application~1json/schema") else {
        assert!(reply.body.is_empty(), "{what} has a body");
        return;
    };
    let mut schema = schema.clone();
    if schema.get("components").is_none() {
        schema["components"] = document["components"].clone();
    }
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let faults: Vec<_> = validator.iter_errors(&reply.json()).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{what}: {faults:#?}\n{}", reply.json());
}

/// A valid target for the template, and a body if the operation takes one.
fn request(route: &Route, request_id: &str) -> (String, Option<Value>) {
    let target = route
        .template
        .replace("{customerId}", "customer")
        .replace("{loginId}", LOGIN_1)
        .replace("{requestId}", request_id)
        .replace("{routingNumber}", "000000018")
        .replace("{accountId}", "11");
    let body = json!({ "LoginId": LOGIN_1, "MostRecentCached": true, "RequestId": request_id, "amount": 100.0 });
    let body = match route.template.rsplit('/').next() {
        Some("Authorize") => json!({ "LoginId": LOGIN_1, "MostRecentCached": true }),
        _ => body,
    };
    (target, (route.method == Method::POST).then_some(body))
}

#[tokio::test]
async fn every_operation_answers_as_documented_for_several_seeds() {
    let document = document();
    for seed in [1, 2, 3] {
        let flinks = FlinksTest::start_with(Options { seed, ..Options::default() }).await;
        assert_valid(&document, "POST", TOKEN_PATH, &flinks.request_token(|_| {}).await);
        for route in &ROUTES {
            let request_id = flinks.authorize(LOGIN_1, true).await;
            let (target, body) = request(route, &request_id);
            let method = route.method.as_str();
            let mut reply = flinks.call(route.method.clone(), &target, body.as_ref()).await;
            assert_valid(&document, method, route.template, &reply);
            if reply.status == 202 {
                reply = flinks.call(route.method.clone(), &target, body.as_ref()).await;
                assert_valid(&document, method, route.template, &reply);
            }
            assert_eq!(reply.status, 200, "{target}");
        }
    }
}

#[tokio::test]
async fn every_operation_refuses_a_missing_or_wrong_credential_in_its_own_format() {
    let document = document();
    let flinks = FlinksTest::start().await;
    for route in &ROUTES {
        let (target, body) = request(route, "any");
        let (name, _) = flinks.header(route.credential);
        let foreign = match route.credential {
            Credential::AccessToken => flinks.header(Credential::FixedKey),
            Credential::ApiKey => flinks.header(Credential::AuthKey),
            _ => flinks.header(Credential::AccessToken),
        };
        for header in [None, Some((name, "Bearer wrong".to_owned())), Some(foreign)] {
            let reply = flinks.send(route.method.clone(), &target, header, body.as_ref()).await;
            assert_eq!(reply.status, 401, "{target}");
            assert_valid(&document, route.method.as_str(), route.template, &reply);
        }
    }
}

#[tokio::test]
async fn errors_and_the_security_challenge_are_as_documented() {
    let document = document();
    let flinks = FlinksTest::start().await;
    let service = |operation: &str| format!("/v3/{{customerId}}/BankingServices/{operation}");
    let login = |body: Value| (service("Authorize"), Method::POST, service("Authorize"), Some(body));
    let get = |template: String, target: &str| (template, Method::GET, target.to_owned(), None);
    let browser = "response_type=code&client_id=c&redirect_uri=https%3A%2F%2Fa.example&scope=s&state=s&provider_id=9000\
                   &correlation_id=1";
    for (status, (template, method, target, body)) in [
        (203, login(json!({ "LoginId": LOGIN_2, "MostRecentCached": false }))),
        (400, login(json!({}))),
        (400, get(service("GetMFAQuestions/{loginId}"), "/v3/c/BankingServices/GetMFAQuestions/x")),
        (
            404,
            get(
                service("Institutions/RoutingNumber/{routingNumber}"),
                "/v3/c/BankingServices/Institutions/RoutingNumber/1",
            ),
        ),
        (
            400,
            (
                "/v2/pay/sessions/initiate".to_owned(),
                Method::POST,
                "/v2/pay/sessions/initiate".to_owned(),
                Some(json!({})),
            ),
        ),
        (400, get("/api/fdx/5/accounts".to_owned(), "/api/fdx/5/accounts?offset=x")),
        (
            404,
            get(
                "/api/fdx/5/accounts/{accountId}/payment-networks".to_owned(),
                "/api/fdx/5/accounts/x/payment-networks",
            ),
        ),
        (400, get(AUTHORIZE_PATH.to_owned(), AUTHORIZE_PATH)),
        (302, get(AUTHORIZE_PATH.to_owned(), &format!("{AUTHORIZE_PATH}?{browser}"))),
    ] {
        let method_name = method.to_string();
        let reply = flinks.call(method, &target.replace("{customerId}", "c"), body.as_ref()).await;
        assert_eq!(reply.status, status, "{target}");
        assert_valid(&document, &method_name, &template, &reply);
    }
}

#[tokio::test]
async fn an_unknown_path_gets_404_and_a_sealed_body_415_in_the_format_of_the_path() {
    let flinks = FlinksTest::start().await;
    let sealed = flinks.sandbox.seal(br#"{"amount":1}"#).await;
    let (name, value) = flinks.header(Credential::ApiKey);
    let pay = flinks.sandbox.http.post(flinks.sandbox.handle.url() + "/v2/pay/sessions/initiate").header(name, value);
    let reply = crate::sandbox::testing::send(pay.header("content-type", "application/jose").body(sealed)).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["HttpStatusCode"]), (415, &json!(415)));
    for (target, member, value) in [
        ("/v3/customer/BankingServices/MadeUp", "HttpStatusCode", json!(404)),
        ("/v3//BankingServices/GetNightlyRefreshStatus", "HttpStatusCode", json!(404)),
        ("/v2/pay/made-up", "FlinksCode", json!("NOT_FOUND")),
        ("/api/v1/made-up", "message", json!("Not Found")),
        ("/api/fdx/5/made-up", "code", json!(1107)),
    ] {
        let reply = flinks.get(target).await;
        assert_eq!((reply.status.as_u16(), &reply.json()[member]), (404, &value), "{target}");
    }
    let wrong_method = flinks.post("/api/v1/providers", &json!({})).await;
    assert_eq!(wrong_method.status, 404);
    let received = flinks.sandbox.handle.received();
    assert_eq!(received[0].status, 415);
    assert_eq!(received.last().unwrap().plaintext, "{}");
}
