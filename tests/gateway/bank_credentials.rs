//! The life of bank credentials and link codes, through the gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use jwe_gateway::app::Connector;
use jwe_gateway::sandbox::{ApiFault, Fault, ForcedFlow};
use serde_json::{Value, json};

use crate::harness::TestGateway;

const STATUS: &str = "/v0/bank/credentials/status";
const CREDENTIALS: &str = "/v0/bank/credentials";
const LIST: &str = "/v0/bank/credentials/list";
const LINK: &str = "/v0/platform/link";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The documented error for a token that does not exist.
const UNKNOWN: &str = "You are not allowed to access to this credentials";

async fn ok(gateway: &TestGateway, method: &str, target: &str, body: &Value) -> Value {
    let (status, document) = gateway.call(method, target, body).await;
    assert_eq!(status, 200, "{target}: {document}");
    document
}

async fn get(gateway: &TestGateway, target: &str) -> Value {
    let reply = gateway.request("GET", target).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
}

fn named(token: &str) -> Value {
    json!({ "credentials_token": token })
}

async fn status(gateway: &TestGateway, token: &str) -> Value {
    ok(gateway, "POST", STATUS, &named(token)).await
}

async fn force(gateway: &TestGateway, token: &str, flow: &str) -> Value {
    ok(gateway, "PUT", STATUS, &json!({ "credentials_token": token, "force": flow })).await
}

/// A path under `/v0/bank/credentials/` that returns a list.
async fn data(gateway: &TestGateway, path: &str, body: &Value) -> Vec<Value> {
    let document = ok(gateway, "POST", &format!("{CREDENTIALS}/{path}"), body).await;
    document.as_array().unwrap_or_else(|| panic!("{path}: {document}")).clone()
}

#[tokio::test]
async fn a_forced_sca_shows_its_token_and_stops_updates_until_it_is_completed() {
    let (gateway, control) = TestGateway::spawn_with_clock().await;
    let token = "sandbox-credentials-1";
    let updated = async || status(&gateway, token).await["last_update_timestamp"].as_i64().unwrap();
    let start = updated().await;
    control.advance(DAY);
    assert_eq!(updated().await, start + 86_400);

    let forced = force(&gateway, token, "sca").await;
    assert!(forced["sca_token"].is_string() && forced.as_object().unwrap().len() == 1);
    control.advance(2 * DAY);
    let waiting = status(&gateway, token).await;
    assert_eq!(waiting["sca_token"], forced["sca_token"]);
    assert_eq!(waiting["last_update_timestamp"], start + 86_400);

    gateway.sandbox.complete_flow(token, ForcedFlow::Sca).unwrap();
    let done = status(&gateway, token).await;
    assert_eq!(done["sca_token"], json!(null));
    assert_eq!(done["last_update_timestamp"], start + 3 * 86_400);
    control.advance(DAY);
    assert_eq!(updated().await, start + 4 * 86_400);
}

#[tokio::test]
async fn a_completed_reset_unblocks_credentials_and_keeps_their_token() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let token = "sandbox-credentials-5";
    let blocked = status(&gateway, token).await;
    assert!(blocked["blocked"] == true && blocked["reset_token"].is_string(), "{blocked}");
    gateway.sandbox.complete_flow(token, ForcedFlow::Reset).unwrap();
    let open = status(&gateway, token).await;
    assert_eq!((&open["blocked"], &open["reset_token"]), (&json!(false), &json!(null)));
    assert!(gateway.sandbox.complete_flow(token, ForcedFlow::Reset).is_err(), "it has ended");
}

#[tokio::test]
async fn pending_credentials_have_no_data_until_the_extraction_has_ended() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let token = "sandbox-credentials-4";
    let pending = status(&gateway, token).await;
    assert_eq!((&pending["pending"], &pending["created"]["product"]["account"]), (&json!(true), &json!(false)));
    assert_eq!(data(&gateway, "account", &named(token)).await, [json!(null); 0]);
    gateway.sandbox.set_credentials(token, &json!({ "pending": false })).unwrap();
    let ended = status(&gateway, token).await;
    assert_eq!((&ended["pending"], &ended["created"]["product"]["account"]), (&json!(false), &json!(true)));
    assert!(!data(&gateway, "account", &named(token)).await.is_empty());
}

#[tokio::test]
async fn a_product_whose_extraction_failed_is_empty_and_flagged() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let token = "sandbox-credentials-1";
    assert!(!data(&gateway, "card", &named(token)).await.is_empty());
    let change = json!({ "errored": { "product": { "card": true } } });
    gateway.sandbox.set_credentials(token, &change).unwrap();
    let errored = status(&gateway, token).await;
    assert_eq!(
        (&errored["created"]["product"]["card"], &errored["errored"]["product"]["card"]),
        (&json!(true), &json!(true))
    );
    assert!(data(&gateway, "card", &named(token)).await.is_empty());
    assert!(!data(&gateway, "account", &named(token)).await.is_empty());
}

