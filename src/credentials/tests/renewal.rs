//! Scheduled renewals, their failures, and the credentials that are used meanwhile.

use super::*;
use crate::credentials::TokenError;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_requests_cause_one_token_request() {
    let endpoint = Endpoint::start([EndpointResponse::Slowly(SECOND / 10)]).await;
    let (credentials, _control) = endpoint.credentials();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let credentials = credentials.clone();
        requests.spawn(async move { usable(&credentials).await });
    }
    assert!(requests.join_all().await.iter().all(|token| token == "Bearer token-1"));
    assert_eq!(endpoint.posts().await, 1);
}

#[tokio::test]
async fn a_token_is_renewed_at_half_to_three_quarters_of_its_lifetime_without_traffic() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(1000)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.ok() == 1).await;
    control.advance(499 * SECOND);
    tokio::task::yield_now().await;
    assert_eq!(endpoint.posts().await, 1);
    control.advance(251 * SECOND);
    until(async || credentials.counters().renewals.ok() == 2).await;
    assert_eq!(usable(&credentials).await, "Bearer token-2");
}

#[tokio::test]
async fn while_renewals_fail_the_old_token_is_used_until_it_expires() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(1000), status(500)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.ok() == 1).await;
    control.advance(750 * SECOND);
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    assert_eq!(last_error(&credentials), Some(RenewalErrorKind::Status(500)));
    control.advance(249 * SECOND);
    assert_eq!(usable(&credentials).await, "Bearer token-1");
    assert_eq!(credentials.snapshot().lifetime_left, Some(SECOND));
    control.advance(SECOND);
    assert!(matches!(credentials.snapshot().usable, Err(TokenError::Unavailable { .. })));
    endpoint.now_responds(EndpointResponse::Grants(1000));
    until(async || {
        control.advance(SECOND);
        credentials.snapshot().usable.is_ok()
    })
    .await;
    assert_eq!(usable(&credentials).await, "Bearer token-2");
}

#[tokio::test]
async fn a_token_with_a_lifetime_of_one_second_causes_no_request_loop() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(1)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    let mut granted = 0;
    for _ in 0..10 {
        granted += 1;
        until(async || credentials.counters().renewals.ok() == granted).await;
        // Requests within the second cause no renewal.
        control.advance(SECOND / 2);
        let _ = credentials.current().await.unwrap();
        control.advance(SECOND / 2 - SECOND / 100);
        let _ = credentials.current().await.unwrap();
        assert_eq!(endpoint.posts().await, granted as usize);
        control.advance(SECOND / 100);
    }
}

#[tokio::test]
async fn a_request_waits_up_to_the_configured_wait_and_then_gets_a_retry_after() {
    let endpoint = Endpoint::start([EndpointResponse::Slowly(60 * SECOND)]).await;
    let mut config = endpoint.config();
    config.fetch_timeout = 30 * SECOND;
    let (credentials, control) = credentials(Config::ClientCredentials(config));
    let waiting = tokio::spawn({
        let credentials = credentials.clone();
        async move { credentials.current().await.map(drop) }
    });
    until(async || endpoint.posts().await == 1).await;
    control.advance(5 * SECOND);
    assert_eq!(waiting.await.unwrap(), Err(TokenError::Unavailable { retry_after: SECOND }));
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_end_the_renewal_of_the_others() {
    let endpoint = Endpoint::start([EndpointResponse::Slowly(SECOND / 5)]).await;
    let (credentials, _control) = endpoint.credentials();
    let ask = || {
        let credentials = credentials.clone();
        tokio::spawn(async move { usable(&credentials).await })
    };
    let first = ask();
    until(async || endpoint.posts().await == 1).await;
    let second = ask();
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap(), "Bearer token-1");
    assert_eq!(endpoint.posts().await, 1);
}

#[tokio::test]
async fn a_thousand_requests_with_a_failing_endpoint_cause_a_few_token_requests() {
    let endpoint = Endpoint::start([status(500)]).await;
    let (credentials, control) = endpoint.credentials();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let credentials = credentials.clone();
        requests.spawn(async move { credentials.current().await.map(drop) });
    }
    until(async || {
        control.advance(SECOND / 10);
        tokio::task::yield_now().await;
        while requests.try_join_next().is_some_and(|response| response.unwrap().is_err()) {}
        requests.is_empty()
    })
    .await;
    assert!((2..=4).contains(&endpoint.posts().await), "{}", endpoint.posts().await);
}

