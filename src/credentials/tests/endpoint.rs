//! Token requests, and responses that a token endpoint should not send.

use super::*;
use crate::credentials::{Format, NoToken, TokenError};
use tokio::net::TcpListener;

#[tokio::test]
async fn the_request_is_written_as_configured() {
    for (format, media_type) in [
        (Format::Json, "application/json"),
        (Format::Form, "application/x-www-form-urlencoded"),
        (Format::Basic, "application/x-www-form-urlencoded"),
    ] {
        let endpoint = Endpoint::start([EndpointResponse::Grants(1000)]).await;
        let mut config = endpoint.config();
        config.format = format;
        config.extra = vec![("scope".into(), "read".into())];
        let (credentials, _control) = credentials(Config::ClientCredentials(config));
        assert_eq!(usable(&credentials).await, "Bearer token-1");
        let request = endpoint.requests().await.pop().unwrap();
        assert_eq!(request.headers["content-type"], media_type);
        assert_eq!(request.headers.contains_key("authorization"), format == Format::Basic);
        let body = String::from_utf8(request.body).unwrap();
        assert_eq!(body.contains("canary-secret"), format != Format::Basic, "{body}");
        assert!(body.contains("client_credentials") && body.contains("scope") && body.contains("read"), "{body}");
    }
}

/// The error of a renewal with this response. The next, good response must succeed.
async fn outcome_of(response: ResponseTemplate) -> RenewalErrorKind {
    let endpoint = Endpoint::start([EndpointResponse::Is(response), EndpointResponse::Grants(1000)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    let error = last_error(&credentials).unwrap();
    control.advance(SECOND);
    assert_eq!(usable(&credentials).await, "Bearer token-1");
    error
}

#[tokio::test]
async fn a_200_without_a_usable_token_is_retried_and_its_token_never_used() {
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    assert_eq!(outcome_of(ResponseTemplate::new(200)).await, RenewalErrorKind::NoToken(NoToken::NotAnObject));
    let html = ResponseTemplate::new(200).set_body_string("<html>");
    assert_eq!(outcome_of(html).await, RenewalErrorKind::NoToken(NoToken::NotAnObject));
    assert_eq!(outcome_of(json(json!({}))).await, RenewalErrorKind::NoToken(NoToken::Missing));
    let error = json(json!({ "error": "invalid_client" }));
    assert_eq!(outcome_of(error).await, RenewalErrorKind::NoToken(NoToken::ErrorMember));
    let newline = json(json!({ "access_token": "canary\nx: y" }));
    assert_eq!(outcome_of(newline).await, RenewalErrorKind::NoToken(NoToken::NotB64Token));
    let mac = json(json!({ "access_token": "t", "token_type": "mac" }));
    assert_eq!(outcome_of(mac).await, RenewalErrorKind::NoToken(NoToken::UnknownType));
    let long = ResponseTemplate::new(200).set_body_bytes(vec![b' '; 65 * 1024]);
    assert_eq!(outcome_of(long).await, RenewalErrorKind::TooLarge);
}

#[tokio::test]
async fn a_status_that_does_not_concern_the_credentials_is_retried() {
    for status in [201, 204, 404, 405, 500, 502, 504] {
        assert_eq!(outcome_of(ResponseTemplate::new(status)).await, RenewalErrorKind::Status(status));
    }
    let busy = outcome_of(ResponseTemplate::new(429)).await;
    assert_eq!(busy, RenewalErrorKind::Busy { status: 429, retry_after: None });
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Endpoint::start([EndpointResponse::Grants(1000)]).await;
    for status in [301, 302, 303, 307, 308] {
        let response = ResponseTemplate::new(status).insert_header("location", other.config().url.as_str());
        assert_eq!(outcome_of(response).await, RenewalErrorKind::Redirect(status));
    }
    assert_eq!(other.posts().await, 0);
}

#[tokio::test]
async fn a_token_request_without_a_response_fails_after_the_timeout() {
    let endpoint = Endpoint::start([EndpointResponse::Slowly(60 * SECOND)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    until(async || endpoint.posts().await == 1).await;
    control.advance(5 * SECOND);
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    assert_eq!(last_error(&credentials), Some(RenewalErrorKind::Timeout(5 * SECOND)));
}

#[tokio::test]
async fn no_debug_output_contains_a_secret_a_token_or_a_response() {
    let response = json!({ "access_token": "canary-token" });
    let good = EndpointResponse::Is(ResponseTemplate::new(200).set_body_json(response));
    let endpoint = Endpoint::start([status(500), status(401), good]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    let mut printed = format!("{:?} {:?}", endpoint.config(), credentials);
    until(async || {
        printed += &format!("{:?}", credentials.snapshot());
        control.advance(SECOND);
        credentials.snapshot().usable.is_ok()
    })
    .await;
    let credential = credentials.current().await.unwrap();
    assert_eq!(authorization(&credential), "Bearer canary-token");
    printed += &format!("{credential:?} {:?} {:?}", credentials.snapshot(), credentials.state());
    assert!(!printed.contains("canary"), "{printed}");
}

#[tokio::test]
async fn a_connection_error_names_the_endpoint_without_user_and_query() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://user:canary@{address}/token?key=canary").parse().unwrap();
    let secret = SecretSource::Value(Secret::new("canary".into()));
    let mut config = ClientCredentials::new(url, "id".into(), secret);
    config.wait = Duration::ZERO;
    let (credentials, _control) = credentials(Config::ClientCredentials(config));
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    assert!(matches!(credentials.current().await, Err(TokenError::Unavailable { .. })));
    let error = credentials.snapshot().last_error.unwrap();
    assert!(error.to_string().starts_with(&format!("http://{address}/token: ")), "{error}");
    let text = format!("{error} {error:?} {credentials:?}");
    assert!(text.to_lowercase().contains("connect") && !text.contains("canary"), "{text}");
}
