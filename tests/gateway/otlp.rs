//! The export of spans to a collector: what it gets, and what happens if it does not answer.

use std::collections::BTreeMap;
use std::time::Duration;

use jwe_gateway::app::Shutdown;
use jwe_gateway::config::{Config, Encryption, Sampler, TracesConfig};
use jwe_gateway::sandbox::{Fault, Options, Rotation, Sandbox, TokenFault};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use tokio::net::TcpListener;
use tokio::time::Instant;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::chain::sidecar_config;
use crate::documents::{document, table};
use crate::harness::{Served, TestGateway, eventually};
use crate::process::{self, Running};

const LIST: &str = "/v0/bank/credentials/list";

/// A collector that accepts everything.
struct Collector(MockServer);

impl Collector {
    async fn start() -> Self {
        let server = MockServer::start().await;
        let accept = Mock::given(method("POST")).and(path("/v1/traces"));
        let accept = accept.and(header("content-type", "application/x-protobuf"));
        accept.respond_with(ResponseTemplate::new(200)).mount(&server).await;
        Self(server)
    }

    /// What it has received so far.
    async fn exports(&self) -> Vec<ExportTraceServiceRequest> {
        let requests = self.0.received_requests().await.unwrap();
        requests.iter().map(|request| ExportTraceServiceRequest::decode(&*request.body).unwrap()).collect()
    }

    async fn spans(&self) -> Vec<Span> {
        let resources = self.exports().await.into_iter().flat_map(|export| export.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// Waits until it has a number of server spans. Returns all spans of requests.
    async fn spans_with_servers(&self, count: usize) -> Vec<Span> {
        let is_server = |span: &&Span| span.kind() == SpanKind::Server;
        eventually("the spans", async || self.spans().await.iter().filter(is_server).count() >= count).await;
        let is_fetch = |span: &Span| span.attributes.iter().any(|attribute| attribute.key == "jwe_gateway.fetch");
        self.spans().await.into_iter().filter(|span| !is_fetch(span)).collect()
    }

    /// Makes a gateway export its spans to this collector.
    fn receive_from(&self, config: &mut Config) {
        export_to(&format!("{}/v1/traces", self.0.uri()), config);
    }
}

fn export_to(endpoint: &str, config: &mut Config) {
    let delay = Duration::from_millis(10);
    config.traces = Some(TracesConfig { endpoint: Some(endpoint.to_owned()), delay, ..TracesConfig::default() });
    config.gateway.sampler = Some(Sampler::default());
}

/// The only span of this kind with this name.
fn find<'a>(spans: &'a [Span], kind: SpanKind, name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.kind() == kind && span.name == name).collect();
    assert_eq!(found.len(), 1, "{kind:?} {name}: {spans:#?}");
    found[0]
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()).unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.as_str(), text(&attribute.value))).collect()
}

fn counter(metrics: &str, name: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
}

async fn metrics(gateway: &Served) -> (u64, u64) {
    let (_, text) = gateway.admin("/metrics").await;
    let counter = |name| counter(&text, name);
    (counter("jwe_gateway_trace_spans_exported_total"), counter("jwe_gateway_trace_spans_dropped_total"))
}