#[tokio::test]
async fn refused_credentials_fail_requests_at_once_and_are_retried_every_five_seconds() {
    for refusal in [400, 401, 403] {
        let endpoint = Endpoint::start([status(refusal)]).await;
        let (credentials, control) = endpoint.credentials();
        let refused = Err(TokenError::CredentialsRefused { status: refusal });
        assert_eq!(credentials.current().await.map(drop), refused);
        tokio::spawn(credentials.clone().run_refresh());
        control.advance(4 * SECOND);
        tokio::task::yield_now().await;
        assert_eq!(credentials.current().await.map(drop), refused);
        assert_eq!(credentials.snapshot().usable, refused);
        assert_eq!(endpoint.posts().await, 1);
        control.advance(SECOND);
        until(async || credentials.counters().renewals.all_failures() == 2).await;
        // Without requests, the next attempt comes after 30 seconds at the earliest.
        control.advance(10 * SECOND);
        tokio::task::yield_now().await;
        assert_eq!(endpoint.posts().await, 2);
    }
}

#[tokio::test]
async fn a_valid_token_stays_in_use_while_the_credentials_are_refused() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(1000), status(401)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.ok() == 1).await;
    control.advance(750 * SECOND);
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    assert_eq!(last_error(&credentials), Some(RenewalErrorKind::Refused { status: 401 }));
    assert_eq!(usable(&credentials).await, "Bearer token-1");
}

#[tokio::test]
async fn a_corrected_secret_file_is_tried_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong\n").unwrap();
    let endpoint = Endpoint::start([status(401)]).await;
    let mut config = endpoint.config();
    config.client_secret = SecretSource::File(file.path().to_owned());
    let (credentials, control) = credentials(Config::ClientCredentials(config));
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    endpoint.now_responds(EndpointResponse::Grants(1000));
    std::fs::write(file.path(), "right\n").unwrap();
    let mut elapsed = Duration::ZERO;
    until(async || {
        control.advance(SECOND / 10);
        elapsed += SECOND / 10;
        credentials.snapshot().usable.is_ok()
    })
    .await;
    let last = endpoint.requests().await.pop().unwrap();
    assert_eq!(last.body_json::<Value>().unwrap()["client_secret"], "right");
    assert_eq!(endpoint.posts().await, 2);
}

#[tokio::test]
async fn the_secret_is_read_again_for_each_renewal_and_an_unreadable_one_is_a_failure() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let endpoint = Endpoint::start([EndpointResponse::Grants(10)]).await;
    let mut config = endpoint.config();
    config.client_secret = SecretSource::File(file.path().to_owned());
    let (credentials, control) = credentials(Config::ClientCredentials(config));
    tokio::spawn(credentials.clone().run_refresh());
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    assert!(matches!(last_error(&credentials), Some(RenewalErrorKind::Credential(_))));
    assert_eq!(endpoint.posts().await, 0);
    for secret in ["one", "two"] {
        std::fs::write(file.path(), secret).unwrap();
        let posts = endpoint.posts().await;
        until(async || {
            control.advance(SECOND / 10);
            endpoint.posts().await > posts
        })
        .await;
        let last = endpoint.requests().await.pop().unwrap();
        assert_eq!(last.body_json::<Value>().unwrap()["client_secret"], secret);
    }
}

#[tokio::test]
async fn retry_after_is_honoured_and_passed_on() {
    for busy in [429, 503] {
        let response = ResponseTemplate::new(busy).insert_header("retry-after", "20");
        let endpoint = Endpoint::start([EndpointResponse::Is(response), EndpointResponse::Grants(1000)]).await;
        let (credentials, control) = endpoint.credentials();
        tokio::spawn(credentials.clone().run_refresh());
        let Err(TokenError::Unavailable { retry_after }) = credentials.current().await else { panic!("a token") };
        assert!((20 * SECOND..=22 * SECOND).contains(&retry_after), "{retry_after:?}");
        control.advance(19 * SECOND);
        tokio::task::yield_now().await;
        assert_eq!(endpoint.posts().await, 1);
        control.advance(3 * SECOND);
        assert_eq!(usable(&credentials).await, "Bearer token-1");
    }
}
