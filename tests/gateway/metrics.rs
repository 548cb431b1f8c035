//! What a scrape says about requests, limits, connections and fetches, also after bad input.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jwe_gateway::app::Phase;
use jwe_gateway::config::{CallerConfig, Config, CredentialsConfig};
use jwe_gateway::sandbox::{Fault, KeySetFault};
use jwe_gateway::secret::{Secret, SecretSource};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::callers::caller;
use crate::harness::{Served, TestGateway, eventually};
use crate::upstream_faults::ScriptedApi;

const LIST: &str = "/v0/bank/credentials/list";

/// The samples of one scrape: name and labels as written, and the value.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// Scrapes in the classic format. Asserts that every line is well-formed, and that no sample is there twice.
    async fn of(gateway: &Served) -> Self {
        let (status, text) = gateway.admin("/metrics").await;
        assert_eq!(status, 200);
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert_labels(labels.strip_suffix('}').unwrap_or_else(|| panic!("open labels: {line}")));
            let value = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
        }
        Self(samples)
    }

    fn value(&self, sample: &str) -> f64 {
        *self.0.get(sample).unwrap_or_else(|| panic!("{sample} is not in {:#?}", self.0))
    }
}

/// Asserts that the text is a list of `name="value"`, with every quote and line break in a value escaped.
fn assert_labels(labels: &str) {
    let mut rest = labels;
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("{labels}"));
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{labels}");
        let mut is_escaped = false;
        let end = quoted.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        });
        rest = &quoted[end.unwrap_or_else(|| panic!("{labels}")) + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// Waits until a sample has this value: a record may end a moment after the response.
async fn eventually_is(gateway: &Served, sample: &str, value: f64) {
    eventually(sample, async || Scrape::of(gateway).await.0.get(sample) == Some(&value)).await;
}

fn requests(upstream: &str, labels: [&str; 5]) -> String {
    let [method, status, origin, code, caller] = labels;
    format!(
        "jwe_gateway_http_requests_total{{upstream=\"{upstream}\",method=\"{method}\",status=\"{status}\",origin=\"{origin}\",code=\"{code}\",caller=\"{caller}\"}}"
    )
}

#[tokio::test]
async fn each_request_is_counted_with_its_origin_and_code_and_its_bytes_and_phases() {
    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    let reply = gateway.json("POST", LIST, "{}").send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let length = reply.bytes().await.unwrap().len() as f64;
    assert_eq!(gateway.json("POST", "/v0/token", "{}").send().await.unwrap().status(), 403);
    assert_eq!(gateway.request("BREW", LIST).send().await.unwrap().status(), 405);
    eventually_is(&gateway, &requests("sandbox", ["POST", "200", "upstream", "", ""]), 1.0).await;
    eventually_is(&gateway, &requests("sandbox", ["POST", "403", "gateway", "caller_forbidden", ""]), 1.0).await;
    eventually_is(&gateway, &requests("", ["_OTHER", "405", "gateway", "method_not_allowed", ""]), 1.0).await;
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.value("jwe_gateway_http_request_body_bytes_total{upstream=\"sandbox\"}"), 2.0);
    assert!(scrape.value("jwe_gateway_http_response_body_bytes_total{upstream=\"sandbox\"}") > length);
    assert_eq!(scrape.value("jwe_gateway_http_request_duration_seconds_count{upstream=\"sandbox\"}"), 2.0);
    for (phase, count) in [(Phase::Body, 1.0), (Phase::Seal, 1.0), (Phase::Provider, 1.0), (Phase::Relay, 1.0)] {
        let name = format!(
            "jwe_gateway_http_request_phase_duration_seconds_count{{upstream=\"sandbox\",phase=\"{}\"}}",
            phase.as_str()
        );
        assert_eq!(scrape.value(&name), count, "{name}");
    }
}

