//! Renewals after the provider has refused a token.

use super::*;
use crate::credentials::TokenError;
use http::StatusCode;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_during_a_thousand_requests_causes_one_token_request() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600), EndpointResponse::Slowly(SECOND / 10)]).await;
    let (credentials, _control) = endpoint.credentials();
    let refused = credentials.current().await.unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let (credentials, refused) = (credentials.clone(), refused.clone());
        requests.spawn(async move { credentials.replacement_for(&refused, Refuser::Provider).await.unwrap() });
    }
    for newer in requests.join_all().await {
        assert_eq!(authorization(&newer.unwrap()), "Bearer token-2");
    }
    assert_eq!(endpoint.posts().await, 2);
    // A late refusal does not concern the cached token.
    assert_eq!(
        authorization(&credentials.replacement_for(&refused, Refuser::Provider).await.unwrap().unwrap()),
        "Bearer token-2"
    );
    assert_eq!(endpoint.posts().await, 2);
    assert_eq!(credentials.counters().refusals(), 1);
}

#[tokio::test]
async fn a_new_token_that_is_refused_within_ten_seconds_is_not_replaced() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600)]).await;
    let (credentials, control) = endpoint.credentials();
    let first = credentials.current().await.unwrap();
    let second = credentials.replacement_for(&first, Refuser::Provider).await.unwrap().unwrap();
    control.advance(9 * SECOND);
    for _ in 0..100 {
        assert!(credentials.replacement_for(&second, Refuser::Provider).await.unwrap().is_none());
    }
    assert_eq!(usable(&credentials).await, "Bearer token-2");
    assert_eq!(endpoint.posts().await, 2);
    control.advance(SECOND);
    assert_eq!(
        authorization(&credentials.replacement_for(&second, Refuser::Provider).await.unwrap().unwrap()),
        "Bearer token-3"
    );
}

#[tokio::test]
async fn a_refused_token_is_dropped_even_if_no_other_can_be_obtained() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600), status(401)]).await;
    let (credentials, _control) = endpoint.credentials();
    let refused = credentials.current().await.unwrap();
    let reason = Err(TokenError::CredentialsRefused { status: 401 });
    assert_eq!(credentials.replacement_for(&refused, Refuser::Provider).await.map(drop), reason);
    assert_eq!(credentials.current().await.map(drop), reason);
    assert_eq!(credentials.replacement_for(&refused, Refuser::Provider).await.map(drop), reason);
    assert_eq!(endpoint.posts().await, 2);
}

#[tokio::test]
async fn a_refused_request_gets_the_wait_of_a_busy_token_endpoint() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "20");
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600), EndpointResponse::Is(busy)]).await;
    let (credentials, _control) = endpoint.credentials();
    let refused = credentials.current().await.unwrap();
    let Err(TokenError::Unavailable { retry_after }) = credentials.replacement_for(&refused, Refuser::Provider).await
    else {
        panic!("the token endpoint granted nothing")
    };
    assert!((20 * SECOND..=22 * SECOND).contains(&retry_after), "{retry_after:?}");
}

#[tokio::test]
async fn a_request_with_an_accepted_token_learns_that_the_credentials_are_refused_and_others_keep_the_token() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(1000), status(401)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    let accepted = credentials.current().await.unwrap();
    accepted.note_accepted();
    control.advance(750 * SECOND);
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    for _ in 0..20 {
        let refused = credentials.replacement_for(&accepted, Refuser::Provider).await.map(drop);
        assert_eq!(refused, Err(TokenError::CredentialsRefused { status: 401 }));
    }
    assert_eq!(usable(&credentials).await, "Bearer token-1");
    assert_eq!(endpoint.posts().await, 2);
    // The refusals are traffic: the next attempt follows five seconds after the last one.
    endpoint.now_responds(EndpointResponse::Grants(1000));
    control.advance(5 * SECOND);
    until(async || credentials.counters().renewals.ok() == 2).await;
    assert_eq!(usable(&credentials).await, "Bearer token-2");
}

