//! Replies of the provider that can mean that it no longer has the key.

use std::time::Duration;

use jwe_gateway::app::{KeyCheck, Record};
use jwe_gateway::sandbox::{Fault, KeySetFault, Rotation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access_log::Records;
use crate::harness::{PATIENCE, TestGateway, eventually};
use crate::upstream_faults::ScriptedApi;

const LIST: &str = "/v0/bank/credentials/list";
const NAMES_A_FIELD: &str = r#"{"success":false,"error":{"code":"VALIDATION_ERROR","details":[{"field":"query","error_type":"RequiredField"}]}}"#;

/// A whole 400 with this body, on a connection that is closed.
fn refusal(headers: &str, body: &[u8]) -> &'static [u8] {
    let mut reply = format!("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n{headers}\r\n\r\n").into_bytes();
    reply.extend_from_slice(body);
    reply.leak()
}

fn with_length(body: &[u8]) -> &'static [u8] {
    refusal(&format!("Content-Type: application/json\r\nContent-Length: {}", body.len()), body)
}

/// A gateway whose API requests go to `api`, and its records. Keys and tokens come from the sandbox.
async fn in_front_of(api: &ScriptedApi) -> (TestGateway, Records) {
    let (records, url) = (Records::default(), api.url().parse().unwrap());
    let gateway = records.spawn_with(|config| config.upstreams[0].upstream.url = url).await;
    gateway.ready().await;
    (gateway, records)
}

/// Asserts that a request with a JSON body gets this 400, byte for byte. Returns the record of the request.
async fn assert_refused_with(body: &[u8], gateway: &TestGateway, records: &Records) -> Record {
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 400);
    assert_eq!(reply.bytes().await.unwrap(), body);
    records.next().await
}

#[tokio::test]
async fn a_reply_that_names_a_field_is_relayed_without_waiting_for_the_key_set() {
    let api = ScriptedApi::start(with_length(NAMES_A_FIELD.as_bytes()), true).await;
    let (gateway, records) = in_front_of(&api).await;
    // A fetch of the key set would take longer than the test waits.
    gateway.sandbox.arm(Fault::KeySet(KeySetFault::SlowDrip { pause_ms: 60_000 }));
    let fetches = gateway.sandbox.jwks_fetches();
    let refused = assert_refused_with(NAMES_A_FIELD.as_bytes(), &gateway, &records);
    let record = tokio::time::timeout(PATIENCE, refused).await.expect("the reply waits for nothing");
    assert_eq!((record.key_check, record.attempts), (Some(KeyCheck::Relayed), 1));
    eventually("a background fetch", async || gateway.sandbox.jwks_fetches() > fetches).await;
}

#[tokio::test]
async fn another_reply_is_relayed_after_the_key_set_has_confirmed_the_key() {
    let body = br#"{"error":"The request could not be processed"}"#;
    let api = ScriptedApi::start(with_length(body), true).await;
    let (gateway, records) = in_front_of(&api).await;
    let fetches = gateway.sandbox.jwks_fetches();
    let record = assert_refused_with(body, &gateway, &records).await;
    assert_eq!((record.key_check, record.attempts), (Some(KeyCheck::Unchanged), 1));
    assert!(record.key_check_time.is_some());
    assert_eq!(gateway.sandbox.jwks_fetches(), fetches + 1);
    let (_, metrics) = gateway.admin("/metrics").await;
    let count = r#"jwe_gateway_key_checks_total{upstream="sandbox",outcome="unchanged"} 1"#;
    assert!(metrics.contains(count), "{metrics}");
}

#[tokio::test]
async fn another_reply_is_relayed_if_no_key_set_can_be_fetched() {
    let api = ScriptedApi::start(with_length(b"{}"), true).await;
    let (gateway, records) = in_front_of(&api).await;
    gateway.sandbox.arm(Fault::KeySet(KeySetFault::ServerError));
    assert_eq!(assert_refused_with(b"{}", &gateway, &records).await.key_check, Some(KeyCheck::Failed));
}

#[tokio::test]
async fn a_message_whose_key_is_gone_is_sealed_again_and_the_record_says_so() {
    let records = Records::default();
    let gateway = records.spawn_with(|_| {}).await;
    gateway.ready().await;
    let outdated = gateway.seal("{}");
    gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    gateway.assert_still_serves().await;
    let record = records.next().await;
    assert_eq!((record.key_check, record.resealed, record.attempts), (Some(KeyCheck::Resealed), true, 2));

    // The gateway cannot seal a caller's message again.
    let request = gateway.request("POST", LIST).header("content-type", "application/jose").body(outdated);
    let reply = request.send().await.unwrap();
    assert_eq!(reply.status(), 400);
    assert!(reply.headers().contains_key("jwe-gateway-key"));
    drop(reply);
    assert_eq!(records.next().await.key_check, Some(KeyCheck::Withdrawn));
}

