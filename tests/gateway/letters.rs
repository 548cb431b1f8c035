//! The life of an authorization letter, through the gateway.

use std::time::Duration;

use jwe_gateway::sandbox::{ApiFault, LetterStatus};
use serde_json::{Value, json};

use crate::harness::TestGateway;

const CREATE: &str = "/letters/v1/create-signed";
const SEARCH: &str = "/letters/v1/search-letters";
const DISCONTINUE: &str = "/letters/v1/discontinue-letter";
const STATUS: &str = "/v0/bank/credentials/status";

/// The sandbox takes one step of a letter in this time.
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn post(gateway: &TestGateway, target: &str, body: Value) -> (u16, Value) {
    gateway.call("POST", target, &body).await
}

async fn ok(gateway: &TestGateway, target: &str, body: Value) -> Value {
    let (status, document) = post(gateway, target, body).await;
    assert_eq!(status, 200, "{document}");
    document
}

fn signed() -> Value {
    // "%PDF-1.7"
    json!({
        "connector_id": "sandbox-connector-1",
        "data": "JVBERi0xLjcK",
        "labels": { "end_user_id": "USR-1", "team": "north" },
    })
}

async fn create(gateway: &TestGateway) -> String {
    ok(gateway, CREATE, signed()).await["letter_id"].as_str().unwrap().to_owned()
}

async fn letter(gateway: &TestGateway, id: &str) -> Value {
    let mut page = ok(gateway, SEARCH, json!({ "query": { "id_in": [id] } })).await;
    assert_eq!(page["total"], 1);
    page["items"][0].take()
}

async fn find(gateway: &TestGateway, status: LetterStatus) -> String {
    let page = ok(gateway, SEARCH, json!({ "query": { "status_in": [status] } })).await;
    page["items"][0]["id"].as_str().unwrap().to_owned()
}

/// The code of an error, and its details as pairs of field and error type.
fn validation_error((status, document): (u16, Value)) -> Vec<(String, String)> {
    assert_eq!((status, &document["error"]["code"]), (400, &json!("VALIDATION_ERROR")), "{document}");
    assert!(document["success"] == false && document["trace_id"].as_str().unwrap().len() == 32);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let details = document["error"]["details"].as_array().unwrap();
    details.iter().map(|one| (text(&one["field"]), text(&one["error_type"]))).collect()
}

#[tokio::test]
async fn a_letter_lives_from_create_signed_to_revoked_and_its_data_comes_and_goes() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let id = create(&gateway).await;
    for status in ["Signed", "SentToCustodian", "AcceptedByCustodian", "ConnectionSetup", "WaitingForData"] {
        let letter = letter(&gateway, &id).await;
        assert_eq!((&letter["status"], &letter["connection_id"]), (&json!(status), &json!(null)));
        gateway.sandbox.advance_letter(&id).unwrap();
    }
    let connected = letter(&gateway, &id).await;
    assert_eq!(connected["status"], "Connected");
    assert_eq!(connected["labels"], json!({ "end_user_id": "USR-1", "team": "north" }));
    let named = json!({ "credentials_token": connected["connection_id"] });
    assert_eq!(ok(&gateway, STATUS, named.clone()).await["pending"], false);
    assert!(ok(&gateway, "/v0/bank/credentials/account", named.clone()).await.is_array());

    assert_eq!(ok(&gateway, DISCONTINUE, json!({ "letter_id": id })).await, json!({ "success": true }));
    let discontinued = letter(&gateway, &id).await;
    assert_eq!((&discontinued["status"], &discontinued["connection_id"]), (&json!("Discontinued"), &json!(null)));
    for path in [STATUS, "/v0/bank/credentials/account"] {
        assert_eq!(post(&gateway, path, named.clone()).await.0, 400);
    }
    gateway.sandbox.advance_letter(&id).unwrap();
    assert_eq!(letter(&gateway, &id).await["status"], "Revoked");
    let again = post(&gateway, DISCONTINUE, json!({ "letter_id": id })).await;
    assert_eq!(validation_error(again), [("letter_id".to_owned(), "InvalidStatus".to_owned())]);
}

#[tokio::test]
async fn a_letter_that_was_never_connected_is_cancelled() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let unconnected = LetterStatus::ALL.into_iter().take_while(|status| *status != LetterStatus::Connected);
    for status in unconnected {
        let id = find(&gateway, status).await;
        ok(&gateway, DISCONTINUE, json!({ "letter_id": id })).await;
        assert_eq!(letter(&gateway, &id).await["status"], "Cancelled", "{status:?}");
        assert_eq!(post(&gateway, DISCONTINUE, json!({ "letter_id": id })).await.0, 400);
    }
}

#[tokio::test]
async fn each_of_the_13_statuses_is_reached_by_turning_the_clock_and_discontinuing() {
    let (gateway, control) = TestGateway::spawn_with_clock().await;
    let requested = find(&gateway, LetterStatus::NewRequest).await;
    let mut reached = Vec::new();
    let mut observe = async |id: &str| {
        let status = letter(&gateway, id).await["status"].as_str().unwrap().to_owned();
        if reached.last() != Some(&status) {
            reached.push(status);
        }
    };
    for _ in 0..10 {
        observe(&requested).await;
        control.advance(DAY);
    }
    ok(&gateway, DISCONTINUE, json!({ "letter_id": requested })).await;
    observe(&requested).await;
    control.advance(DAY);
    observe(&requested).await;
    let created = create(&gateway).await;
    ok(&gateway, DISCONTINUE, json!({ "letter_id": created })).await;
    observe(&created).await;

    let name = |status: &LetterStatus| json!(status).as_str().unwrap().to_owned();
    let (ways, ends) = LetterStatus::ALL.split_at(10);
    assert_eq!(reached[..10], ways.iter().map(name).collect::<Vec<_>>());
    assert_eq!(reached[10..], ["Discontinued", "Revoked", "Cancelled"]);
    assert_eq!(ends.len(), 3, "there are no others");
}

