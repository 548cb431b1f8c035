//! Static credentials, and no credentials.

use super::*;
use crate::credentials::TokenError;
use crate::static_credential::{BadCredential, StaticCredential};

fn static_config(header: &'static str, prefix: &str, secret: SecretSource) -> Config {
    let header = http::HeaderName::from_static(header);
    Config::Static(StaticCredential { header, prefix: prefix.into(), secret })
}

async fn applied(credentials: &Credentials) -> HeaderMap {
    let mut headers = HeaderMap::new();
    credentials.current().await.unwrap().apply(&mut headers);
    headers
}

#[tokio::test]
async fn a_static_credential_is_added_with_its_header_and_prefix() {
    for (header, prefix, value) in
        [("authorization", "Bearer ", "Bearer key"), ("x-api-key", "", "key"), ("flinks-auth-key", "", "key")]
    {
        let secret = SecretSource::Value(Secret::new("key".into()));
        let (credentials, _control) = credentials(static_config(header, prefix, secret));
        let headers = applied(&credentials).await;
        assert_eq!((headers.len(), &headers[header]), (1, &value.parse().unwrap()));
        assert!(headers[header].is_sensitive());
        assert!(credentials.endpoint().is_none());
        assert_eq!(credentials.snapshot().lifetime_left, None);
    }
}

#[tokio::test]
async fn the_file_of_a_static_credential_is_read_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one\n").unwrap();
    let (credentials, control) =
        credentials(static_config("x-api-key", "", SecretSource::File(file.path().to_owned())));
    tokio::spawn(credentials.clone().run_refresh());
    assert_eq!(applied(&credentials).await["x-api-key"], "one");
    std::fs::write(file.path(), "two\n").unwrap();
    control.advance(10 * SECOND);
    until(async || applied(&credentials).await["x-api-key"] == "two").await;
    // After a failed read, the cached credential stays in use.
    std::fs::write(file.path(), "\n").unwrap();
    control.advance(10 * SECOND);
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    assert_eq!(applied(&credentials).await["x-api-key"], "two");
}

#[tokio::test]
async fn a_request_with_a_refused_static_credential_is_resent_only_if_its_file_has_changed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one").unwrap();
    let (credentials, control) =
        credentials(static_config("x-api-key", "", SecretSource::File(file.path().to_owned())));
    let one = credentials.current().await.unwrap();
    assert!(credentials.replacement_for(&one, Refuser::Provider).await.unwrap().is_none());
    let unknown = credentials.replacement_for(&one, Refuser::Egress).await.map(drop);
    assert_eq!(unknown, Err(TokenError::UnknownToEgress));
    std::fs::write(file.path(), "two").unwrap();
    control.advance(10 * SECOND);
    assert!(credentials.replacement_for(&one, Refuser::Provider).await.unwrap().is_some());
    assert_eq!(applied(&credentials).await["x-api-key"], "two");
}

#[tokio::test]
async fn a_refusal_by_an_egress_is_an_error_for_every_kind_of_credential() {
    let secret = SecretSource::Value(Secret::new("key".into()));
    let (fixed, _fixed_control) = credentials(static_config("x-api-key", "", secret));
    let endpoint = Endpoint::start([EndpointResponse::Grants(1000)]).await;
    let (tokens, _tokens_control) = endpoint.credentials();
    let (none, _none_control) = credentials(Config::None);
    for credentials in [fixed, tokens, none] {
        let refused = credentials.current().await.unwrap();
        assert_eq!(credentials.check_relay_of_401(&refused, Refuser::Egress), Err(TokenError::UnknownToEgress));
        assert_eq!(credentials.check_relay_of_401(&refused, Refuser::Provider), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_serves_every_request_that_was_refused_with_the_former_static_credential() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one").unwrap();
    let (credentials, _control) =
        credentials(static_config("x-api-key", "", SecretSource::File(file.path().to_owned())));
    let one = credentials.current().await.unwrap();
    one.note_accepted();
    std::fs::write(file.path(), "two").unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (credentials, one) = (credentials.clone(), one.clone());
        requests.spawn(async move {
            credentials.replacement_for(&one, Refuser::Provider).await.map(|newer| newer.is_some())
        });
    }
    assert!(requests.join_all().await.into_iter().all(|newer| newer == Ok(true)));
    assert_eq!(applied(&credentials).await["x-api-key"], "two");
}

#[tokio::test]
async fn a_static_credential_that_cannot_be_read_or_sent_is_not_used() {
    let (credentials, _control) =
        credentials(static_config("x-api-key", "", SecretSource::File("/nowhere/key".into())));
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    assert!(matches!(credentials.snapshot().usable, Err(TokenError::Unavailable { .. })));
    let newline = SecretSource::Value(Secret::new("a\nb".into()));
    let (credentials, _control) = super::credentials(static_config("x-api-key", "", newline));
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    assert_eq!(last_error(&credentials), Some(RenewalErrorKind::Credential(BadCredential::NotHeaderText)));
}

#[tokio::test]
async fn without_credentials_the_headers_stay_as_they_are() {
    let (credentials, _control) = credentials(Config::None);
    assert!(applied(&credentials).await.is_empty());
    let none = credentials.current().await.unwrap();
    assert!(credentials.replacement_for(&none, Refuser::Provider).await.unwrap().is_none());
    assert_eq!(credentials.snapshot().usable, Ok(()));
    assert!(credentials.endpoint().is_none());
}
