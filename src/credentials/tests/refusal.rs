//! What follows when the provider refuses a token.

use super::*;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_under_a_thousand_requests_causes_one_token_request() {
    let endpoint = Endpoint::start([Answer::Grants(3600), Answer::Slowly(SECOND / 10)]).await;
    let (tokens, _hands) = endpoint.tokens();
    let refused = tokens.current().await.unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let (tokens, refused) = (tokens.clone(), refused.clone());
        requests.spawn(async move { tokens.replacement_for(&refused).await });
    }
    for newer in requests.join_all().await {
        assert_eq!(shown(&newer.unwrap()), "Bearer token-2");
    }
    assert_eq!(endpoint.posts().await, 2);
    // A refusal that comes late is not about the token now in hand.
    assert_eq!(shown(&tokens.replacement_for(&refused).await.unwrap()), "Bearer token-2");
    assert_eq!(endpoint.posts().await, 2);
    assert_eq!(tokens.snapshot().refusals, 1);
}

#[tokio::test]
async fn a_new_token_that_is_refused_within_ten_seconds_is_left_as_it_is() {
    let endpoint = Endpoint::start([Answer::Grants(3600)]).await;
    let (tokens, control) = endpoint.tokens();
    let first = tokens.current().await.unwrap();
    let second = tokens.replacement_for(&first).await.unwrap();
    control.advance(9 * SECOND);
    for _ in 0..100 {
        assert!(tokens.replacement_for(&second).await.is_none());
    }
    assert_eq!(usable(&tokens).await, "Bearer token-2");
    assert_eq!(endpoint.posts().await, 2);
    control.advance(SECOND);
    assert_eq!(shown(&tokens.replacement_for(&second).await.unwrap()), "Bearer token-3");
}

#[tokio::test]
async fn a_refused_token_is_forgotten_also_when_no_other_can_be_had() {
    let endpoint = Endpoint::start([Answer::Grants(3600), status(401)]).await;
    let (tokens, _hands) = endpoint.tokens();
    let refused = tokens.current().await.unwrap();
    assert!(tokens.replacement_for(&refused).await.is_none());
    assert!(tokens.current().await.is_err());
    assert!(tokens.replacement_for(&refused).await.is_none());
    assert_eq!(endpoint.posts().await, 2);
}

#[tokio::test]
async fn requests_that_come_while_a_refused_token_is_replaced_wait_for_the_new_one() {
    let endpoint = Endpoint::start([Answer::Grants(3600), Answer::Slowly(SECOND / 5)]).await;
    let (tokens, _hands) = endpoint.tokens();
    let refused = tokens.current().await.unwrap();
    let renewal = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.replacement_for(&refused).await }
    });
    until(async || endpoint.posts().await == 2).await;
    assert_eq!(usable(&tokens).await, "Bearer token-2");
    assert_eq!(shown(&renewal.await.unwrap().unwrap()), "Bearer token-2");
    assert_eq!(endpoint.posts().await, 2);
}

#[tokio::test]
async fn the_backoff_of_the_timer_does_not_hold_the_replacement_up() {
    let endpoint = Endpoint::start([Answer::Grants(1000), status(500)]).await;
    let (tokens, control) = endpoint.tokens();
    tokio::spawn(tokens.clone().run_refresh());
    let refused = tokens.current().await.unwrap();
    control.advance(750 * SECOND);
    until(async || tokens.snapshot().renewals_failed == 1).await;
    endpoint.now_answers(Answer::Grants(1000));
    // The clock stands still, within the timer's backoff.
    assert_eq!(shown(&tokens.replacement_for(&refused).await.unwrap()), "Bearer token-2");
}

#[tokio::test]
async fn a_replacement_with_a_shorter_life_brings_the_timer_forward() {
    let endpoint = Endpoint::start([Answer::Grants(80_000), Answer::Grants(60)]).await;
    let (tokens, control) = endpoint.tokens();
    tokio::spawn(tokens.clone().run_refresh());
    let refused = tokens.current().await.unwrap();
    assert!(tokens.replacement_for(&refused).await.is_some());
    until(async || {
        control.advance(SECOND);
        tokio::task::yield_now().await;
        tokens.snapshot().renewals_ok >= 3
    })
    .await;
}
