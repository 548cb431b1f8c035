//! Several upstreams in one process: none disturbs another.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jwe_gateway::app::{Code, Dependencies, Observer};
use jwe_gateway::config::KeysSource as Source;
use jwe_gateway::config::QuotaOverrides;
use jwe_gateway::config::{CredentialsConfig, TokenEndpoint, Upstream};
use jwe_gateway::sandbox::{Options, Sandbox};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, TestGateway, assert_refused, config, eventually};

const LIST: &str = "/v0/bank/credentials/list";

/// The upstream of `sandbox`, for requests below `prefix`.
pub(crate) fn upstream(sandbox: &Sandbox, name: &str, prefix: &str) -> Upstream {
    let upstream = config(sandbox).upstreams.remove(0);
    Upstream { name: name.into(), prefix: prefix.parse().unwrap(), ..upstream }
}

#[tokio::test]
async fn a_prefix_is_stripped_if_configured_and_the_rest_is_forwarded_byte_for_byte() {
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
    // The token endpoint is refused in every spelling.
    let reply = gateway.json("POST", "/flanks/v0/tok%65n", "{}").send().await.unwrap();
    assert_refused(reply, 403, "caller_forbidden").await;
    assert_refused(gateway.request("GET", "/v0/bank/available").send().await.unwrap(), 404, "no_upstream").await;
    assert_eq!(gateway.sandbox.received_total(), total);
}

#[tokio::test]
async fn each_upstream_has_its_own_keys_and_credentials() {
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
async fn a_provider_that_never_replies_does_not_use_up_the_limits_of_others() {
    // The kernel completes the connections, but no program accepts them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        let mut silent = config.upstreams[0].clone();
        silent.name = "silent".into();
        silent.prefix = "/silent".parse().unwrap();
        silent.upstream.url = format!("http://{silent_address}").parse().unwrap();
        silent.upstream.reply = Duration::from_secs(600);
        config.upstreams.push(silent);
        config.gateway.limits.in_flight = 20;
        config.gateway.deadlines.exchange = Duration::from_secs(600);
    })
    .await;
    // As many requests as the gateway's limit; this upstream may have half of them in flight.
    let mut unanswered = JoinSet::new();
    for _ in 0..20 {
        let request = gateway.json("POST", "/silent/x", "{}");
        unanswered.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    for _ in 0..10 {
        let refused = tokio::time::timeout(PATIENCE, unanswered.join_next()).await.expect("half are refused");
        assert_eq!(refused.unwrap().unwrap(), 503);
    }
    for _ in 0..10 {
        let mut healthy = JoinSet::new();
        for _ in 0..10 {
            let request = gateway.json("POST", LIST, "{}");
            healthy.spawn(async move { request.send().await.unwrap().status().as_u16() });
        }
        assert_eq!(healthy.join_all().await, [200; 10]);
    }
    drop(silent);
}

#[tokio::test]
async fn a_gateway_is_ready_while_one_upstream_is_and_names_the_others() {
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
    let (_, body) = gateway.admin("/readyz").await;
    assert!(body.contains(r#""ready":true"#) && body.contains("dead: no key"), "{body}");
    assert!(gateway.admin("/metrics").await.1.contains(r#"jwe_gateway_ready{upstream="dead"} 0"#));
}

#[tokio::test]
async fn an_upstream_has_its_own_limits() {
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].quota = QuotaOverrides { max_body: Some(10), ..QuotaOverrides::default() };
    })
    .await;
    let reply = gateway.json("POST", LIST, r#"{"more":"than ten bytes"}"#).send().await.unwrap();
    assert_refused(reply, 413, "body_too_large").await;
    gateway.assert_still_serves().await;
}

#[tokio::test]
async fn an_emulated_token_endpoint_is_below_the_prefix_and_never_beside_the_base_path() {
    let token_request = r#"{"client_id":"a","client_secret":"key-of-a","grant_type":"client_credentials"}"#;
    for (token_url, served) in [("/base/Token", Some("/p/Token")), ("/based/Token", None)] {
        let gateway = TestGateway::spawn_with(|config| {
            config.gateway.callers = vec![crate::callers::caller("a")];
            let upstream = &mut config.upstreams[0];
            upstream.prefix = "/p".parse().unwrap();
            upstream.strip_prefix = true;
            upstream.token_endpoint = TokenEndpoint::Emulate;
            if let CredentialsConfig::ClientCredentials(credentials) = &mut upstream.credentials {
                credentials.url = upstream.upstream.url.join(token_url).unwrap();
            }
            upstream.upstream.url = upstream.upstream.url.join("/base").unwrap();
        })
        .await;
        for path in ["/p/Token", "/pd/Token", "/p/v0/token"] {
            let reply = gateway.json("POST", path, token_request).send().await.unwrap();
            assert_eq!(reply.status() == 200, Some(path) == served, "{token_url} {path}");
        }
    }
}

#[tokio::test]
async fn a_gateway_that_is_its_own_upstream_refuses_the_request_that_comes_back() {
    // Forwards connections to the gateway, whose address is known only after it has started.
    let entrance = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", entrance.local_addr().unwrap()).parse().unwrap();
    let refused = Arc::new(Mutex::new(Vec::new()));
    let observer: Observer = {
        let refused = Arc::clone(&refused);
        Arc::new(move |record| refused.lock().unwrap().push(record.refusal))
    };
    let dependencies = Dependencies { observers: vec![observer], ..Dependencies::default() };
    let gateway = TestGateway::spawn_among(dependencies, Options::default(), |config| {
        config.gateway.limits.in_flight = 20;
        config.upstreams[0].upstream.url = url;
    })
    .await;
    let address = gateway.address;
    let forwarding = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = entrance.accept().await.unwrap();
            let mut onward = TcpStream::connect(address).await.unwrap();
            connections.spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut onward).await });
        }
    });
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 508);
    eventually("both records", async || refused.lock().unwrap().len() == 2).await;
    assert_eq!(*refused.lock().unwrap(), [Some(Code::LoopDetected), None], "the inner request ends first");
    forwarding.abort();
}

#[tokio::test]
async fn a_request_may_pass_five_gateways_and_the_provider_sees_only_their_marks() {
    let gateway = TestGateway::spawn().await;
    let via = |count: u64| {
        let marks: Vec<_> = (0..count).map(|id| format!("1.1 jwe-gateway-{id:016x}")).collect();
        format!("1.1 proxy.internal, {}", marks.join(", "))
    };
    let send = async |count| gateway.json("POST", LIST, "{}").header("via", via(count)).send().await.unwrap();
    assert_eq!(send(4).await.status(), 200);
    let received = gateway.last().headers["via"].to_str().unwrap().to_owned();
    assert_eq!(received.matches("1.1 jwe-gateway-").count(), 5, "{received}");
    assert!(!received.contains("proxy.internal"), "{received}");
    let problem = assert_refused(send(5).await, 508, "loop_detected").await;
    assert_eq!(problem["detail"], "the request has passed 5 gateways; no more are allowed");
    assert_eq!(gateway.sandbox.received_total(), 1);
}