#[tokio::test]
async fn a_search_combines_every_filter_with_and_and_returns_pages() {
    let (gateway, control) = TestGateway::spawn_with_clock().await;
    let first = create(&gateway).await;
    let created = letter(&gateway, &first).await["created_at"].as_str().unwrap().to_owned();
    control.advance(DAY / 2);
    let second = create(&gateway).await;
    gateway.sandbox.set_letter(&first, LetterStatus::Connected, Some("early")).unwrap();
    let updated = letter(&gateway, &first).await;
    assert_eq!(updated["observations"], "early");
    let filters = json!({
        "connector_id_in": ["sandbox-connector-1", "another"],
        "status_in": ["Connected", "Signed"],
        "id_in": [first],
        "labels": { "team": "north" },
        "creation_date": { "start": created, "end": created },
        "last_update": { "start": updated["updated_at"] },
    });
    let search = async |query: Value| ok(&gateway, SEARCH, json!({ "query": query })).await;
    assert_eq!(search(filters.clone()).await["items"][0]["id"], first);
    for (filter, other) in [
        ("connector_id_in", json!(["another"])),
        ("status_in", json!(["Signed"])),
        ("id_in", json!([second])),
        ("labels", json!({ "team": "south" })),
        ("creation_date", json!({ "end": "2020-01-15" })),
        ("last_update", json!({ "end": created })),
    ] {
        let mut filters = filters.clone();
        filters[filter] = other;
        assert_eq!(search(filters).await["total"], 0, "{filter}");
    }
    let page = |number: u64| json!({ "query": {}, "page": number, "page_size": 4 });
    let all = search(json!({})).await;
    assert_eq!((&all["page"], &all["page_size"], &all["pages"]), (&json!(1), &json!(20), &json!(1)));
    let mut ids = Vec::new();
    for number in 1..=4 {
        let page = ok(&gateway, SEARCH, page(number)).await;
        assert_eq!((&page["pages"], &page["total"]), (&json!(4), &json!(15)));
        ids.extend(page["items"].as_array().unwrap().iter().map(|letter| letter["id"].clone()));
    }
    let all: Vec<_> = all["items"].as_array().unwrap().iter().map(|letter| letter["id"].clone()).collect();
    assert_eq!(ids, all);
}

#[tokio::test]
async fn a_wrong_or_missing_field_is_reported_by_name_and_an_unknown_letter_is_not_found() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(field, kind)| ((*field).to_owned(), (*kind).to_owned())).collect()
    };
    let missing = post(&gateway, CREATE, json!({})).await;
    let expected = pairs(&[("connector_id", "RequiredField"), ("data", "RequiredField")]);
    assert_eq!(validation_error(missing), expected);
    let wrong = post(&gateway, CREATE, json!({ "connector_id": 7, "data": "bm8gcGRm", "labels": [] })).await;
    let fields = ["connector_id", "data", "labels"].map(|field| (field, "InvalidValue"));
    assert_eq!(validation_error(wrong), pairs(&fields));
    let missing = post(&gateway, SEARCH, json!({})).await;
    assert_eq!(validation_error(missing), pairs(&[("query", "RequiredField")]));
    let wrong = json!({ "query": { "status_in": ["Lost"] }, "page": 0, "page_size": 101 });
    let fields = ["status_in", "page", "page_size"].map(|field| (field, "InvalidValue"));
    assert_eq!(validation_error(post(&gateway, SEARCH, wrong).await), pairs(&fields));
    let missing = post(&gateway, DISCONTINUE, json!({})).await;
    assert_eq!(validation_error(missing), pairs(&[("letter_id", "RequiredField")]));

    let unknown = json!({ "letter_id": "550e8400-e29b-41d4-a716-446655440000" });
    let (status, document) = post(&gateway, DISCONTINUE, unknown).await;
    assert_eq!(status, 404);
    assert_eq!(document["error"], json!({ "code": "NOT_FOUND", "message": "LetterNotFound" }));
}

#[tokio::test]
async fn refusals_on_demand_are_relayed_in_the_format_of_the_letters() {
    let (gateway, _control) = TestGateway::spawn_with_clock().await;
    for (fault, status, code) in [
        (ApiFault::Forbidden, 403, "UNAUTHORIZED"),
        (ApiFault::TooManyRequests { retry_after: 30 }, 429, "TOO_MANY_REQUESTS"),
        (ApiFault::ServerError, 500, "INTERNAL_ERROR"),
    ] {
        gateway.sandbox.arm_at(SEARCH, fault, Some(1)).unwrap();
        create(&gateway).await;
        let reply = gateway.json("POST", SEARCH, r#"{"query":{}}"#).send().await.unwrap();
        assert_eq!(reply.status(), status);
        let retry_after = reply.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(retry_after.as_deref(), (status == 429).then_some("30"));
        let document: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        assert_eq!(document["error"]["code"], code);
        ok(&gateway, SEARCH, json!({ "query": {} })).await;
    }
}
