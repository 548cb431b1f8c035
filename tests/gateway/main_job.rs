//! The main job: plain JSON comes in, a sealed request goes out.

use std::collections::HashSet;

use jwe_gateway::sandbox::Rotation;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::TestGateway;

#[tokio::test]
async fn a_body_is_sealed_byte_for_byte_with_every_method() {
    let gateway = TestGateway::spawn().await;
    // White space, forms of numbers and duplicate names stay as the caller wrote them.
    let body =
        "{ \"credentials_token\" : \"sandbox-credentials-1\",\n \"n\": 1.10, \"n\": 1e400, \"\u{00fc}\": \"\\u00fc\" }";
    for (method, path) in [
        ("POST", "/v0/bank/credentials/status"),
        ("PUT", "/v0/bank/credentials/status"),
        ("PATCH", "/v0/nothing-here"),
        ("DELETE", "/v0/bank/credentials"),
    ] {
        gateway.json(method, path, body).send().await.unwrap();
        let received = gateway.last();
        assert_eq!((received.method.as_str(), received.target.as_str()), (method, path));
        assert_eq!(received.plaintext, body);
        assert_eq!(received.headers["content-type"], "application/jose");
        assert!(received.opened.is_some(), "{method} was sealed");
        assert_eq!(received.headers["content-length"], received.wire.len().to_string().as_str());
    }
}