#[tokio::test]
async fn a_response_of_a_load_balancer_does_not_show_that_the_provider_accepts_the_token() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600)]).await;
    let (credentials, _control) = endpoint.credentials();
    let first = credentials.current().await.unwrap();
    let second = credentials.replacement_for(&first, Refuser::Provider).await.unwrap().unwrap();
    for status in [407, 429, 500, 502, 503, 504] {
        credentials.note_accepted(&second, StatusCode::from_u16(status).unwrap());
        let kept = credentials.replacement_for(&second, Refuser::Provider).await.unwrap();
        assert!(kept.is_none(), "{status}: the new token is not the cause of the 401");
    }
    credentials.note_accepted(&second, StatusCode::NOT_FOUND);
    let third = credentials.replacement_for(&second, Refuser::Provider).await.unwrap().unwrap();
    assert_eq!(authorization(&third), "Bearer token-3");
}

#[tokio::test]
async fn refusals_in_close_succession_do_not_delay_the_look_at_a_faulty_secret() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "right").unwrap();
    let endpoint = Endpoint::start([EndpointResponse::Grants(1000), status(401)]).await;
    let mut config = endpoint.config();
    config.client_secret = SecretSource::File(file.path().to_owned());
    let (credentials, control) = credentials(Config::ClientCredentials(config));
    tokio::spawn(credentials.clone().run_refresh());
    let accepted = credentials.current().await.unwrap();
    accepted.note_accepted();
    control.advance(750 * SECOND);
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    std::fs::write(file.path(), "changed").unwrap();
    endpoint.now_responds(EndpointResponse::Grants(1000));
    // Four seconds with ten refusals each. The attempt of the schedule would come after five.
    for _ in 0..40 {
        let _ = credentials.replacement_for(&accepted, Refuser::Provider).await;
        tokio::task::yield_now().await;
        control.advance(SECOND / 10);
        tokio::task::yield_now().await;
    }
    until(async || credentials.counters().renewals.ok() > 1).await;
}

#[tokio::test]
async fn requests_during_a_replacement_wait_for_the_new_token() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(3600), EndpointResponse::Slowly(SECOND / 5)]).await;
    let (credentials, _control) = endpoint.credentials();
    let refused = credentials.current().await.unwrap();
    let renewal = tokio::spawn({
        let credentials = credentials.clone();
        async move { credentials.replacement_for(&refused, Refuser::Provider).await.unwrap() }
    });
    until(async || endpoint.posts().await == 2).await;
    assert_eq!(usable(&credentials).await, "Bearer token-2");
    assert_eq!(authorization(&renewal.await.unwrap().unwrap()), "Bearer token-2");
    assert_eq!(endpoint.posts().await, 2);
}

#[tokio::test]
async fn the_backoff_of_the_schedule_does_not_delay_the_replacement() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(1000), status(500)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    let refused = credentials.current().await.unwrap();
    control.advance(750 * SECOND);
    until(async || credentials.counters().renewals.all_failures() == 1).await;
    endpoint.now_responds(EndpointResponse::Grants(1000));
    // The clock stands still, within the backoff of the schedule.
    assert_eq!(
        authorization(&credentials.replacement_for(&refused, Refuser::Provider).await.unwrap().unwrap()),
        "Bearer token-2"
    );
}

#[tokio::test]
async fn a_replacement_with_a_shorter_lifetime_brings_the_schedule_forward() {
    let endpoint = Endpoint::start([EndpointResponse::Grants(80_000), EndpointResponse::Grants(60)]).await;
    let (credentials, control) = endpoint.credentials();
    tokio::spawn(credentials.clone().run_refresh());
    let refused = credentials.current().await.unwrap();
    assert!(credentials.replacement_for(&refused, Refuser::Provider).await.unwrap().is_some());
    until(async || {
        control.advance(SECOND);
        tokio::task::yield_now().await;
        credentials.counters().renewals.ok() >= 3
    })
    .await;
}
