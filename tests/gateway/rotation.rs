//! Rotations, revocations and outages under load: no request fails.

use std::sync::Arc;
use std::time::Duration;

use jwe_gateway::app::Dependencies;
use jwe_gateway::clock::Clock;
use jwe_gateway::sandbox::{Fault, KeySetFault, Options, Rotation, TokenFault};
use tokio::task::JoinSet;

use crate::harness::TestGateway;

const LIST: &str = "/v0/bank/credentials/list";

/// Sends `count` requests at once; returns how many were answered 200.
async fn at_once(gateway: &Arc<TestGateway>, count: usize) -> usize {
    let mut requests = JoinSet::new();
    for number in 0..count {
        let gateway = Arc::clone(gateway);
        requests.spawn(async move {
            gateway.json("POST", LIST, format!(r#"{{"number":{number}}}"#)).send().await.unwrap().status()
        });
    }
    requests.join_all().await.into_iter().filter(|status| *status == 200).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_through_a_hard_cut_cause_one_key_fetch_and_no_failure() {
    // The clock stands still. On a busy machine, a fetch takes longer than a tenth of a second, and refused requests
    // would start another one.
    let dependencies = Dependencies { clock: Clock::manual().0, ..Dependencies::default() };
    let gateway = Arc::new(TestGateway::spawn_among(dependencies, Options::default(), |_| {}).await);
    gateway.assert_still_serves().await;
    gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    assert_eq!(at_once(&gateway, 1000).await, 1000);
    assert_eq!(gateway.sandbox.jwks_fetches(), 2, "the first one, and one for the cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_through_a_revocation_cause_one_token_request_and_no_failure() {
    let gateway = Arc::new(TestGateway::spawn().await);
    gateway.assert_still_serves().await;
    gateway.sandbox.revoke_tokens();
    assert_eq!(at_once(&gateway, 1000).await, 1000);
    assert_eq!(gateway.sandbox.token_requests(), 2, "the first one, and one for the revocation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_with_a_cached_key_and_token_while_both_endpoints_are_down() {
    // A key set without a lifetime, so that the gateway fetches it all the time.
    let options = Options { max_age: Duration::ZERO, ..Options::default() };
    let gateway = TestGateway::spawn_in(options, |config| {
        let keys = &mut config.upstreams[0].keys;
        (keys.min_lifetime, keys.backoff_min) = (Duration::from_millis(10), Duration::from_millis(10));
    })
    .await;
    gateway.ready().await;
    gateway.sandbox.arm(Fault::KeySet(KeySetFault::ServerError));
    gateway.sandbox.arm(Fault::Token(TokenFault::ServerError));
    let gateway = Arc::new(gateway);
    let fetches = gateway.sandbox.jwks_fetches();
    for _ in 0..20 {
        assert_eq!(at_once(&gateway, 50).await, 50);
    }
    crate::harness::eventually("a fetch has failed", async || gateway.sandbox.jwks_fetches() > fetches).await;
    assert_eq!(at_once(&gateway, 50).await, 50);
}

#[tokio::test]
async fn a_hard_cut_and_a_revocation_together_cost_one_extra_attempt_each() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    gateway.sandbox.revoke_tokens();
    gateway.assert_still_serves().await;
    assert_eq!(
        gateway.sandbox.received_total(),
        4,
        "one before the cut; then one refused for the token, one for the key, and one accepted"
    );
}

#[tokio::test]
async fn the_providers_401_is_relayed_if_a_new_token_is_refused_too() {
    let gateway = TestGateway::spawn().await;
    gateway.sandbox.arm(Fault::Api(jwe_gateway::sandbox::ApiFault::Unauthorized));
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 401);
    assert_eq!(reply.headers()["proxy-status"], "jwe-gateway; received-status=401");
    assert_eq!(gateway.sandbox.received_total(), 2, "sent twice");
}

#[tokio::test]
async fn a_message_that_is_refused_while_its_key_is_published_is_not_resent() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    gateway.sandbox.arm_times(Fault::Api(jwe_gateway::sandbox::ApiFault::BadRequest), 1);
    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 400);
    assert_eq!(gateway.sandbox.received_total(), 2);
}

#[tokio::test]
async fn a_post_on_a_connection_that_is_reset_is_not_resent() {
    let gateway = TestGateway::spawn().await;
    gateway.sandbox.arm_times(Fault::Api(jwe_gateway::sandbox::ApiFault::ResetBeforeHead), 1);
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    crate::harness::assert_refused(reply, 502, "upstream_protocol").await;
    assert_eq!(gateway.sandbox.received_total(), 1);
}

#[tokio::test]
async fn a_gateway_with_pins_that_match_no_key_is_not_ready_and_names_the_reason() {
    let gateway = TestGateway::spawn_with(|config| config.upstreams[0].keys.pin = vec!["another".to_owned()]).await;
    crate::harness::eventually("the set is fetched", async || gateway.sandbox.jwks_fetches() > 0).await;
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    crate::harness::assert_refused(reply, 503, "no_usable_key").await;
    let (status, body) = gateway.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("is pinned"), "{body}");
}
