//! Reading the file of the secret at an operator's request.

use std::fs;

use super::*;
use crate::static_credential::StaticCredential;

#[tokio::test]
async fn a_changed_client_secret_is_used_at_once_and_an_unchanged_one_causes_no_request() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600)]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "one").unwrap();
    let config = ClientCredentials { client_secret: SecretSource::File(file.path().to_owned()), ..endpoint.config() };
    let (credentials, _control) = credentials(Config::ClientCredentials(config));
    assert_eq!(usable(&credentials).await, "Bearer token-1");
    assert_eq!((credentials.reread().await, endpoint.posts().await), (Some(Ok(false)), 1));
    fs::write(file.path(), "two").unwrap();
    assert_eq!((credentials.reread().await, endpoint.posts().await), (Some(Ok(true)), 2));
    assert!(String::from_utf8_lossy(&endpoint.requests().await[1].body).contains("two"));
    assert_eq!(usable(&credentials).await, "Bearer token-2");

    // The former token stays in use.
    fs::write(file.path(), "wrong").unwrap();
    endpoint.now_responds(status(401));
    let error = credentials.reread().await.unwrap().unwrap_err();
    assert_eq!(error.kind, RenewalErrorKind::Refused { status: 401 });
    fs::write(file.path(), "").unwrap();
    assert!(matches!(credentials.reread().await, Some(Err(_))));
    assert_eq!(usable(&credentials).await, "Bearer token-2");

    // The schedule would wait for half a minute or more.
    fs::write(file.path(), "three").unwrap();
    endpoint.now_responds(EndpointResponse::Grants(3600));
    assert_eq!(credentials.reread().await, Some(Ok(true)));
    assert_eq!(usable(&credentials).await, "Bearer token-3");
}

#[tokio::test]
async fn a_changed_static_credential_is_used_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "one").unwrap();
    let secret = SecretSource::File(file.path().to_owned());
    let config = StaticCredential { header: http::header::AUTHORIZATION, prefix: "Bearer ".into(), secret };
    let (credentials, _control) = credentials(Config::Static(config));
    assert_eq!(usable(&credentials).await, "Bearer one");
    assert_eq!(credentials.reread().await, Some(Ok(false)));
    fs::write(file.path(), "two").unwrap();
    assert_eq!(credentials.reread().await, Some(Ok(true)));
    assert_eq!(usable(&credentials).await, "Bearer two");
    fs::remove_file(file.path()).unwrap();
    assert!(matches!(credentials.reread().await, Some(Err(_))));
    assert_eq!(usable(&credentials).await, "Bearer two");
}

#[tokio::test]
async fn a_secret_without_a_file_is_not_read_again() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600)]).await;
    let (given_by_value, _control) = endpoint.credentials();
    assert_eq!((given_by_value.reread().await, endpoint.posts().await), (None, 0));
    let (none, _control) = credentials(Config::None);
    assert_eq!(none.reread().await, None);
}
