//! Responses that no provider should send. Each is a failure, and the cached set stays in use.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use super::super::fixtures::{TestProvider, document, jwk, keys, last_error, publishes, refresh, until};
use super::super::set::MAX_BYTES;
use super::super::{Config, EntryState, FetchErrorKind, Source};

fn body(content: impl Into<Vec<u8>>, media_type: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(content, media_type)
}

/// Fetches this response while a good set is cached. After a failure, the set must still be in use.
async fn outcome_of(response: ResponseTemplate) -> Result<(), FetchErrorKind> {
    let provider = TestProvider::start([publishes(&[1], 300), response]).await;
    let (keys, _control) = provider.keys();
    keys.refresh().await.unwrap();
    let outcome = refresh(&keys).await;
    assert_eq!(last_error(&keys), outcome.clone().err());
    if outcome.is_err() {
        assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
        assert_eq!(keys.counters().fetches.all_failures(), 1);
    }
    outcome
}

#[tokio::test]
async fn a_status_other_than_200_is_a_failure() {
    for status in [201, 204, 206, 400, 401, 404, 429, 500, 503] {
        let response = ResponseTemplate::new(status).set_body_raw(document(&[jwk("2", 2)]), "application/json");
        let failure = match status {
            429 | 503 => FetchErrorKind::Busy { status, retry_after: None },
            _ => FetchErrorKind::Status(status),
        };
        assert_eq!(outcome_of(response).await, Err(failure));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = TestProvider::start([publishes(&[2], 300)]).await;
    for status in [301, 302, 303, 307, 308] {
        let response = ResponseTemplate::new(status).insert_header("location", other.url().as_str());
        assert_eq!(outcome_of(response).await, Err(FetchErrorKind::Redirect(status)));
    }
    assert_eq!(other.fetches().await, 0);
}

#[tokio::test]
async fn a_304_to_an_unconditional_request_is_a_failure() {
    assert_eq!(outcome_of(ResponseTemplate::new(304)).await, Err(FetchErrorKind::NotModifiedUnasked));
}

#[tokio::test]
async fn the_content_is_checked_and_the_content_type_is_not() {
    assert_eq!(outcome_of(body(document(&[jwk("2", 2)]), "text/plain")).await, Ok(()));
    for content in ["<html>canary</html>", "", "{\"keys\":[{\"kty\":\"RSA\""] {
        let error = outcome_of(body(content, "application/json")).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::NotJson { .. }), "{content}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    assert_eq!(outcome_of(body("[]", "application/json")).await, Err(FetchErrorKind::NotAKeySet));
}

#[tokio::test]
async fn a_set_without_a_usable_key_replaces_nothing() {
    let mut signing = jwk("2", 2);
    signing["use"] = "sig".into();
    let error = outcome_of(body(document(&[signing, "null".into()]), "application/json")).await.unwrap_err();
    assert!(matches!(error, FetchErrorKind::NothingUsable { entries: 2, first: Some(_) }), "{error}");
}

#[tokio::test]
async fn two_hundred_keys_or_two_mebibytes_are_too_much() {
    let keys: Vec<_> = (0..200).map(|seed| jwk(&seed.to_string(), seed)).collect();
    assert_eq!(
        outcome_of(body(document(&keys), "application/json")).await,
        Err(FetchErrorKind::TooManyKeys { entries: 200 })
    );
    let mut long = document(&[jwk("2", 2)]);
    long.resize(2 * MAX_BYTES, b' ');
    assert_eq!(outcome_of(body(long, "application/json")).await, Err(FetchErrorKind::TooLarge));
}

#[tokio::test]
async fn malformed_entries_beside_a_good_key_do_no_harm() {
    let ec = serde_json::json!({ "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "kid": "ec" });
    let malformed = document(&[serde_json::Value::Null, ec, 7.into(), jwk("2", 2)]);
    let provider = TestProvider::start([body(malformed, "application/json")]).await;
    let (keys, _control) = provider.keys();
    assert_eq!(keys.current().await.unwrap().kid(), Some("2"));
    let entries = keys.snapshot().entries;
    assert_eq!(entries.len(), 4);
    assert!(entries[..3].iter().all(|entry| matches!(entry.state, EntryState::Unusable(_)) && !entry.chosen));
    assert_eq!(entries[1].kid.as_deref(), Some("ec"));
    assert!(entries[3].chosen && entries[3].state == EntryState::Usable && entries[3].bits == Some(2048));
}

/// A server that sends these bytes and then keeps the connection open.
async fn raw_server(response: Vec<u8>) -> Config {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks?token=canary", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let response = response.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = connection.read(&mut head).await;
                let _ = connection.write_all(&response).await;
                std::future::pending::<()>().await;
            });
        }
    });
    Config::new(Source::Url(url.parse().unwrap()))
}

#[tokio::test]
async fn a_body_without_a_length_is_read_up_to_the_limit() {
    let mut response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..=16 {
        response.extend_from_slice(b"10000\r\n");
        response.resize(response.len() + 0x10000, b' ');
        response.extend_from_slice(b"\r\n");
    }
    let (keys, _control) = keys(raw_server(response).await);
    assert_eq!(refresh(&keys).await, Err(FetchErrorKind::TooLarge));
}

#[tokio::test]
async fn a_response_that_does_not_end_is_abandoned_after_the_timeout() {
    let config = raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()).await;
    let (keys, control) = keys(config);
    let fetch = tokio::spawn({
        let keys = keys.clone();
        async move { refresh(&keys).await }
    });
    until(async || {
        control.advance(Duration::from_secs(1));
        fetch.is_finished()
    })
    .await;
    assert_eq!(fetch.await.unwrap(), Err(FetchErrorKind::Timeout(Duration::from_secs(5))));
}

#[tokio::test]
async fn a_connection_error_names_the_location_without_user_and_query() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://user:canary@{address}/jwks?token=canary").parse().unwrap();
    let (keys, _control) = keys(Config::new(Source::Url(url)));
    let error = keys.refresh().await.unwrap_err();
    assert!(matches!(error.kind, FetchErrorKind::Transport(_)));
    assert!(error.to_string().starts_with(&format!("http://{address}/jwks: ")), "{error}");
    let text = format!("{error} {error:?} {:?}", keys.snapshot());
    assert!(text.to_lowercase().contains("connect") && !text.contains("canary"), "{text}");
    let malformed = raw_server(b"nonsense canary\r\n\r\n".to_vec()).await;
    let error = super::super::fixtures::keys(malformed).0.refresh().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}