#[tokio::test]
async fn a_request_in_flight_uses_its_limits_and_is_counted_when_its_caller_leaves() {
    let api = ScriptedApi::start(b"", false).await;
    let url = api.url().parse().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].upstream.url = url;
        config.gateway.limits.in_flight = 4;
    })
    .await;
    gateway.ready().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request =
        format!("POST {LIST} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
    eventually_is(&gateway, "jwe_gateway_upstream_requests_in_flight{upstream=\"sandbox\"}", 1.0).await;
    let scrape = Scrape::of(&gateway).await;
    for (name, value) in [
        ("jwe_gateway_requests_in_flight", 1.0),
        ("jwe_gateway_requests_in_flight_limit", 4.0),
        ("jwe_gateway_connections", 1.0),
        ("jwe_gateway_upstream_requests_in_flight_limit{upstream=\"sandbox\"}", 4.0),
        ("jwe_gateway_upstream_responses{upstream=\"sandbox\"}", 1.0),
        ("jwe_gateway_upstream_responses_limit{upstream=\"sandbox\"}", 8.0),
        ("jwe_gateway_saturation_ratio", 0.25),
    ] {
        assert_eq!(scrape.value(name), value, "{name}");
    }
    assert!(scrape.value("jwe_gateway_buffered_bytes{upstream=\"sandbox\"}") >= 2.0);
    drop(stream);
    eventually_is(&gateway, &requests("sandbox", ["POST", "", "", "", ""]), 1.0).await;
    let left = "jwe_gateway_http_responses_incomplete_total{upstream=\"sandbox\",outcome=\"caller_left\"}";
    eventually_is(&gateway, left, 1.0).await;
    eventually_is(&gateway, "jwe_gateway_requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn connections_to_the_provider_are_counted_as_opened_reused_and_failed() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    gateway.assert_still_serves().await;
    let of = |what: &str| format!("jwe_gateway_upstream_connections_{what}_total{{upstream=\"sandbox\"}}");
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.value(&of("opened")) + scrape.value(&of("reused")), 2.0);
    assert_eq!((scrape.value(&of("failed")), scrape.value(&of("opened")) >= 1.0), (0.0, true));

    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let gateway =
        TestGateway::spawn_with(|config| config.upstreams[0].upstream.url = format!("http://{port}").parse().unwrap());
    let gateway = gateway.await;
    gateway.ready().await;
    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 502);
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.value(&of("opened")), 0.0);
    // A refused connection is tried again for two seconds.
    assert!(scrape.value(&of("failed")) >= 2.0);
    let retries = "jwe_gateway_upstream_retries_total{upstream=\"sandbox\",reason=\"connection\"}";
    assert!(scrape.value(retries) >= 1.0);
}

#[tokio::test]
async fn failed_fetches_are_counted_by_reason_and_times_are_timestamps() {
    let refused = SecretSource::Value(Secret::new("wrong".to_owned()));
    let gateway = TestGateway::spawn_with(|config| {
        let CredentialsConfig::ClientCredentials(credentials) = &mut config.upstreams[0].credentials else { panic!() };
        credentials.client_secret = refused;
    })
    .await;
    let token = "jwe_gateway_token_fetches_total{upstream=\"sandbox\",result=\"failed\",reason=\"refused\"}";
    eventually_is(&gateway, token, 1.0).await;

    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    let scrape = Scrape::of(&gateway).await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    for (name, from, to) in [
        ("jwe_gateway_jwks_last_success_timestamp_seconds", -60.0, 0.1),
        ("jwe_gateway_jwks_expires_timestamp_seconds", 1.0, 3601.0),
        ("jwe_gateway_token_last_success_timestamp_seconds", -60.0, 0.1),
        ("jwe_gateway_token_expires_timestamp_seconds", 1.0, 24.0 * 3600.0),
    ] {
        let after = scrape.value(&format!("{name}{{upstream=\"sandbox\"}}")) - now;
        assert!((from..=to).contains(&after), "{name} is {after} s from now");
    }
    gateway.sandbox.arm(Fault::KeySet(KeySetFault::ServerError));
    let outdated = gateway.seal("{}");
    gateway.sandbox.rotate(jwe_gateway::sandbox::Rotation::HardCut).await.unwrap();
    let request = gateway.request("POST", LIST).header("content-type", "application/jose").body(outdated);
    assert_eq!(request.send().await.unwrap().status(), 400);
    let fetches = "jwe_gateway_jwks_fetches_total{upstream=\"sandbox\",result=\"failed\",reason=\"status\"}";
    assert!(Scrape::of(&gateway).await.value(fetches) >= 1.0);
}