#[tokio::test]
async fn the_protected_header_is_exactly_the_documented_one() {
    let gateway = TestGateway::spawn().await;
    gateway.json("POST", "/v0/bank/credentials/list", "{}").send().await.unwrap();
    let opened = gateway.last().opened.unwrap();
    let kid = opened.kid.unwrap();
    assert_eq!(opened.header, format!(r#"{{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","typ":"JWE","kid":"{kid}"}}"#));
}

#[tokio::test]
async fn the_providers_reply_is_relayed_unchanged_and_marked_as_the_providers() {
    let gateway = TestGateway::spawn().await;
    let reply = gateway.json("POST", "/v0/bank/credentials/status", r#"{"credentials_token":"nobody"}"#);
    let reply = reply.send().await.unwrap();
    assert_eq!(reply.status(), 400);
    assert_eq!(reply.headers()["proxy-status"], "jwe-gateway; received-status=400");
    assert_eq!(reply.headers()["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
    assert!(body["error"].is_string(), "the provider's own format: {body}");
}

#[tokio::test]
async fn a_query_is_forwarded_byte_for_byte_and_a_get_has_no_body() {
    let gateway = TestGateway::spawn().await;
    let target = "/v0/platform/link?link_token=a%2Fb+c&x=%zz&y=//..";
    let reply = gateway.request("GET", target).header("content-type", "application/json").send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let received = gateway.last();
    assert_eq!(received.target, target);
    assert!(received.wire.is_empty());
    assert_eq!(received.headers["content-type"], "application/json", "the provider documents one even here");
}

#[tokio::test]
async fn a_post_without_body_and_content_type_is_forwarded_unchanged() {
    let gateway = TestGateway::spawn().await;
    let reply = gateway.request("POST", "/v0/bank/credentials/list").send().await.unwrap();
    assert_ne!(reply.headers()["proxy-status"].to_str().unwrap().find("received-status"), None);
    assert!(gateway.last().wire.is_empty());
}

#[tokio::test]
async fn a_head_request_has_a_response_without_a_body() {
    let gateway = TestGateway::spawn().await;
    let answer = gateway.raw("HEAD /v0/bank/available HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (404, ""), "the provider documents no HEAD");
    assert_eq!(answer.headers["proxy-status"], "jwe-gateway; received-status=404");
}

#[tokio::test]
async fn a_letter_of_20_mib_is_forwarded_with_and_without_a_length() {
    let gateway = TestGateway::spawn().await;
    let letter = letter(20 * 1024 * 1024);
    for chunked in [false, true] {
        let body = if chunked { in_chunks(&letter) } else { letter.clone().into() };
        let reply = gateway.json("POST", "/letters/v1/create-signed", body).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        assert!(gateway.last().plaintext == letter, "the letter did not arrive byte for byte");
    }
}

#[tokio::test]
async fn a_letter_can_be_created_found_and_discontinued() {
    let gateway = TestGateway::spawn().await;
    let created = call(&gateway, "/letters/v1/create-signed", serde_json::from_str(&letter(100)).unwrap()).await;
    let id = created["letter_id"].as_str().unwrap();
    let found = call(&gateway, "/letters/v1/search-letters", json!({"query": {"id_in": [id]}})).await;
    assert_eq!(found["items"][0]["status"], "Signed");
    call(&gateway, "/letters/v1/discontinue-letter", json!({"letter_id": id})).await;
    let found = call(&gateway, "/letters/v1/search-letters", json!({"query": {"id_in": [id]}})).await;
    assert_eq!(found["items"][0]["status"], "Cancelled");
}

#[tokio::test]
async fn a_message_that_the_caller_sealed_is_forwarded_unchanged() {
    let gateway = TestGateway::spawn().await;
    let message = gateway.seal(r#"{"query":{}}"#);
    let request = gateway.request("POST", "/letters/v1/search-letters").header("content-type", "application/jose");
    let reply = request.body(message.clone()).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let received = gateway.last();
    assert_eq!(received.wire, message);
    assert_eq!(received.plaintext, r#"{"query":{}}"#);
}

#[tokio::test]
async fn a_hundred_first_requests_cause_one_key_fetch_and_one_token_request() {
    let gateway = std::sync::Arc::new(TestGateway::spawn().await);
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let gateway = std::sync::Arc::clone(&gateway);
        requests.spawn(async move {
            let body = format!(r#"{{"number":{number}}}"#);
            gateway.json("POST", "/v0/bank/credentials/list", body).send().await.unwrap().status().as_u16()
        });
    }
    assert!(requests.join_all().await.iter().all(|status| *status == 200));
    assert_eq!((gateway.sandbox.jwks_fetches(), gateway.sandbox.token_requests()), (1, 1));
    let bodies: HashSet<_> = gateway.received().into_iter().map(|call| call.plaintext).collect();
    assert_eq!(bodies.len(), 100, "each body arrived once");
}

#[tokio::test]
async fn no_two_messages_share_key_material_even_for_the_same_body() {
    let gateway = TestGateway::spawn().await;
    let mut parts = HashSet::new();
    for _ in 0..10 {
        gateway.json("POST", "/v0/bank/credentials/list", "{}").send().await.unwrap();
        let wire = String::from_utf8(gateway.last().wire.to_vec()).unwrap();
        for part in wire.split('.').skip(1) {
            assert!(parts.insert(part.to_owned()), "a part of a message occurs twice");
        }
    }
}

#[tokio::test]
async fn a_withdrawn_key_is_replaced_and_the_request_is_resent_once() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    let fresh = gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    let reply = gateway.json("POST", "/v0/bank/credentials/list", r#"{"after":"the cut"}"#).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let received = gateway.last();
    assert_eq!(received.opened.unwrap().kid.as_deref(), Some(fresh.as_str()));
    assert_eq!(received.plaintext, r#"{"after":"the cut"}"#);
}

#[tokio::test]
async fn the_refusal_of_a_callers_message_with_a_withdrawn_key_is_relayed_with_the_current_kids() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    let message = gateway.seal("{}");
    let fresh = gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    let request = gateway.request("POST", "/v0/bank/credentials/list").header("content-type", "application/jose");
    let reply = request.body(message).send().await.unwrap();
    assert_eq!(reply.status(), 400);
    assert_eq!(reply.headers()["jwe-gateway-key"], format!("reason=unknown, current=(\"{fresh}\")").as_str());
    assert_eq!(gateway.received().len(), 2, "it was sent once");
}

#[tokio::test]
async fn the_refusal_of_a_callers_message_for_another_reason_has_no_key_hint() {
    let gateway = TestGateway::spawn().await;
    let message = gateway.seal(r#"{"credentials_token":"nobody"}"#);
    let request = gateway.request("POST", "/v0/bank/credentials/status").header("content-type", "application/jose");
    let reply = request.body(message).send().await.unwrap();
    assert_eq!(reply.status(), 400);
    assert!(!reply.headers().contains_key("jwe-gateway-key"));
}

#[tokio::test]
async fn a_400_is_relayed_and_not_resent_while_the_key_is_still_published() {
    let gateway = TestGateway::spawn().await;
    let reply = gateway.json("POST", "/v0/bank/credentials/status", r#"{"credentials_token":"nobody"}"#);
    assert_eq!(reply.send().await.unwrap().status(), 400);
    assert_eq!(gateway.received().len(), 1);
}

#[tokio::test]
async fn a_revoked_token_is_renewed_and_the_request_is_resent_once() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    gateway.sandbox.revoke_tokens();
    gateway.assert_still_serves().await;
    assert_eq!(gateway.sandbox.token_requests(), 2);
}

#[tokio::test]
async fn the_callers_request_id_and_trace_are_forwarded_and_the_id_is_returned() {
    let gateway = TestGateway::spawn().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = gateway.json("POST", "/v0/bank/credentials/list", "{}").header("x-request-id", "svc-1");
    let reply = request.header("traceparent", trace).header("x-test-header", "passes").send().await.unwrap();
    assert_eq!(reply.headers()["x-request-id"], "svc-1");
    let received = gateway.last();
    assert_eq!(received.headers["x-request-id"], "svc-1");
    let sent = received.headers["traceparent"].to_str().unwrap();
    assert!(
        sent.starts_with(&trace[..36]) && sent.ends_with("-01") && sent != trace,
        "a new span of the same trace: {sent}"
    );
    assert_eq!(received.headers["x-test-header"], "passes");
    assert!(received.headers["via"].to_str().unwrap().starts_with("1.1 jwe-gateway-"));
}

async fn call(gateway: &TestGateway, path: &str, body: Value) -> Value {
    let reply = gateway.json("POST", path, body.to_string()).send().await.unwrap();
    assert_eq!(reply.status(), 200, "{path}");
    serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
}

/// A letter with about `length` bytes of JSON.
fn letter(length: usize) -> String {
    // "JVBERi0x" is "%PDF-1" in Base64; any further groups of four keep it well-formed.
    let data = format!("JVBERi0x{}", "QUJD".repeat(length / 4));
    json!({ "connector_id": "sandbox-custodian", "data": data }).to_string()
}

/// Without a length: the client sends it chunked.
fn in_chunks(body: &str) -> reqwest::Body {
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}
