//! The spans of one request, with the names of OpenTelemetry's semantic conventions for HTTP.
//!
//! A request has a server span. Its children are a client span for each attempt to reach the provider, and an internal
//! span for each other phase. No span has the value of a query parameter, a token, a key or a part of a body.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::uri::Scheme;
use http::{Method, Uri, Version};
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use rustls::ProtocolVersion;

use crate::gateway::access_log::{Attempt, Outcome, Phase, PhaseSpan, Record};
use crate::gateway::request::trace_context::{SpanId, TraceContext};

/// How many bytes of a text that a caller or a provider chose are exported.
const MAX_TEXT: usize = 256;

/// The number of spans of the request.
pub(super) fn count(record: &Record) -> usize {
    1 + record.phases.spans().len()
}

/// Adds the spans of the request to `spans`, if it belongs to a trace.
pub(super) fn add(spans: &mut Vec<SpanData>, record: &Record) {
    let Some(trace) = record.trace else { return };
    spans.push(server_span(record, &trace));
    let mut attempts = record.sent.iter().enumerate();
    for phase in record.phases.spans() {
        let child = Child { record, trace, phase };
        let attempt = if phase.phase == Phase::Provider { attempts.next() } else { None };
        spans.push(match attempt {
            Some((index, attempt)) => child.client_span(index, attempt),
            None => child.internal_span(),
        });
    }
}

fn server_span(record: &Record, trace: &TraceContext) -> SpanData {
    let method = known(&record.method);
    // The gateway does not know the routes of the provider's API. A path may contain the id of a record.
    let name = match &record.upstream {
        Some(upstream) => format!("{} {upstream}", method.unwrap_or("HTTP")),
        None => method.unwrap_or("HTTP").to_owned(),
    };
    let mut attributes = Attributes::default();
    attributes.method(&record.method);
    attributes.text("url.path", &record.path);
    attributes.add("url.scheme", if record.tls.is_some() { "https" } else { "http" });
    attributes.add("network.protocol.version", protocol_version(record.version));
    if let Some(version) = record.tls.and_then(tls_version) {
        attributes.add("tls.protocol.version", version);
    }
    if let Some(address) = record.client_address {
        let ip = address.ip().to_canonical().to_string();
        attributes.add("client.address", ip.clone());
        attributes.add("network.peer.address", ip);
        attributes.add("network.peer.port", i64::from(address.port()));
    }
    if let Some(agent) = &record.user_agent {
        attributes.text("user_agent.original", &String::from_utf8_lossy(agent.as_bytes()));
    }
    attributes.size("http.request.body.size", record.bytes_in as u64);
    attributes.size("http.response.body.size", record.bytes_out);
    if let Some(status) = record.status {
        attributes.add("http.response.status_code", i64::from(status.as_u16()));
    }
    let error = server_error(record);
    if let Some(error) = &error {
        attributes.add("error.type", error.clone());
    }
    attributes.add("jwe_gateway.request_id", record.request_id.as_str().to_owned());
    attributes.add("jwe_gateway.outcome", record.outcome.as_str());
    if record.status.is_some() {
        attributes.add("jwe_gateway.origin", if record.is_own() { "gateway" } else { "upstream" });
    }
    for (name, value) in [
        ("jwe_gateway.upstream", record.upstream.as_deref()),
        ("jwe_gateway.caller", record.caller.as_deref()),
        ("jwe_gateway.kid", record.kid.as_deref()),
        ("jwe_gateway.key_check", record.key_check.map(|outcome| outcome.as_str())),
        ("jwe_gateway.upstream_trace_id", record.provider_trace_id.as_deref()),
    ] {
        if let Some(value) = value {
            attributes.text(name, value);
        }
    }
    for (name, happened) in [("jwe_gateway.resealed", record.resealed), ("jwe_gateway.resent", record.resent)] {
        if happened {
            attributes.add(name, true);
        }
    }
    // By the conventions, a fault of the caller is no error of the server.
    let is_error = record.status.is_some_and(|status| status.is_server_error()) || record.outcome == Outcome::Aborted;
    let times = (at(record, Duration::ZERO), at(record, record.duration));
    SpanData {
        parent_span_id: trace.parent.map_or(opentelemetry::SpanId::INVALID, id),
        parent_span_is_remote: trace.parent.is_some(),
        status: status(is_error),
        ..span(trace, trace.span, SpanKind::Server, name.into(), times, attributes)
    }
}

/// `error.type` of the server span: the code of a refusal, or the status of the provider's server error.
fn server_error(record: &Record) -> Option<Cow<'static, str>> {
    match (record.refusal, record.status, record.outcome) {
        (Some(code), _, _) => Some(code.row().code.into()),
        (_, Some(status), _) if status.is_server_error() => Some(status.as_u16().to_string().into()),
        (_, _, Outcome::Aborted) => Some(Outcome::Aborted.as_str().into()),
        _ => None,
    }
}

