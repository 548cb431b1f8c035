//! Renewal by the timer, its failures, and what is served meanwhile.

use super::*;
use crate::credentials::TokenError;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_requests_cause_one_token_request() {
    let endpoint = Endpoint::start([Answer::Slowly(SECOND / 10)]).await;
    let (tokens, _hands) = endpoint.tokens();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let tokens = tokens.clone();
        requests.spawn(async move { usable(&tokens).await });
    }
    assert!(requests.join_all().await.iter().all(|token| token == "Bearer token-1"));
    assert_eq!(endpoint.posts().await, 1);
}

#[tokio::test]
async fn a_token_is_renewed_at_half_to_three_quarters_of_its_life_without_any_traffic() {
    let endpoint = Endpoint::start([Answer::Grants(1000)]).await;
    let (tokens, control) = endpoint.tokens();
    tokio::spawn(tokens.clone().run_refresh());
    until(async || tokens.snapshot().renewals_ok == 1).await;
    control.advance(499 * SECOND);
    tokio::task::yield_now().await;
    assert_eq!(endpoint.posts().await, 1);
    control.advance(251 * SECOND);
    until(async || tokens.snapshot().renewals_ok == 2).await;
    assert_eq!(usable(&tokens).await, "Bearer token-2");
}

#[tokio::test]
async fn the_old_token_serves_while_renewals_fail_and_an_expired_one_is_none() {
    let endpoint = Endpoint::start([Answer::Grants(1000), status(500)]).await;
    let (tokens, control) = endpoint.tokens();
    tokio::spawn(tokens.clone().run_refresh());
    until(async || tokens.snapshot().renewals_ok == 1).await;
    control.advance(750 * SECOND);
    until(async || tokens.snapshot().renewals_failed == 1).await;
    assert_eq!(last_error(&tokens), Some(RenewalErrorKind::Status(500)));
    control.advance(249 * SECOND);
    assert_eq!(usable(&tokens).await, "Bearer token-1");
    assert_eq!(tokens.snapshot().life_left, Some(SECOND));
    control.advance(SECOND);
    assert!(matches!(tokens.snapshot().usable, Err(TokenError::Unavailable { .. })));
    endpoint.now_answers(Answer::Grants(1000));
    until(async || {
        control.advance(SECOND);
        tokens.snapshot().usable.is_ok()
    })
    .await;
    assert_eq!(usable(&tokens).await, "Bearer token-2");
}

#[tokio::test]
async fn a_token_of_one_second_is_no_request_loop() {
    let endpoint = Endpoint::start([Answer::Grants(1)]).await;
    let (tokens, control) = endpoint.tokens();
    tokio::spawn(tokens.clone().run_refresh());
    let mut granted = 0;
    for _ in 0..10 {
        granted += 1;
        until(async || tokens.snapshot().renewals_ok == granted).await;
        // Whatever requests ask for it within the second.
        control.advance(SECOND / 2);
        let _ = tokens.current().await.unwrap();
        control.advance(SECOND / 2 - SECOND / 100);
        let _ = tokens.current().await.unwrap();
        assert_eq!(endpoint.posts().await, granted as usize);
        control.advance(SECOND / 100);
    }
}

#[tokio::test]
async fn a_request_waits_no_longer_than_it_may_and_is_told_when_to_come_back() {
    let endpoint = Endpoint::start([Answer::Slowly(60 * SECOND)]).await;
    let mut config = endpoint.config();
    config.fetch_timeout = 30 * SECOND;
    let (tokens, control) = tokens(Config::ClientCredentials(config));
    let waiting = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.current().await.map(drop) }
    });
    until(async || endpoint.posts().await == 1).await;
    control.advance(5 * SECOND);
    assert_eq!(waiting.await.unwrap(), Err(TokenError::Unavailable { retry_after: SECOND }));
}

