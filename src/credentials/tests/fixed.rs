//! Fixed credentials, and none.

use super::*;
use crate::credentials::TokenError;
use crate::static_credential::{BadCredential, StaticCredential};

fn fixed(header: &'static str, prefix: &str, secret: SecretSource) -> Config {
    let header = http::HeaderName::from_static(header);
    Config::Static(StaticCredential { header, prefix: prefix.into(), secret })
}

async fn applied(tokens: &Credentials) -> HeaderMap {
    let mut headers = HeaderMap::new();
    tokens.current().await.unwrap().apply(&mut headers);
    headers
}

#[tokio::test]
async fn a_fixed_credential_is_put_on_with_its_header_and_prefix() {
    for (header, prefix, value) in
        [("authorization", "Bearer ", "Bearer key"), ("x-api-key", "", "key"), ("flinks-auth-key", "", "key")]
    {
        let secret = SecretSource::Value(Secret::new("key".into()));
        let (tokens, _hands) = tokens(fixed(header, prefix, secret));
        let headers = applied(&tokens).await;
        assert_eq!((headers.len(), &headers[header]), (1, &value.parse().unwrap()));
        assert!(headers[header].is_sensitive());
        assert!(tokens.endpoint().is_none());
        assert_eq!(tokens.snapshot().life_left, None);
    }
}

#[tokio::test]
async fn the_file_of_a_fixed_credential_is_read_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one\n").unwrap();
    let (tokens, control) = tokens(fixed("x-api-key", "", SecretSource::File(file.path().to_owned())));
    tokio::spawn(tokens.clone().run_refresh());
    assert_eq!(applied(&tokens).await["x-api-key"], "one");
    std::fs::write(file.path(), "two\n").unwrap();
    control.advance(10 * SECOND);
    until(async || applied(&tokens).await["x-api-key"] == "two").await;
    // One that cannot be read does not take away what is in hand.
    std::fs::write(file.path(), "\n").unwrap();
    control.advance(10 * SECOND);
    until(async || tokens.snapshot().renewals_failed == 1).await;
    assert_eq!(applied(&tokens).await["x-api-key"], "two");
}

#[tokio::test]
async fn a_refused_fixed_credential_is_sent_again_only_if_its_file_has_changed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one").unwrap();
    let (tokens, control) = tokens(fixed("x-api-key", "", SecretSource::File(file.path().to_owned())));
    let one = tokens.current().await.unwrap();
    assert!(tokens.replacement_for(&one).await.is_none());
    std::fs::write(file.path(), "two").unwrap();
    control.advance(10 * SECOND);
    assert!(tokens.replacement_for(&one).await.is_some());
    assert_eq!(applied(&tokens).await["x-api-key"], "two");
}

#[tokio::test]
async fn a_fixed_credential_that_cannot_be_read_or_sent_is_none() {
    let (tokens, _hands) = tokens(fixed("x-api-key", "", SecretSource::File("/nowhere/key".into())));
    tokio::spawn(tokens.clone().run_refresh());
    until(async || tokens.snapshot().renewals_failed == 1).await;
    assert!(matches!(tokens.snapshot().usable, Err(TokenError::Unavailable { .. })));
    let newline = SecretSource::Value(Secret::new("a\nb".into()));
    let (tokens, _hands) = super::tokens(fixed("x-api-key", "", newline));
    tokio::spawn(tokens.clone().run_refresh());
    until(async || tokens.snapshot().renewals_failed == 1).await;
    assert_eq!(last_error(&tokens), Some(RenewalErrorKind::Credential(BadCredential::NotHeaderText)));
}

#[tokio::test]
async fn without_credentials_nothing_is_put_on_a_request() {
    let (tokens, _hands) = tokens(Config::None);
    assert!(applied(&tokens).await.is_empty());
    let none = tokens.current().await.unwrap();
    assert!(tokens.replacement_for(&none).await.is_none());
    assert_eq!(tokens.snapshot().usable, Ok(()));
    assert!(tokens.endpoint().is_none());
}