#[tokio::test]
async fn a_request_without_a_sealed_body_has_no_key_check() {
    let api = ScriptedApi::start(with_length(b"{}"), true).await;
    let (gateway, records) = in_front_of(&api).await;
    let fetches = gateway.sandbox.jwks_fetches();
    assert_eq!(gateway.request("GET", LIST).send().await.unwrap().status(), 400);
    assert_eq!(records.next().await.key_check, None);
    assert_eq!(gateway.sandbox.jwks_fetches(), fetches);
}

#[tokio::test]
async fn the_next_request_uses_the_new_key_if_a_reply_wrongly_seemed_to_have_another_cause() {
    let api = ScriptedApi::start(with_length(NAMES_A_FIELD.as_bytes()), true).await;
    let (gateway, records) = in_front_of(&api).await;
    let before = assert_refused_with(NAMES_A_FIELD.as_bytes(), &gateway, &records).await;
    gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    let gone = assert_refused_with(NAMES_A_FIELD.as_bytes(), &gateway, &records).await;
    assert_eq!(gone.kid, before.kid);
    eventually("a request with the new key", async || {
        assert_refused_with(NAMES_A_FIELD.as_bytes(), &gateway, &records).await.kid != before.kid
    })
    .await;
}

#[tokio::test]
async fn a_refusal_of_any_length_framing_and_coding_is_relayed_byte_for_byte() {
    let truncated = &NAMES_A_FIELD.as_bytes()[..NAMES_A_FIELD.len() - 3];
    // The bytes of a gzip stream: the gateway does not decode it.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let large = vec![b'x'; 10 << 20];
    let chunked = format!("{:x}\r\n{NAMES_A_FIELD}\r\n0\r\n\r\n", NAMES_A_FIELD.len());
    let in_two_chunks = format!("1\r\n{{\r\n{:x}\r\n{}\r\n0\r\n\r\n", NAMES_A_FIELD.len() - 1, &NAMES_A_FIELD[1..]);
    let gzip_headers = format!("Content-Encoding: gzip\r\nContent-Length: {}", gzip.len());
    let chunked_headers = "Transfer-Encoding: chunked";
    for (reply, body, outcome) in [
        (with_length(truncated), truncated, KeyCheck::Unchanged),
        (with_length(b""), b"", KeyCheck::Unchanged),
        (with_length(&large), &large, KeyCheck::Unchanged),
        (refusal("X-No: length", &large), &large, KeyCheck::Unchanged),
        (refusal(&gzip_headers, gzip), gzip, KeyCheck::Unchanged),
        (refusal(chunked_headers, chunked.as_bytes()), NAMES_A_FIELD.as_bytes(), KeyCheck::Relayed),
        (refusal(chunked_headers, in_two_chunks.as_bytes()), NAMES_A_FIELD.as_bytes(), KeyCheck::Relayed),
    ] {
        let api = ScriptedApi::start(reply, true).await;
        let (gateway, records) = in_front_of(&api).await;
        assert_eq!(assert_refused_with(body, &gateway, &records).await.key_check, Some(outcome));
    }
}

#[tokio::test]
async fn a_refusal_that_never_ends_is_streamed_after_the_key_check() {
    let api = ScriptedApi::start(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 1000000\r\n\r\nbeginning", false).await;
    let (gateway, _records) = in_front_of(&api).await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let request =
        format!("POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
    caller.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nbeginning") {
        let read = tokio::time::timeout(Duration::from_secs(20), caller.read_buf(&mut answer)).await;
        assert_ne!(read.expect("the gateway relays what there is").unwrap(), 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_reply_is_relayed_at_once_if_it_has_the_configured_members() {
    use jwe_gateway::config::{MemberPattern, OrdinaryRefusal, ValuePattern};
    let body = br#"{"reason":{"kind":"limit"}}"#;
    let api = ScriptedApi::start(with_length(body), true).await;
    let (records, url) = (Records::default(), api.url().parse().unwrap());
    let gateway = records
        .spawn_with(|config| {
            let upstream = &mut config.upstreams[0];
            upstream.upstream.url = url;
            let value = ValuePattern::Text("limit".to_owned());
            upstream.ordinary_refusals =
                vec![OrdinaryRefusal(vec![MemberPattern { pointer: "/reason/kind".to_owned(), value }])];
        })
        .await;
    assert_eq!(assert_refused_with(body, &gateway, &records).await.key_check, Some(KeyCheck::Relayed));
}
