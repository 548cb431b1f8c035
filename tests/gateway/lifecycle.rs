//! Start, readiness and shutdown.

use std::time::Duration;

use jwe_gateway::app::{App, BuildError, Dependencies, Shutdown};
use jwe_gateway::config::Config;
use jwe_gateway::sandbox::{Options, Sandbox};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{PATIENCE, RawAnswer, TestGateway, assert_refused_raw, config, eventually};

const LIST: &str = "/v0/bank/credentials/list";

#[tokio::test]
async fn a_gateway_with_a_key_and_a_token_is_alive_and_ready() {
    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    assert_eq!(gateway.admin("/livez").await.0, 200);
    let (_, body) = gateway.admin("/readyz").await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), serde_json::json!({"ready": true, "missing": []}));
    assert_eq!(gateway.admin("/elsewhere").await.0, 404);
}

#[tokio::test]
async fn without_a_provider_the_gateway_is_alive_and_not_ready_with_a_reason() {
    let unused = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].keys.source =
            jwe_gateway::config::KeysSource::Url(format!("http://{unused}/").parse().unwrap());
    })
    .await;
    assert_eq!(gateway.admin("/livez").await.0, 200);
    eventually("only the key is missing", async || {
        let (status, body) = gateway.admin("/readyz").await;
        status == 503 && body.contains("sandbox: no key:") && !body.contains("no token")
    })
    .await;
}

#[tokio::test]
async fn the_metrics_show_keys_tokens_and_their_changes() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    let fresh = gateway.sandbox.rotate(jwe_gateway::sandbox::Rotation::HardCut).await.unwrap();
    gateway.sandbox.revoke_tokens();
    gateway.assert_still_serves().await;
    let (status, text) = gateway.admin("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "jwe_gateway_jwks_fetches_total{upstream=\"sandbox\",result=\"ok\"} 2.0",
        "jwe_gateway_jwks_fetches_total{upstream=\"sandbox\",result=\"failed\"} 0.0",
        "jwe_gateway_jwks_changes_total{upstream=\"sandbox\"} 2.0",
        "jwe_gateway_jwks_keys{upstream=\"sandbox\",state=\"usable\"} 1.0",
        &format!("jwe_gateway_jwks_key_info{{upstream=\"sandbox\",kid=\"{fresh}\",active=\"true\"}} 1.0"),
        "jwe_gateway_jwks_serving_stale{upstream=\"sandbox\"} 0.0",
        "jwe_gateway_ready{upstream=\"sandbox\"} 1.0",
        "jwe_gateway_token_fetches_total{upstream=\"sandbox\",result=\"ok\"} 2.0",
        "jwe_gateway_token_refusals_total{upstream=\"sandbox\"} 1.0",
        "# EOF",
    ] {
        assert!(text.lines().any(|present| present == line), "{line} in:\n{text}");
    }
    assert!(text.contains("jwe_gateway_token_life_seconds{upstream=\"sandbox\"} 3"), "{text}");
}

#[tokio::test]
async fn the_listener_for_callers_forwards_the_paths_of_the_admin_listener() {
    let gateway = TestGateway::spawn().await;
    let reply = gateway.request("GET", "/readyz").send().await.unwrap();
    assert_eq!(reply.headers()["proxy-status"], "jwe-gateway; received-status=404");
}

#[tokio::test]
async fn a_gateway_becomes_ready_when_its_provider_starts_later() {
    let reserved = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = reserved.local_addr().unwrap();
    let url: url::Url = format!("http://{address}").parse().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        let upstream = &mut config.upstreams[0];
        upstream.keys.source = jwe_gateway::config::KeysSource::Url(url.join("/.well-known/jwks.json").unwrap());
        upstream.keys.backoff_max = Duration::from_millis(50);
        upstream.keys.backoff_min = Duration::from_millis(50);
        upstream.upstream.url = url;
    })
    .await;
    assert_eq!(gateway.admin("/readyz").await.0, 503);
    drop(reserved);
    let _late = Sandbox::start(Options { address, ..Options::default() }).await.unwrap();
    gateway.ready().await;
}