#[tokio::test]
async fn no_bad_input_of_a_caller_gets_into_a_label_or_breaks_a_line() {
    let hostile = "a\"} 1\n# TYPE evil counter\nevil_total 1\\".to_owned();
    let name = hostile + &"x".repeat(10_000);
    let allow = Some(vec!["GET /nothing".parse().unwrap()]);
    let gateway = TestGateway::spawn_with(|config: &mut Config| {
        config.gateway.callers = vec![CallerConfig { name: name.clone(), allow, ..caller("a") }];
    })
    .await;
    gateway.ready().await;
    let path = format!("/canary%22%7D%0A{}", "y".repeat(10_000));
    for method in ["GET", "POST", "CANARY", "C\"A"] {
        let head = format!(
            "{method} {path}?canary=\"1\" HTTP/1.1\r\nHost: canary\r\nAuthorization: Bearer key-of-a\r\n\
             X-Request-Id: canary\"\r\nTraceparent: canary\r\nContent-Type: canary\r\nContent-Length: 0\r\n\r\n"
        );
        gateway.raw(head).await;
    }
    let (_, text) = gateway.admin("/metrics").await;
    assert!(!text.contains("canary") && !text.contains("CANARY") && !text.contains("yyyy"), "{text}");
    assert!(!text.lines().any(|line| line.contains("evil") && !line.contains("caller=\"a\\\"} 1\\n# TYPE")), "{text}");
    let scrape = Scrape::parse(&text);
    assert!(scrape.0.keys().any(|sample| sample.contains("reason=\"path\",enforced=\"true\"")));
}

#[tokio::test]
async fn a_scraper_gets_the_format_that_it_prefers() {
    let gateway = TestGateway::spawn().await;
    gateway.assert_still_serves().await;
    let scrape = async |accept: &str| {
        let client = reqwest_client();
        let reply = client.get(format!("http://{}/metrics", gateway.admin)).header("accept", accept).send();
        let reply = reply.await.unwrap();
        let content_type = reply.headers()["content-type"].to_str().unwrap().to_owned();
        (content_type, reply.text().await.unwrap())
    };
    let (content_type, openmetrics) = scrape("application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(openmetrics.ends_with("\n# EOF\n") && openmetrics.contains("# TYPE process_cpu_seconds counter\n"));
    let (content_type, classic) = scrape("text/plain").await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert!(!classic.contains("# EOF") && classic.contains("# TYPE process_cpu_seconds_total counter\n"));
    assert_eq!(Scrape::parse(&openmetrics).0.len(), Scrape::parse(&classic).0.len());
}

fn reqwest_client() -> reqwest::Client {
    jwe_gateway::app::Connector::new(None).unwrap().control_client().unwrap()
}

#[tokio::test]
async fn the_metrics_of_the_process_are_plausible() {
    let gateway = TestGateway::spawn().await;
    let scrape = Scrape::of(&gateway).await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let age = now - scrape.value("process_start_time_seconds");
    assert!((-2.0..Duration::from_secs(86_400).as_secs_f64()).contains(&age), "{age}");
    assert!(scrape.value("process_cpu_seconds_total") > 0.0 && scrape.value("process_threads") >= 1.0);
    assert!(scrape.value("process_open_fds") <= scrape.value("process_max_fds"));
    let build = scrape.0.keys().find(|sample| sample.starts_with("jwe_gateway_build_info")).unwrap();
    assert!(build.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))), "{build}");
}