#[tokio::test]
async fn a_link_code_is_exchanged_once_for_credentials_with_its_extra_parameters() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let extra = BTreeMap::from([("alias".to_owned(), "customer-42".to_owned()), ("ref".to_owned(), "7".to_owned())]);
    let code = gateway.sandbox.add_link_code("my-link", extra).unwrap();
    let pending = get(&gateway, &format!("{LINK}?link_token=my-link")).await;
    let expected = json!({ "code": code, "extra": { "alias": "customer-42", "ref": "7" }, "link_token": "my-link" });
    assert_eq!(pending, json!([expected]));
    assert_eq!(get(&gateway, LINK).await.as_array().unwrap().len(), 3, "with the two of the seed");

    let exchanged = ok(&gateway, "POST", LINK, &json!({ "code": code })).await;
    assert_eq!(exchanged["message"], "Successfully retrieved");
    assert_eq!((&exchanged["extra"], &exchanged["link_token"]), (&expected["extra"], &expected["link_token"]));
    let listed = ok(&gateway, "POST", LIST, &json!({})).await;
    let items = listed["items"].as_array().unwrap();
    let added = items.iter().find(|one| one["credentials_token"] == exchanged["credentials_token"]).unwrap();
    assert_eq!(added["external_id"], "customer-42");

    let (refused, _) = gateway.call("POST", LINK, &json!({ "code": code })).await;
    assert_eq!(refused, 400, "one use");
    assert_eq!(get(&gateway, &format!("{LINK}?link_token=my-link")).await, json!([]));
}

#[tokio::test]
async fn a_completed_transaction_flow_shows_account_transactions_older_than_90_days() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let exchanged = ok(&gateway, "POST", LINK, &json!({ "code": "sandbox-link-code-1" })).await;
    let token = exchanged["credentials_token"].as_str().unwrap();
    let transactions = async || data(&gateway, "data", &named(token)).await.len();
    let short = transactions().await;
    let forced = force(&gateway, token, "transaction").await;
    assert_eq!(status(&gateway, token).await["transaction_token"], forced["transaction_token"]);
    assert_eq!(transactions().await, short, "not before the flow is completed");
    gateway.sandbox.complete_flow(token, ForcedFlow::Transaction).unwrap();
    assert!(transactions().await > short);
    assert_eq!(status(&gateway, token).await["transaction_token"], json!(null));
}

#[tokio::test]
async fn deleted_credentials_are_gone_everywhere() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let token = "sandbox-credentials-1";
    let deleted = ok(&gateway, "DELETE", CREDENTIALS, &named(token)).await;
    assert_eq!(deleted, json!({ "message": "Successfully deleted" }));
    let refused = (400, json!({ "error": UNKNOWN }));
    for path in [
        "status",
        "account",
        "data",
        "portfolio",
        "investment",
        "investment/transaction",
        "investment/detail",
        "liability",
        "liability/transaction",
        "card",
        "card/transaction",
        "auth",
        "holder",
        "mifid/raw",
        "all",
    ] {
        let target = format!("{CREDENTIALS}/{path}");
        assert_eq!(gateway.call("POST", &target, &named(token)).await, refused, "{path}");
    }
    let both = json!({ "credentials_token": [token, "sandbox-credentials-2"] });
    assert_eq!(gateway.call("POST", "/v0/bank/credentials/all", &both).await, refused);
    let forced = json!({ "credentials_token": token, "force": "sca" });
    assert_eq!(gateway.call("PUT", STATUS, &forced).await, refused);
    assert_eq!(gateway.call("DELETE", CREDENTIALS, &named(token)).await, refused);
    let listed = ok(&gateway, "POST", LIST, &json!({})).await;
    assert!(listed["items"].as_array().unwrap().iter().all(|one| one["credentials_token"] != token));
    assert!(gateway.sandbox.set_credentials(token, &json!({})).is_err());
}

#[tokio::test]
async fn a_client_that_forgets_to_seal_is_told_so_and_the_gateway_is_not() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    ok(&gateway, "POST", STATUS, &named("sandbox-credentials-1")).await;
    let token = gateway.last().headers["authorization"].clone();
    let client = Connector::new(None).unwrap().control_client().unwrap();
    let plain = client.post(gateway.sandbox.url() + STATUS).header("authorization", token);
    let plain = plain.header("content-type", "application/json").body(named("sandbox-credentials-1").to_string());
    let reply = plain.send().await.unwrap();
    assert_eq!(reply.status(), 415);
    let refusal: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
    let told = refusal["error"].as_str().unwrap();
    assert!(told.contains("not sealed") && told.contains("application/jose"), "{told}");
    let recorded = gateway.sandbox.received().pop().unwrap();
    assert!(recorded.status == 415 && recorded.opened.is_none() && !recorded.plaintext.is_empty());
}

#[tokio::test]
async fn refusals_on_demand_are_relayed_in_the_format_of_the_older_api() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    for (fault, status, text) in [
        (ApiFault::Forbidden, 403, "You are not authorized to perform this action"),
        (ApiFault::TooManyRequests { retry_after: 30 }, 429, "Too Many Requests"),
        (ApiFault::ServerError, 500, "Internal Error"),
    ] {
        gateway.sandbox.arm_times(Fault::Api(fault), 1);
        let delete = gateway.call("DELETE", CREDENTIALS, &named("sandbox-credentials-1")).await;
        assert_eq!(delete, (status, json!({ "error": text })));
        self::status(&gateway, "sandbox-credentials-1").await;
    }
}

#[tokio::test]
async fn a_wrong_or_missing_field_of_the_older_api_is_named() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    for (method, target, body, text) in [
        ("POST", STATUS, json!({}), "credentials_token is required"),
        ("POST", STATUS, json!({ "credentials_token": 7 }), "credentials_token must be a string"),
        ("DELETE", CREDENTIALS, json!({}), "credentials_token is required"),
        ("PUT", STATUS, named("sandbox-credentials-1"), "force must be sca, reset or transaction"),
        ("POST", LINK, json!({}), "code is required"),
        ("POST", LINK, json!({ "code": "made-up" }), "The code is unknown or was used before"),
        ("POST", STATUS, named("made-up"), UNKNOWN),
    ] {
        assert_eq!(gateway.call(method, target, &body).await, (400, json!({ "error": text })));
    }
}