#[tokio::test]
async fn a_request_in_flight_is_finished_after_the_gateway_stops_accepting() {
    let mut gateway = TestGateway::spawn().await;
    let mut caller = in_flight(&gateway).await;
    gateway.stop(Shutdown::AfterDelay);
    eventually("the gateway stops accepting", async || TcpStream::connect(gateway.address).await.is_err()).await;
    caller.write_all(b"{}").await.unwrap();
    let answer = RawAnswer::read(&mut caller).await;
    assert_eq!(answer.status, 200);
    assert!(answer.closed);
    gateway.ended().await;
}

#[tokio::test]
async fn during_drain_delay_requests_are_served_with_connection_close() {
    let mut gateway = TestGateway::spawn_with(|config| config.gateway.deadlines.drain_delay = PATIENCE).await;
    gateway.ready().await;
    gateway.stop(Shutdown::AfterDelay);
    eventually("not ready", async || gateway.admin("/readyz").await.0 == 503).await;
    assert!(gateway.admin("/readyz").await.1.contains("stopping"));
    let answer = gateway.raw("GET /v0/bank/available HTTP/1.1\r\nHost: g\r\n\r\n").await;
    assert_eq!((answer.status, answer.headers["connection"].to_str().unwrap()), (200, "close"));
}

#[tokio::test]
async fn a_request_that_exceeds_the_drain_deadline_is_refused() {
    let mut gateway =
        TestGateway::spawn_with(|config| config.gateway.deadlines.drain = Duration::from_millis(50)).await;
    let mut caller = in_flight(&gateway).await;
    gateway.stop(Shutdown::AfterDelay);
    let answer = RawAnswer::read(&mut caller).await;
    assert_refused_raw(&answer, 503, "draining");
    assert!(answer.body.contains("nothing was sent"), "the body was incomplete: {answer:?}");
    gateway.ended().await;
}

#[tokio::test]
async fn a_successor_binds_a_shared_port_while_its_predecessor_serves_and_takes_over() {
    let share = |config: &mut Config| config.gateway.listen.reuse_port = true;
    let mut predecessor = TestGateway::spawn_with(share).await;
    let address = predecessor.address;
    let at_the_same_port = |config: &mut Config| config.gateway.listen.address = address.into();
    let other = Sandbox::start(Options::default()).await.unwrap();
    let mut exclusive = config(&other);
    at_the_same_port(&mut exclusive);
    let refused = App::build(exclusive, Dependencies::default()).await.unwrap_err();
    assert!(matches!(refused, BuildError::Bind { what: "listen.address", .. }), "{refused}");

    let mut caller = in_flight(&predecessor).await;
    let successor = TestGateway::spawn_with(|config| {
        share(config);
        at_the_same_port(config);
    })
    .await;
    predecessor.stop(Shutdown::AfterDelay);
    eventually("the successor gets all new connections", async || {
        successor.sandbox.forget_received();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = "GET /v0/bank/available HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n";
            // The predecessor resets a connection that it has not accepted when it closes its listener.
            let _ = stream.write_all(request.as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        successor.received().len() == 20
    })
    .await;
    caller.write_all(b"{}").await.unwrap();
    assert_eq!(RawAnswer::read(&mut caller).await.status, 200, "the predecessor finishes its request");
    predecessor.ended().await;
    successor.assert_still_serves().await;
}

/// Sends the head of a request and waits until the gateway asks for the body of two bytes.
pub(crate) async fn in_flight(gateway: &TestGateway) -> TcpStream {
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST {LIST} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    // The gateway asks for the body, so the request is in flight.
    let mut continued = [0; 25];
    caller.read_exact(&mut continued).await.unwrap();
    assert_eq!(&continued, b"HTTP/1.1 100 Continue\r\n\r\n");
    caller
}