/// A part of a request.
struct Child<'a> {
    record: &'a Record,
    trace: TraceContext,
    phase: &'a PhaseSpan,
}

impl Child<'_> {
    fn internal_span(&self) -> SpanData {
        self.span(SpanId::random(), SpanKind::Internal, self.phase.phase.as_str(), Attributes::default())
    }

    /// The span of one attempt. It ends with the head of the reply.
    fn client_span(&self, index: usize, attempt: &Attempt) -> SpanData {
        let record = self.record;
        let mut attributes = Attributes::default();
        attributes.method(&record.method);
        if let Some(url) = record.sent.url() {
            attributes.url(url);
        }
        if let Some(provider) = attempt.provider {
            attributes.add("network.peer.address", provider.address.ip().to_canonical().to_string());
            attributes.add("network.peer.port", i64::from(provider.address.port()));
            if let Some(version) = provider.tls.and_then(tls_version) {
                attributes.add("tls.protocol.version", version);
            }
        }
        if index > 0 {
            attributes.add("http.request.resend_count", index as i64);
        }
        let error: Option<Cow<'static, str>> = match attempt.reply {
            Some((status, version)) => {
                attributes.add("http.response.status_code", i64::from(status.as_u16()));
                attributes.add("network.protocol.version", protocol_version(version));
                (status.as_u16() >= 400).then(|| status.as_u16().to_string().into())
            }
            // Without a reply the request ended with this attempt.
            None => Some(record.refusal.map_or(record.outcome.as_str(), |code| code.row().code).into()),
        };
        if let Some(error) = &error {
            attributes.add("error.type", error.clone());
        }
        let span = attempt.span.unwrap_or_else(SpanId::random);
        let name = known(&record.method).unwrap_or("HTTP");
        SpanData { status: status(error.is_some()), ..self.span(span, SpanKind::Client, name, attributes) }
    }

    fn span(&self, own: SpanId, kind: SpanKind, name: &'static str, attributes: Attributes) -> SpanData {
        let PhaseSpan { start, duration, .. } = *self.phase;
        let times = (at(self.record, start), at(self.record, start + duration));
        SpanData { parent_span_id: id(self.trace.span), ..span(&self.trace, own, kind, name.into(), times, attributes) }
    }
}

/// The time that is `offset` after the start of the request.
fn at(record: &Record, offset: Duration) -> SystemTime {
    record.started.checked_add(offset).unwrap_or(record.started)
}

/// A span without a parent and without an error.
pub(super) fn span(
    trace: &TraceContext,
    own: SpanId,
    kind: SpanKind,
    name: Cow<'static, str>,
    (start_time, end_time): (SystemTime, SystemTime),
    attributes: Attributes,
) -> SpanData {
    let trace_id = opentelemetry::TraceId::from(trace.trace_id.0);
    SpanData {
        span_context: SpanContext::new(trace_id, id(own), TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: opentelemetry::SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: kind,
        name,
        start_time,
        end_time,
        attributes: attributes.0,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("jwe-gateway")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

pub(super) fn status(is_error: bool) -> Status {
    // `error.type` says which one.
    if is_error { Status::error("") } else { Status::Unset }
}

fn id(span: SpanId) -> opentelemetry::SpanId {
    span.0.into()
}

#[derive(Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub(super) fn add(&mut self, name: &'static str, value: impl Into<opentelemetry::Value>) {
        self.0.push(KeyValue::new(name, value));
    }

    /// A text that a caller or a provider chose.
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        let longest = (0..=MAX_TEXT.min(value.len())).rev().find(|end| value.is_char_boundary(*end));
        self.add(name, value[..longest.unwrap_or_default()].to_owned());
    }

    fn size(&mut self, name: &'static str, bytes: u64) {
        if bytes > 0 {
            self.add(name, i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn method(&mut self, method: &Method) {
        self.add("http.request.method", known(method).unwrap_or("_OTHER"));
        if known(method).is_none() {
            self.text("http.request.method_original", method.as_str());
        }
    }

    /// The URL of an attempt, without the query.
    pub(super) fn url(&mut self, url: &Uri) {
        let is_https = url.scheme() == Some(&Scheme::HTTPS);
        let (scheme, host) = (if is_https { "https" } else { "http" }, url.host().unwrap_or_default());
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let authority = url.authority().map_or(host, |authority| authority.as_str());
        self.text("url.full", &format!("{scheme}://{authority}{}", url.path()));
        self.add("server.address", host.to_owned());
        self.add("server.port", i64::from(port));
    }
}

/// The methods that the conventions know. None for another one, so that callers cannot make names of spans.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn tls_version(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("1.2"),
        ProtocolVersion::TLSv1_3 => Some("1.3"),
        _ => None,
    }
}
