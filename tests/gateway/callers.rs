//! Authentication of callers, their rules and their limits.

use jwe_gateway::config::Config;
use jwe_gateway::config::{CallerConfig, CallerKeys as KeySource, KeyDigest};
use jwe_gateway::config::{Encryption, TokenEndpoint};
use jwe_gateway::sandbox::{ApiFault, Fault};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{Authority, client};
use crate::harness::{RawAnswer, Served, TestGateway, assert_refused, assert_refused_raw, eventually};

const LIST: &str = "/v0/bank/credentials/list";

pub(crate) fn caller(name: &str) -> CallerConfig {
    let keys = Some(KeySource::Digests(vec![KeyDigest::of(&format!("key-of-{name}"))]));
    CallerConfig { keys, ..CallerConfig::new(name) }
}

async fn spawn(callers: Vec<CallerConfig>) -> TestGateway {
    TestGateway::spawn_with(|config| config.gateway.callers = callers).await
}

/// Posts `{}` to `path` with this `Authorization`.
async fn post(gateway: &TestGateway, path: &str, authorization: &str) -> reqwest::Response {
    gateway.json("POST", path, "{}").header("authorization", authorization).send().await.unwrap()
}

#[tokio::test]
async fn a_request_without_a_known_key_is_refused_and_learns_nothing_about_paths() {
    let gateway = spawn(vec![caller("a")]).await;
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.headers()["www-authenticate"], "Bearer");
    assert_refused(reply, 401, "caller_unknown").await;
    for authorization in ["Bearer unknown", "Basic key-of-a", "Basic YTprZXktb2YtYQ==", "key-of-a", "Bearer"] {
        assert_refused(post(&gateway, LIST, authorization).await, 401, "caller_unknown").await;
    }
    // Only authenticated callers learn whether a path exists.
    for path in ["/nowhere", "/v0/token"] {
        assert_refused(post(&gateway, path, "Bearer unknown").await, 401, "caller_unknown").await;
    }
    assert_eq!(gateway.sandbox.received_total(), 0);
    let reply = post(&gateway, LIST, "bearer key-of-a").await;
    assert_eq!(reply.status(), 200);
    assert!(!gateway.last().headers["authorization"].to_str().unwrap().contains("key-of-a"));
}

#[tokio::test]
async fn rules_allow_their_paths_and_no_variant_of_other_paths() {
    let rules = ["POST /v0/bank/credentials/*", "GET /v0/bank/available"];
    let allow = Some(rules.iter().map(|rule| rule.parse().unwrap()).collect());
    let gateway = spawn(vec![CallerConfig { allow, ..caller("a") }, caller("b")]).await;
    assert_eq!(post(&gateway, LIST, "Bearer key-of-a").await.status(), 200);
    let search = "/letters/v1/search-letters";
    for path in [
        search,
        "/v0/bank/credentials/list/",
        "/v0/bank/credentials/a/b",
        "/v0/bank/credentials/a%2Fb",
        "/v0/bank/credentials%2Flist",
        "/V0/bank/credentials/list",
        "/v0/bank/credentials;/list",
        "/v0/token;x",
    ] {
        assert_refused(post(&gateway, path, "Bearer key-of-a").await, 403, "caller_forbidden").await;
    }
    for path in [
        "/v0/bank/credentials/../token",
        "/v0/bank/credentials/%2e%2e/token",
        "/v0/bank/credentials/..;/token",
        "/v0/bank//credentials/list",
    ] {
        let raw = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key-of-a\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        assert_refused_raw(&gateway.raw(raw).await, 400, "malformed_target");
    }
    assert_eq!(gateway.sandbox.received_total(), 1);
    // Another caller may use the same path.
    let reply = post(&gateway, search, "Bearer key-of-b").await;
    assert!(reply.headers()["proxy-status"].to_str().unwrap().contains("received-status="));
}