#[tokio::test]
async fn a_caller_who_leaves_takes_nothing_from_the_others() {
    let endpoint = Endpoint::start([Answer::Slowly(SECOND / 5)]).await;
    let (tokens, _hands) = endpoint.tokens();
    let ask = || {
        let tokens = tokens.clone();
        tokio::spawn(async move { usable(&tokens).await })
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
async fn a_storm_of_requests_on_a_broken_endpoint_is_no_storm_of_token_requests() {
    let endpoint = Endpoint::start([status(500)]).await;
    let (tokens, control) = endpoint.tokens();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let tokens = tokens.clone();
        requests.spawn(async move { tokens.current().await.map(drop) });
    }
    until(async || {
        control.advance(SECOND / 10);
        tokio::task::yield_now().await;
        while requests.try_join_next().is_some_and(|answer| answer.unwrap().is_err()) {}
        requests.is_empty()
    })
    .await;
    assert!((2..=4).contains(&endpoint.posts().await), "{}", endpoint.posts().await);
}

#[tokio::test]
async fn refused_credentials_are_told_at_once_and_tried_again_slowly() {
    for refusal in [400, 401, 403] {
        let endpoint = Endpoint::start([status(refusal)]).await;
        let (tokens, control) = endpoint.tokens();
        let refused = Err(TokenError::CredentialsRefused { status: refusal });
        assert_eq!(tokens.current().await.map(drop), refused);
        tokio::spawn(tokens.clone().run_refresh());
        control.advance(14 * SECOND);
        tokio::task::yield_now().await;
        assert_eq!(tokens.current().await.map(drop), refused);
        assert_eq!(tokens.snapshot().usable, refused);
        assert_eq!(endpoint.posts().await, 1);
        control.advance(16 * SECOND);
        until(async || endpoint.posts().await == 2).await;
    }
}

#[tokio::test]
async fn a_valid_token_serves_on_while_the_credentials_are_refused() {
    let endpoint = Endpoint::start([Answer::Grants(1000), status(401)]).await;
    let (tokens, control) = endpoint.tokens();
    tokio::spawn(tokens.clone().run_refresh());
    until(async || tokens.snapshot().renewals_ok == 1).await;
    control.advance(750 * SECOND);
    until(async || tokens.snapshot().renewals_failed == 1).await;
    assert_eq!(last_error(&tokens), Some(RenewalErrorKind::Refused { status: 401 }));
    assert_eq!(usable(&tokens).await, "Bearer token-1");
}

#[tokio::test]
async fn a_corrected_secret_file_is_tried_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong\n").unwrap();
    let endpoint = Endpoint::start([status(401)]).await;
    let mut config = endpoint.config();
    config.client_secret = SecretSource::File(file.path().to_owned());
    let (tokens, control) = tokens(Config::ClientCredentials(config));
    tokio::spawn(tokens.clone().run_refresh());
    until(async || tokens.snapshot().renewals_failed == 1).await;
    endpoint.now_answers(Answer::Grants(1000));
    std::fs::write(file.path(), "right\n").unwrap();
    let mut turned = Duration::ZERO;
    until(async || {
        control.advance(SECOND / 10);
        turned += SECOND / 10;
        tokens.snapshot().usable.is_ok()
    })
    .await;
    let last = endpoint.requests().await.pop().unwrap();
    assert_eq!(last.body_json::<Value>().unwrap()["client_secret"], "right");
    assert_eq!(endpoint.posts().await, 2);
}

#[tokio::test]
async fn the_secret_is_read_again_for_each_renewal_and_an_unreadable_one_is_a_failure() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let endpoint = Endpoint::start([Answer::Grants(10)]).await;
    let mut config = endpoint.config();
    config.client_secret = SecretSource::File(file.path().to_owned());
    let (tokens, control) = tokens(Config::ClientCredentials(config));
    tokio::spawn(tokens.clone().run_refresh());
    until(async || tokens.snapshot().renewals_failed == 1).await;
    assert!(matches!(last_error(&tokens), Some(RenewalErrorKind::Credential(_))));
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
async fn retry_after_is_honoured_and_handed_on() {
    for busy in [429, 503] {
        let answer = ResponseTemplate::new(busy).insert_header("retry-after", "20");
        let endpoint = Endpoint::start([Answer::Is(answer), Answer::Grants(1000)]).await;
        let (tokens, control) = endpoint.tokens();
        tokio::spawn(tokens.clone().run_refresh());
        let Err(TokenError::Unavailable { retry_after }) = tokens.current().await else { panic!("a token") };
        assert!((20 * SECOND..=22 * SECOND).contains(&retry_after), "{retry_after:?}");
        control.advance(19 * SECOND);
        tokio::task::yield_now().await;
        assert_eq!(endpoint.posts().await, 1);
        control.advance(3 * SECOND);
        assert_eq!(usable(&tokens).await, "Bearer token-1");
    }
}
