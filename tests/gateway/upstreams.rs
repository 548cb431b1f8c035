//! Several providers in one process, and none pays for another.

use std::time::Duration;

use jwe_gateway::config::KeysSource as Source;
use jwe_gateway::config::QuotaOverrides;
use jwe_gateway::config::Upstream;
use jwe_gateway::sandbox::{Options, Sandbox};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, TestGateway, assert_refused, config};

const LIST: &str = "/v0/bank/credentials/list";

/// The upstream of `sandbox`, for requests below `prefix`.
fn upstream(sandbox: &Sandbox, name: &str, prefix: &str) -> Upstream {
    let upstream = config(sandbox).upstreams.remove(0);
    Upstream { name: name.into(), prefix: prefix.parse().unwrap(), ..upstream }
}

#[tokio::test]
async fn a_prefix_is_taken_off_where_that_is_configured_and_the_rest_is_as_it_came() {
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].prefix = "/flanks".parse().unwrap();
        config.upstreams[0].strip_prefix = true;
    })
    .await;
    for (sent, received) in [
        ("/flanks/v0/bank/available?a=%2F&b=+c", "/v0/bank/available?a=%2F&b=+c"),
        ("/fl%61nks/v0/bank/a%2Fb", "/v0/bank/a%2Fb"),
        ("/flanks?x=1", "/?x=1"),
        ("/flanks", "/"),
    ] {
        gateway.request("GET", sent).send().await.unwrap();
        assert_eq!(gateway.last().target, received);
    }
    let total = gateway.sandbox.received_total();
    let escaped = gateway.request("GET", "/flanks%2Fv0").send().await.unwrap();
    assert_refused(escaped, 400, "malformed_target").await;
    // The token endpoint is the gateway's alone, under whichever name.
    let reply = gateway.json("POST", "/flanks/v0/tok%65n", "{}").send().await.unwrap();
    assert_refused(reply, 403, "caller_forbidden").await;
    assert_refused(gateway.request("GET", "/v0/bank/available").send().await.unwrap(), 404, "no_upstream").await;
    assert_eq!(gateway.sandbox.received_total(), total);
}

#[tokio::test]
async fn each_upstream_has_keys_and_credentials_of_its_own() {
    let second = Sandbox::start(Options { client_id: Some("second".into()), ..Options::default() }).await.unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        let mut upstream = upstream(&second, "second", "/second");
        upstream.strip_prefix = true;
        config.upstreams.push(upstream);
    })
    .await;
    for (path, sandbox) in [(LIST, &gateway.sandbox), ("/second/v0/bank/credentials/list", &second)] {
        assert_eq!(gateway.json("POST", path, "{}").send().await.unwrap().status(), 200);
        assert_eq!((sandbox.received_total(), sandbox.token_requests(), sandbox.jwks_fetches()), (1, 1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_swallows_everything_takes_nothing_from_the_others() {
    // Connections are made by the kernel and never accepted.
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hole_address = hole.local_addr().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        let mut black_holed = config.upstreams[0].clone();
        black_holed.name = "hole".into();
        black_holed.prefix = "/hole".parse().unwrap();
        black_holed.upstream.url = format!("http://{hole_address}").parse().unwrap();
        black_holed.upstream.reply = Duration::from_secs(600);
        config.upstreams.push(black_holed);
        config.gateway.limits.in_flight = 20;
        config.gateway.deadlines.exchange = Duration::from_secs(600);
    })
    .await;
    // As many as would fill the whole gateway; half of the places are this upstream's.
    let mut swallowed = JoinSet::new();
    for _ in 0..20 {
        let request = gateway.json("POST", "/hole/x", "{}");
        swallowed.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    for _ in 0..10 {
        let turned_away = tokio::time::timeout(PATIENCE, swallowed.join_next()).await.expect("half are turned away");
        assert_eq!(turned_away.unwrap().unwrap(), 503);
    }
    for _ in 0..10 {
        let mut healthy = JoinSet::new();
        for _ in 0..10 {
            let request = gateway.json("POST", LIST, "{}");
            healthy.spawn(async move { request.send().await.unwrap().status().as_u16() });
        }
        assert_eq!(healthy.join_all().await, [200; 10]);
    }
    drop(hole);
}

#[tokio::test]
async fn a_gateway_is_ready_while_one_of_its_providers_can_be_served_and_names_the_others() {
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        let mut dead = config.upstreams[0].clone();
        dead.name = "dead".into();
        dead.prefix = "/dead".parse().unwrap();
        dead.keys.source = Source::Url(format!("http://{down}/.well-known/jwks.json").parse().unwrap());
        config.upstreams.push(dead);
    })
    .await;
    gateway.ready().await;
    let (_, said) = gateway.admin("/readyz").await;
    assert!(said.contains(r#""ready":true"#) && said.contains("dead: no key"), "{said}");
    assert!(gateway.admin("/metrics").await.1.contains(r#"jwe_gateway_ready{upstream="dead"} 0"#));
}

#[tokio::test]
async fn an_upstream_has_limits_of_its_own() {
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].quota = QuotaOverrides { max_body: Some(10), ..QuotaOverrides::default() };
    })
    .await;
    let reply = gateway.json("POST", LIST, r#"{"more":"than ten bytes"}"#).send().await.unwrap();
    assert_refused(reply, 413, "body_too_large").await;
    gateway.assert_still_serves().await;
}