#[tokio::test]
async fn with_enforce_off_a_violation_passes_and_is_counted() {
    let allow = Some(vec!["GET /v0/bank/available".parse().unwrap()]);
    let gateway = spawn(vec![CallerConfig { allow, enforce: false, ..caller("a") }]).await;
    assert_eq!(post(&gateway, LIST, "Bearer key-of-a").await.status(), 200);
    let metrics = gateway.admin("/metrics").await.1;
    let counted = r#"jwe_gateway_caller_refusals_total{caller="a",reason="path",enforced="false"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_caller_over_its_rate_gets_a_retry_after() {
    let gateway = spawn(vec![CallerConfig { requests_per_second: Some(1), ..caller("a") }, caller("b")]).await;
    gateway.ready().await;
    assert_eq!(post(&gateway, LIST, "Bearer key-of-a").await.status(), 200);
    // If a second passes between two requests, the next one exceeds the rate.
    let mut reply = post(&gateway, LIST, "Bearer key-of-a").await;
    while reply.status() == 200 {
        reply = post(&gateway, LIST, "Bearer key-of-a").await;
    }
    assert_eq!(reply.headers()["retry-after"], "1");
    assert_refused(reply, 429, "caller_throttled").await;
    assert_eq!(post(&gateway, LIST, "Bearer key-of-b").await.status(), 200, "each caller has its own rate");
}

#[tokio::test]
async fn a_caller_holds_its_permit_until_its_response_is_delivered() {
    let gateway = spawn(vec![CallerConfig { concurrent: Some(1), ..caller("a") }]).await;
    gateway.ready().await;
    gateway.sandbox.arm_times(Fault::Api(ApiFault::SlowHead { delay_ms: 60_000 }), 1);
    let hanging = gateway.json("POST", LIST, "{}").header("authorization", "Bearer key-of-a");
    let hanging = tokio::spawn(hanging.send());
    eventually("the provider has the request", async || gateway.sandbox.received_total() == 1).await;
    let reply = post(&gateway, LIST, "Bearer key-of-a").await;
    assert_eq!(reply.headers()["retry-after"], "1");
    assert_refused(reply, 429, "caller_throttled").await;
    hanging.abort();
}

#[tokio::test]
async fn a_client_of_the_provider_gets_a_token_from_the_gateway_and_its_bodies_are_sealed() {
    let gateway = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![caller("portfolio"), caller("other")];
        config.upstreams[0].token_endpoint = TokenEndpoint::Emulate;
    })
    .await;
    gateway.ready().await;
    let ask = async |id: &str, secret: &str| {
        let token_request = json!({ "client_id": id, "client_secret": secret, "grant_type": "client_credentials" });
        gateway.json("POST", "/v0/token", token_request.to_string()).send().await.unwrap()
    };
    let granted: Value = {
        let reply = ask("portfolio", "key-of-portfolio").await;
        assert_eq!((reply.status().as_u16(), reply.headers()["cache-control"].to_str().unwrap()), (200, "no-store"));
        serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
    };
    assert_eq!((granted["token_type"].as_str(), granted["expires_in"].as_u64()), (Some("Bearer"), Some(3600)));
    assert_eq!(granted["scope"], "credentials letters links", "the scope that the provider granted to the gateway");
    let token = granted["access_token"].as_str().unwrap();
    let reply = post(&gateway, LIST, &format!("Bearer {token}")).await;
    assert_eq!(reply.status(), 200);
    let received = gateway.last();
    assert!(received.opened.is_some());
    assert!(
        !received.headers["authorization"].to_str().unwrap().contains(token),
        "the provider must receive the token that it issued"
    );

    for (id, secret) in [("portfolio", "key-of-other"), ("unknown", "key-of-other"), ("portfolio", "")] {
        assert_refused(ask(id, secret).await, 401, "caller_unknown").await;
    }
    let bad = gateway.json("POST", "/v0/token", "{").send().await.unwrap();
    assert_refused(bad, 400, "malformed_token_request").await;
    let get = gateway.request("GET", "/v0/token").send().await.unwrap();
    assert_refused(get, 400, "malformed_token_request").await;
    let large = gateway.json("POST", "/v0/token", " ".repeat(70_000)).send().await.unwrap();
    assert_refused(large, 413, "body_too_large").await;
    let mut tampered = token.to_owned();
    tampered.replace_range(10..11, if &token[10..11] == "A" { "B" } else { "A" });
    assert_refused(post(&gateway, LIST, &format!("Bearer {tampered}")).await, 401, "caller_unknown").await;
    assert_eq!(gateway.sandbox.token_requests(), 1, "only the gateway's own request");
}

