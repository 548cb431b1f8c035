//! Reading the file of the secret at an operator's request.

use std::fs;
use std::path::Path;

use super::*;
use crate::static_credential::StaticCredential;
use crate::testing::HungFile;

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

/// Credentials from this endpoint with the client secret in `path`.
fn with_secret_in(endpoint: &Endpoint, path: &Path) -> (Credentials, ClockControl) {
    let config = ClientCredentials { client_secret: SecretSource::File(path.to_owned()), ..endpoint.config() };
    credentials(Config::ClientCredentials(config))
}

#[tokio::test]
async fn a_client_secret_of_two_lines_is_reported_as_such() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600)]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "one").unwrap();
    let (credentials, _control) = with_secret_in(&endpoint, file.path());
    assert_eq!(usable(&credentials).await, "Bearer token-1");
    fs::write(file.path(), "one\ntwo\n").unwrap();
    let error = credentials.reread().await.unwrap().unwrap_err().to_string();
    assert!(error.ends_with("it has more than one line; a secret is one line"), "{error}");
    assert_eq!((usable(&credentials).await.as_str(), endpoint.posts().await), ("Bearer token-1", 1));
}

#[tokio::test]
async fn a_client_secret_that_failed_before_is_tried_again() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600), status(401)]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "one").unwrap();
    let (credentials, _control) = with_secret_in(&endpoint, file.path());
    assert_eq!(usable(&credentials).await, "Bearer token-1");
    fs::write(file.path(), "two").unwrap();
    let refused = RenewalErrorKind::Refused { status: 401 };
    for posts in [2, 3] {
        let error = credentials.reread().await.unwrap().unwrap_err();
        assert_eq!((error.kind, endpoint.posts().await), (refused.clone(), posts));
    }
    // The provider now knows the new secret.
    endpoint.now_responds(EndpointResponse::Grants(3600));
    assert_eq!(credentials.reread().await, Some(Ok(true)));
    assert_eq!(usable(&credentials).await, "Bearer token-2");
    assert_eq!((credentials.reread().await, endpoint.posts().await), (Some(Ok(false)), 4));
}

#[tokio::test]
async fn a_read_that_began_before_the_static_credential_changed_is_not_its_result() {
    let file = HungFile::new();
    let secret = SecretSource::File(file.path().to_owned());
    let config = StaticCredential { header: http::header::AUTHORIZATION, prefix: "Bearer ".into(), secret };
    let (credentials, _control) = credentials(Config::Static(config));
    let scheduled = tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.state().next_start() == 2).await;
    file.replace("new");
    let (reread, ()) = tokio::join!(credentials.reread(), async { file.release() });
    assert!(matches!(reread, Some(Ok(_))), "{reread:?}");
    assert_eq!(usable(&credentials).await, "Bearer new");
    scheduled.abort();
}

#[tokio::test]
async fn a_secret_without_a_file_is_not_read_again() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600)]).await;
    let (given_by_value, _control) = endpoint.credentials();
    assert_eq!((given_by_value.reread().await, endpoint.posts().await), (None, 0));
    let (none, _control) = credentials(Config::None);
    assert_eq!(none.reread().await, None);
}