async fn send(gateway: &Served) {
    assert_eq!(gateway.json("POST", LIST, "{}").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_exports_as_the_standard_variables_say_and_nothing_secret() {
    let collector = Collector::start().await;
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut command = process::gateway(&sandbox, "0s");
    command
        .env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.0.uri())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=canary-key")
        .env("OTEL_SERVICE_NAME", "egress")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    let gateway = Running::start(command);
    let client = jwe_gateway::app::Connector::new(None).unwrap().control_client().unwrap();
    let request = client.post(format!("http://{}{LIST}?token=canary-query", gateway.gateway));
    let request = request.header("content-type", "application/json").header("user-agent", "svc/1");
    let request = request.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(request.body(r#"{"x":"canary-body"}"#).send().await.unwrap().status(), 200);
    gateway.signal("TERM");
    let (code, _) = tokio::task::spawn_blocking(move || gateway.end()).await.unwrap();
    assert_eq!(code, Some(0));

    let exports = collector.exports().await;
    let resource = attributes(&exports[0].resource_spans[0].resource.as_ref().unwrap().attributes).clone();
    assert_eq!((&*resource["service.name"], &*resource["deployment.environment.name"]), ("egress", "test"));
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    let spans = collector.spans().await;
    let server = find(&spans, SpanKind::Server, "POST 127.0.0.1");
    assert_eq!(server.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(server.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    let found = attributes(&server.attributes);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("url.path", LIST),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "svc/1"),
        ("http.response.status_code", "200"),
        ("http.request.body.size", "19"),
        ("jwe_gateway.origin", "upstream"),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    assert!(!found.contains_key("error.type"));
    let attempt = find(&spans, SpanKind::Client, "POST");
    assert_eq!((&attempt.parent_span_id, &attempt.trace_id), (&server.span_id, &server.trace_id));
    let received = sandbox.received().into_iter().find(|call| call.target.starts_with(LIST)).unwrap();
    let traceparent = received.headers["traceparent"].to_str().unwrap();
    assert_eq!(traceparent[36..52], hex(&attempt.span_id), "the provider has got the id of this span");
    let found = attributes(&attempt.attributes);
    assert_eq!(found["url.full"], format!("{}{LIST}", sandbox.url()));
    assert_eq!((&*found["server.address"], &*found["http.response.status_code"]), ("127.0.0.1", "200"));
    for name in ["body", "seal", "relay"] {
        assert_eq!(find(&spans, SpanKind::Internal, name).parent_span_id, server.span_id, "{name}");
    }
    let requests = collector.0.received_requests().await.unwrap();
    assert_eq!(requests[0].headers["x-collector-key"], "canary-key");
    for canary in ["canary-query", "canary-body", "canary-key", sandbox.client_secret()] {
        let has_it = |body: &[u8]| body.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!requests.iter().any(|request| has_it(&request.body)), "{canary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_address_of_the_collector_stops_the_start_and_its_password_is_not_shown() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut command = process::gateway(&sandbox, "0s");
    command
        .env("JWE_GATEWAY_CLIENT_SECRET", sandbox.client_secret())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:canary'password@collector name:4318");
    let (code, output) = Running::spawn(command).end();
    assert!(
        code == Some(78) && output.contains("OTEL_EXPORTER_OTLP_ENDPOINT: invalid endpoint: "),
        "{code:?} {output}"
    );
    for hidden in ["user", "canary", "password", "collector name"] {
        assert!(!output.contains(hidden), "{output}");
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn each_attempt_has_a_span_and_failures_have_a_type() {
    let collector = Collector::start().await;
    let gateway = TestGateway::spawn_with(|config| collector.receive_from(config)).await;
    send(&gateway).await;
    gateway.sandbox.rotate(Rotation::HardCut).await.unwrap();
    send(&gateway).await;
    let path = "/v0/token?secret=canary";
    assert_eq!(gateway.json("POST", path, "{}").send().await.unwrap().status(), 403);
    let spans = collector.spans_with_servers(3).await;
    let servers: Vec<_> = spans.iter().filter(|span| span.kind() == SpanKind::Server).collect();
    let children = |of: &Span| {
        let children = spans.iter().filter(|span| span.parent_span_id == of.span_id && span.trace_id == of.trace_id);
        children.collect::<Vec<_>>()
    };
    let resealed: Vec<_> = children(servers[1]).into_iter().filter(|span| span.kind() == SpanKind::Client).collect();
    let [refused, accepted] = resealed[..] else { panic!("{resealed:#?}") };
    let found = attributes(&refused.attributes);
    assert_eq!((&*found["http.response.status_code"], &*found["error.type"]), ("400", "400"));
    assert_eq!(refused.status.as_ref().unwrap().code(), StatusCode::Error);
    let found = attributes(&accepted.attributes);
    assert_eq!((&*found["http.response.status_code"], &*found["http.request.resend_count"]), ("200", "1"));
    assert!(accepted.start_time_unix_nano >= refused.end_time_unix_nano);
    assert!(children(servers[1]).iter().any(|span| span.name == "key_check"));
    let found = attributes(&servers[2].attributes);
    assert_eq!((&*found["error.type"], &*found["jwe_gateway.origin"]), ("caller_forbidden", "gateway"));
    assert!(servers[2].status.as_ref().is_none_or(|status| status.code() == StatusCode::Unset), "the caller's fault");
    let sent = async || (collector.spans().await.len() as u64, 0);
    eventually("all are counted", async || metrics(&gateway).await == sent().await).await;
}

#[tokio::test]
async fn a_sidecar_and_its_egress_make_one_trace() {
    let collector = Collector::start().await;
    let egress = TestGateway::spawn_with(|config| {
        config.upstreams[0].encryption = Encryption::RequireSealed;
        collector.receive_from(config);
    })
    .await;
    let mut config = sidecar_config(&egress, None);
    collector.receive_from(&mut config);
    config.upstreams[0].name = "egress".to_owned();
    let sidecar = Served::start(config).await;
    send(&sidecar).await;
    let is_post = |span: &&Span| span.name.starts_with("POST") && span.kind() == SpanKind::Server;
    eventually("both", async || collector.spans().await.iter().filter(is_post).count() == 2).await;
    let spans = collector.spans().await;
    let (first, second) =
        (find(&spans, SpanKind::Server, "POST egress"), find(&spans, SpanKind::Server, "POST sandbox"));
    assert_eq!(first.trace_id, second.trace_id);
    assert!(first.parent_span_id.is_empty());
    let attempt = spans.iter().find(|span| span.kind() == SpanKind::Client && span.parent_span_id == first.span_id);
    assert_eq!(second.parent_span_id, attempt.unwrap().span_id);
}

#[tokio::test]
async fn a_fetch_of_keys_or_of_a_token_has_a_trace_of_its_own() {
    let collector = Collector::start().await;
    let gateway = TestGateway::spawn_with(|config| collector.receive_from(config)).await;
    gateway.ready().await;
    let is_fetch = |span: &&Span| span.attributes.iter().any(|attribute| attribute.key == "jwe_gateway.fetch");
    eventually("both fetches", async || collector.spans().await.iter().filter(is_fetch).count() >= 2).await;
    let spans = collector.spans().await;
    let keys = find(&spans, SpanKind::Client, "GET /.well-known/jwks.json");
    let token = find(&spans, SpanKind::Client, "POST /v0/token");
    assert!(keys.trace_id != token.trace_id && keys.parent_span_id.is_empty() && token.parent_span_id.is_empty());
    let found = attributes(&token.attributes);
    assert_eq!(found["url.full"], format!("{}/v0/token", gateway.sandbox.url()));
    assert_eq!((&*found["jwe_gateway.fetch"], &*found["jwe_gateway.upstream"]), ("token", "sandbox"));
    assert!(!found.contains_key("error.type") && token.end_time_unix_nano >= token.start_time_unix_nano);

    gateway.sandbox.revoke_tokens();
    gateway.sandbox.arm(Fault::Token(TokenFault::RefuseCredentials));
    gateway.json("POST", LIST, "{}").send().await.unwrap();
    let failed = |span: &&Span| is_fetch(span) && span.attributes.iter().any(|attribute| attribute.key == "error.type");
    eventually("a failed fetch", async || collector.spans().await.iter().any(|span| failed(&span))).await;
    let spans = collector.spans().await;
    let found = attributes(&spans.iter().find(failed).unwrap().attributes);
    assert_eq!((&*found["jwe_gateway.fetch"], &*found["error.type"]), ("token", "refused"));
}

#[tokio::test]
async fn an_unsampled_request_is_not_exported() {
    let collector = Collector::start().await;
    let gateway = TestGateway::spawn_with(|config| collector.receive_from(config)).await;
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = gateway.json("POST", LIST, "{}").header("traceparent", unsampled);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert!(gateway.last().headers["traceparent"].to_str().unwrap().ends_with("-00"));
    send(&gateway).await;
    let spans = collector.spans_with_servers(1).await;
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id), "only the second request");
}

#[tokio::test]
async fn a_collector_that_hangs_costs_nothing_but_counted_spans_and_a_short_wait_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let mut gateway = TestGateway::spawn_with(|config| {
        export_to(&endpoint, config);
        config.traces.as_mut().unwrap().max_queue = 20;
    })
    .await;
    // The collector has accepted the first batch and does not answer.
    send(&gateway).await;
    let (_held, _) = listener.accept().await.unwrap();
    for _ in 0..20 {
        send(&gateway).await;
    }
    let (exported, dropped) = metrics(&gateway).await;
    assert!(exported == 0 && dropped >= 60, "{dropped} spans of at least 80 are dropped");
    let begun = Instant::now();
    gateway.stop(Shutdown::Immediate);
    gateway.ended().await;
    let waited = begun.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn an_absent_collector_costs_nothing_but_counted_spans() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    drop(listener);
    let gateway = TestGateway::spawn_with(|config| {
        export_to(&endpoint, config);
        config.traces.as_mut().unwrap().timeout = Duration::from_millis(50);
    })
    .await;
    send(&gateway).await;
    eventually("the spans are dropped", async || metrics(&gateway).await.1 >= 4).await;
    assert_eq!(metrics(&gateway).await.0, 0);
}

#[tokio::test]
async fn the_documentation_lists_the_metrics_of_the_export() {
    let collector = Collector::start().await;
    let gateway = TestGateway::spawn_with(|config| collector.receive_from(config)).await;
    let (_, text) = gateway.admin("/metrics").await;
    let documented = table(&document("docs/operations.md"), "| metric of the export | type | unit | meaning |");
    for row in &documented {
        let name = row[0].trim_matches('`');
        counter(&text, name);
        // OpenMetrics and the older text format name the type of a counter differently.
        let written = format!("# TYPE {name} {}", row[1]);
        assert!(text.replace("_total", "").contains(&written.replace("_total", "")), "{text}");
    }
    assert_eq!(documented.len(), text.lines().filter(|line| line.starts_with("# TYPE jwe_gateway_trace_")).count());
}