#[tokio::test]
async fn a_token_request_that_carries_an_old_token_gets_a_new_one() {
    let gateway = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![caller("a")];
        config.upstreams[0].token_endpoint = TokenEndpoint::Emulate;
    })
    .await;
    let token_request = json!({ "client_id": "a", "client_secret": "key-of-a", "grant_type": "client_credentials" });
    let request = gateway.json("POST", "/v0/token", token_request.to_string()).header("authorization", "Bearer old");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_of_the_provider_works_through_a_sidecar_and_an_egress() {
    let egress = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![caller("sidecar")];
        config.upstreams[0].encryption = Encryption::RequireSealed;
    })
    .await;
    let mut config = crate::chain::sidecar_config(&egress, Some("key-of-sidecar"));
    config.gateway.callers = vec![caller("a")];
    config.upstreams[0].token_endpoint = TokenEndpoint::Emulate;
    let sidecar = Served::start(config).await;
    let token_request = json!({ "client_id": "a", "client_secret": "key-of-a", "grant_type": "client_credentials" });
    let granted = sidecar.json("POST", "/v0/token", token_request.to_string()).send().await.unwrap();
    let granted: Value = serde_json::from_slice(&granted.bytes().await.unwrap()).unwrap();
    let request = sidecar.json("POST", LIST, "{}").bearer_auth(granted["access_token"].as_str().unwrap());
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert!(egress.last().opened.is_some());
}

#[tokio::test]
async fn clients_without_a_key_that_send_slowly_keep_no_caller_from_a_token() {
    let gateway = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![caller("a")];
        config.upstreams[0].token_endpoint = TokenEndpoint::Emulate;
        config.gateway.limits.in_flight = 8;
        config.gateway.limits.buffered = config.gateway.limits.max_body;
    })
    .await;
    gateway.ready().await;
    let head = "POST /v0/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\
                Expect: 100-continue\r\n\r\n";
    let mut slow_clients = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // The gateway has begun to read the body.
        let mut interim = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(interim, *b"HTTP/1.1 100 Continue\r\n\r\n", "{}", String::from_utf8_lossy(&interim));
        stream.write_all(b"{").await.unwrap();
        slow_clients.push(stream);
    }
    let token_request =
        json!({ "client_id": "a", "client_secret": "key-of-a", "grant_type": "client_credentials" }).to_string();
    for _ in 0..20 {
        assert_eq!(gateway.json("POST", "/v0/token", token_request.clone()).send().await.unwrap().status(), 200);
        assert_eq!(post(&gateway, LIST, "Bearer key-of-a").await.status(), 200);
    }
    // The body of a token request must arrive within a second.
    for mut stream in slow_clients {
        assert_refused_raw(&RawAnswer::read(&mut stream).await, 408, "request_timeout");
    }
}

