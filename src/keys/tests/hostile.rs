//! Answers that no provider should give. Each is a failure, and the set in hand stays.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use super::super::fixtures::{Route, document, jwk, keys, last_error, publishes, refresh, until};
use super::super::set::MAX_BYTES;
use super::super::{Config, EntryState, FetchErrorKind, Source};

fn body(content: impl Into<Vec<u8>>, media_type: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(content, media_type)
}

/// What comes of this answer when a good set is in hand. It must stay there.
async fn outcome_of(answer: ResponseTemplate) -> Result<(), FetchErrorKind> {
    let provider = Route::start([publishes(&[1], 300), answer]).await;
    let (keys, _hands) = provider.keys();
    keys.refresh().await.unwrap();
    let outcome = refresh(&keys).await;
    assert_eq!(last_error(&keys), outcome.clone().err());
    if outcome.is_err() {
        assert_eq!(keys.current().await.unwrap().kid(), Some("1"));
        assert_eq!(keys.snapshot().fetches_failed, 1);
    }
    outcome
}

#[tokio::test]
async fn a_status_other_than_200_is_a_failure() {
    for status in [201, 204, 206, 400, 401, 404, 429, 500, 503] {
        let answer = ResponseTemplate::new(status).set_body_raw(document(&[jwk("2", 2)]), "application/json");
        assert_eq!(outcome_of(answer).await, Err(FetchErrorKind::Status(status)));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Route::start([publishes(&[2], 300)]).await;
    for status in [301, 302, 303, 307, 308] {
        let answer = ResponseTemplate::new(status).insert_header("location", elsewhere.url().as_str());
        assert_eq!(outcome_of(answer).await, Err(FetchErrorKind::Redirect(status)));
    }
    assert_eq!(elsewhere.fetches().await, 0);
}

#[tokio::test]
async fn a_304_to_an_unconditional_request_is_a_failure() {
    assert_eq!(outcome_of(ResponseTemplate::new(304)).await, Err(FetchErrorKind::NotModifiedUnasked));
}

#[tokio::test]
async fn content_decides_and_not_its_declared_type() {
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
async fn two_hundred_keys_and_two_mebibytes_are_too_many() {
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
async fn junk_beside_a_good_key_costs_nothing() {
    let ec = serde_json::json!({ "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "kid": "ec" });
    let junk = document(&[serde_json::Value::Null, ec, 7.into(), jwk("2", 2)]);
    let provider = Route::start([body(junk, "application/json")]).await;
    let (keys, _hands) = provider.keys();
    assert_eq!(keys.current().await.unwrap().kid(), Some("2"));
    let entries = keys.snapshot().entries;
    assert_eq!(entries.len(), 4);
    assert!(entries[..3].iter().all(|entry| matches!(entry.state, EntryState::Unusable(_)) && !entry.chosen));
    assert_eq!(entries[1].kid.as_deref(), Some("ec"));
    assert!(entries[3].chosen && entries[3].state == EntryState::Usable && entries[3].bits == Some(2048));
}

/// A server that answers with these bytes and then keeps the connection open.
async fn raw_server(answer: Vec<u8>) -> Config {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks?token=canary", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = connection.read(&mut head).await;
                let _ = connection.write_all(&answer).await;
                std::future::pending::<()>().await;
            });
        }
    });
    Config::new(Source::Url(url.parse().unwrap()))
}

#[tokio::test]
async fn a_body_without_a_length_is_read_no_further_than_allowed() {
    let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..=16 {
        answer.extend_from_slice(b"10000\r\n");
        answer.resize(answer.len() + 0x10000, b' ');
        answer.extend_from_slice(b"\r\n");
    }
    let (keys, _hands) = keys(raw_server(answer).await);
    assert_eq!(refresh(&keys).await, Err(FetchErrorKind::TooLarge));
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up_when_its_time_is_over() {
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
    let (keys, _hands) = keys(Config::new(Source::Url(url)));
    let error = keys.refresh().await.unwrap_err();
    assert!(matches!(error.kind, FetchErrorKind::Transport(_)));
    assert!(error.to_string().starts_with(&format!("http://{address}/jwks: ")), "{error}");
    let text = format!("{error} {error:?} {:?}", keys.snapshot());
    assert!(text.to_lowercase().contains("connect") && !text.contains("canary"), "{text}");
    let nonsense = raw_server(b"nonsense canary\r\n\r\n".to_vec()).await;
    let error = super::super::fixtures::keys(nonsense).0.refresh().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}
