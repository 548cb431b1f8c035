//! The line of a request in the log.
//!
//! The line is not an event of `tracing`, because an event for each request costs too much: see [`telemetry::Line`].
//! `RUST_LOG` applies to it as to an event of level `INFO` with the target `jwe_gateway::access` and without fields.

use std::borrow::Cow;

use http::Version;
use rustls::ProtocolVersion;

use super::Record;
use super::selection::{Config, SampleRatio};
use crate::telemetry::{self, Line, Schema, schema as name};

/// How many bytes of a `User-Agent` are logged.
const MAX_USER_AGENT: usize = 256;

pub(super) const TARGET: &str = "jwe_gateway::access";
pub(super) const MESSAGE: &str = "request";

/// Adds the line of `record` to the log, if `config` and `RUST_LOG` select it.
pub(super) fn write(record: &Record, config: Config) {
    let Some(share) = config.share_of(record) else { return };
    if tracing::event_enabled!(target: TARGET, tracing::Level::INFO) {
        telemetry::write_line(TARGET, MESSAGE, |line| add_fields(line, record, share));
    }
}

/// A field that has no value is left out. `share` is the share of such requests that have a line.
pub(super) fn add_fields(line: &mut Line<'_>, record: &Record, share: SampleRatio) {
    line.text(name::REQUEST_ID, record.request_id.as_str());
    if let Some(trace) = &record.trace {
        line.plain(name::TRACE_ID, trace.trace_id);
        line.plain(name::SPAN_ID, trace.span);
    }
    add_request(line, record);
    if let Some(name) = &record.upstream {
        line.text(name::UPSTREAM, name);
    }
    if let Some(status) = record.status {
        line.number(name::STATUS, status.as_u16().into());
        line.text(name::ORIGIN, if record.is_own() { "gateway" } else { "upstream" });
    }
    if let Some(code) = record.refusal {
        line.text(name::ERROR_CODE, code.row().code);
    }
    match line.schema() {
        Schema::Ecs => line.number(name::DURATION, u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX)),
        Schema::Own | Schema::Otel => line.millis(name::DURATION, record.duration),
    }
    if record.findings > 0 {
        line.number(name::FINDINGS, record.findings as u64);
    }
    if record.attempts > 0 {
        add_attempts(line, record);
    }
    if record.bytes_out > 0 {
        line.number(name::BYTES_OUT, record.bytes_out);
    }
    line.text(name::OUTCOME, record.outcome.as_str());
    if share != SampleRatio::ALL {
        line.decimal(name::SAMPLE, share.value());
    }
}

/// The caller and its request.
fn add_request(line: &mut Line<'_>, record: &Record) {
    line.text(name::METHOD, record.method.as_str());
    line.text(name::PATH, &record.path);
    if !record.query_keys.is_empty() {
        line.text(name::QUERY_KEYS, &record.query_keys.join(","));
    }
    line.text(name::PROTOCOL, protocol(line.schema(), record.version));
    if let Some(version) = record.tls.and_then(tls_version) {
        line.text(name::TLS_VERSION, version);
    }
    if let Some(address) = record.client_address {
        line.plain(name::CLIENT_ADDRESS, address.ip().to_canonical());
        line.number(name::CLIENT_PORT, address.port().into());
    }
    if let Some(agent) = &record.user_agent {
        line.text(name::USER_AGENT, &beginning(agent.as_bytes()));
    }
    if let Some(name) = &record.caller {
        line.text(name::CALLER, name);
    }
    if record.bytes_in > 0 {
        line.number(name::BYTES_IN, record.bytes_in as u64);
    }
}

/// What happened between the gateway and the provider.
fn add_attempts(line: &mut Line<'_>, record: &Record) {
    line.number(name::ATTEMPTS, record.attempts.into());
    if let Some(time) = record.upstream_time {
        line.millis(name::UPSTREAM_MS, time);
    }
    if let Some(provider) = record.sent.last().and_then(|attempt| attempt.provider) {
        line.plain(name::UPSTREAM_ADDRESS, provider.address.ip().to_canonical());
        line.number(name::UPSTREAM_PORT, provider.address.port().into());
        if let Some(version) = provider.tls.and_then(tls_version) {
            line.text(name::UPSTREAM_TLS_VERSION, version);
        }
    }
    if let Some(id) = &record.provider_trace_id {
        line.text(name::UPSTREAM_TRACE_ID, id);
    }
    if let Some(length) = record.bytes_jwe {
        line.number(name::BYTES_JWE, length);
    }
    if let Some(time) = record.seal_time {
        line.number(name::SEAL_US, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
    if let Some(kid) = &record.kid {
        line.text(name::KID, kid);
    }
    if let Some(outcome) = record.key_check {
        line.text(name::KEY_CHECK, outcome.as_str());
    }
    if let Some(time) = record.key_check_time {
        line.millis(name::KEY_CHECK_MS, time);
    }
    if record.resealed {
        line.flag(name::RESEALED);
    }
    if record.resent {
        line.flag(name::RESENT);
    }
}

fn protocol(schema: Schema, version: Version) -> &'static str {
    match (schema, version) {
        (Schema::Own, Version::HTTP_10) => "HTTP/1.0",
        (Schema::Own, Version::HTTP_2) => "HTTP/2",
        (Schema::Own, _) => "HTTP/1.1",
        (_, Version::HTTP_10) => "1.0",
        (_, Version::HTTP_2) => "2",
        (_, _) => "1.1",
    }
}

/// None for a version that the gateway does not speak.
fn tls_version(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("1.2"),
        ProtocolVersion::TLSv1_3 => Some("1.3"),
        _ => None,
    }
}

/// The first [`MAX_USER_AGENT`] bytes, without a character that is cut in two. Bytes that are no UTF-8 are replaced.
fn beginning(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = &bytes[..bytes.len().min(MAX_USER_AGENT)];
    match str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(&bytes[..error.valid_up_to()]),
        _ => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_agent_is_cut_at_a_character_and_bytes_that_are_no_text_are_replaced() {
        let long = "é".repeat(200);
        assert_eq!(beginning(long.as_bytes()), long[..MAX_USER_AGENT]);
        assert_eq!(beginning(format!("a{long}").as_bytes()).len(), MAX_USER_AGENT - 1);
        assert_eq!(beginning(b"a\xffb"), "a\u{fffd}b");
    }
}