#[tokio::test]
async fn token_and_key_set_requests_need_no_rule_and_count_towards_the_limits() {
    let gateway = TestGateway::spawn_with(|config| {
        let allow = Some(Vec::new());
        let limited = CallerConfig { allow, requests_per_second: Some(1), ..caller("a") };
        config.gateway.callers = vec![limited, caller("b")];
        config.upstreams[0].encryption = Encryption::RequireSealed;
        config.upstreams[0].token_endpoint = TokenEndpoint::Emulate;
    })
    .await;
    gateway.ready().await;
    let token_request =
        json!({ "client_id": "a", "client_secret": "key-of-a", "grant_type": "client_credentials" }).to_string();
    let token = || gateway.json("POST", "/v0/token", token_request.clone());
    let key_set = || gateway.request("GET", "/.well-known/jwks.json").header("authorization", "Bearer key-of-a");
    for request in [&token as &dyn Fn() -> reqwest::RequestBuilder, &key_set] {
        // If a second passes between two requests, the next one exceeds the rate.
        let mut reply = request().send().await.unwrap();
        while reply.status() == 200 {
            reply = request().send().await.unwrap();
        }
        assert_refused(reply, 429, "caller_throttled").await;
    }
    let other = gateway.request("GET", "/.well-known/jwks.json").header("authorization", "Bearer key-of-b");
    assert_eq!(other.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_sidecar_presents_its_key_to_the_egress_with_requests_and_key_fetches() {
    let egress = TestGateway::spawn_with(|config: &mut Config| {
        config.gateway.callers = vec![caller("sidecar")];
        config.upstreams[0].encryption = Encryption::RequireSealed;
    })
    .await;
    let key_set = egress.request("GET", "/.well-known/jwks.json").send().await.unwrap();
    assert_refused(key_set, 401, "caller_unknown").await;
    let sidecar = crate::chain::sidecar_before(&egress, Some("key-of-sidecar")).await;
    let reply = sidecar.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(egress.last().plaintext, "{}");
}

#[tokio::test]
async fn a_certificate_authenticates_its_caller_and_an_unknown_one_does_not() {
    let authority = Authority::new();
    let by_certificate = CallerConfig { certificate: Some("portfolio.test".into()), ..CallerConfig::new("a") };
    let gateway = TestGateway::spawn_with(|config| {
        authority.serve_mtls(config);
        // Caller a presents a certificate, caller b a key.
        config.gateway.listen.tls.as_mut().unwrap().require_client_certificate = false;
        config.gateway.callers = vec![by_certificate, caller("b")];
    })
    .await;
    let named = |name: &str| {
        let name = rcgen::SanType::DnsName(name.try_into().unwrap());
        authority.issue_with(|params| params.subject_alt_names.push(name))
    };
    let (known, unknown) = (named("portfolio.test"), named("other.test"));
    let post = async |pair, key: Option<&str>| {
        let client = client(authority.caller(rustls::ALL_VERSIONS, &[b"h2"], pair));
        let request = client.post(format!("https://{}{LIST}", gateway.address));
        let request = request.header("content-type", "application/json").body("{}");
        let request = match key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        };
        request.send().await.unwrap()
    };
    assert_eq!(post(Some(&known), None).await.status(), 200);
    assert_eq!(post(None, Some("key-of-b")).await.status(), 200);
    assert_refused(post(Some(&unknown), None).await, 401, "caller_unknown").await;
    assert_refused(post(None, None).await, 401, "caller_unknown").await;
    assert_refused(post(Some(&known), Some("wrong")).await, 401, "caller_unknown").await;
}

#[tokio::test]
async fn a_sidecar_connects_to_its_egress_with_a_client_certificate() {
    let authority = Authority::new();
    let egress = TestGateway::spawn_with(|config: &mut Config| {
        authority.serve_mtls(config);
        let certificate = Some("sidecar.test".into());
        config.gateway.callers = vec![CallerConfig { certificate, ..CallerConfig::new("sidecar") }];
        config.upstreams[0].encryption = Encryption::RequireSealed;
    })
    .await;
    authority.put_client("sidecar.test");
    let sidecar = Served::start(crate::chain::mtls_sidecar_config(&egress, &authority)).await;
    let reply = sidecar.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(egress.last().plaintext, "{}");
}
