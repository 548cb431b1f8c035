//! The line of a request in the log.
//!
//! The line is not an event of `tracing`, because an event for each request costs too much: see [`telemetry::Line`].
//! `RUST_LOG` applies to it as to an event of level `INFO` with the target `jwe_gateway::access` and without fields.

use super::Record;
use super::selection::{Config, SampleRatio};
use crate::telemetry::{self, Line};

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
    line.text("request_id", record.request_id.as_str());
    if let Some(id) = &record.trace_id {
        line.text("trace_id", id);
    }
    line.text("method", record.method.as_str());
    line.text("path", &record.path);
    if !record.query_keys.is_empty() {
        line.text("query_keys", &record.query_keys.join(","));
    }
    if let Some(name) = &record.caller {
        line.text("caller", name);
    }
    if let Some(name) = &record.upstream {
        line.text("upstream", name);
    }
    if let Some(status) = record.status {
        line.number("status", status.as_u16().into());
        line.text("origin", if record.is_own() { "gateway" } else { "upstream" });
    }
    if let Some(code) = record.refusal {
        line.text("error_code", code.row().code);
    }
    line.millis("duration_ms", record.duration);
    if let Some(time) = record.upstream_time {
        line.millis("upstream_ms", time);
    }
    if let Some(time) = record.seal_time {
        line.number("seal_us", u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
    line.number("bytes_in", record.bytes_in as u64);
    if let Some(length) = record.bytes_jwe {
        line.number("bytes_jwe", length);
    }
    line.number("bytes_out", record.bytes_out);
    if let Some(kid) = &record.kid {
        line.text("kid", kid);
    }
    line.number("attempts", record.attempts.into());
    if let Some(outcome) = record.key_check {
        line.text("key_check", outcome.as_str());
    }
    if let Some(time) = record.key_check_time {
        line.millis("key_check_ms", time);
    }
    if record.resealed {
        line.flag("resealed");
    }
    if record.resent {
        line.flag("resent");
    }
    line.text("outcome", record.outcome.as_str());
    if share != SampleRatio::ALL {
        line.decimal("sample", share.value());
    }
}
