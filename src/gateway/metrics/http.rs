//! Counters and histograms of requests.
//!
//! A request is counted when its access record ends, so requests that the caller aborts count too. Counting takes no
//! lock and allocates nothing.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::counters::{CallerCounters, Counters};
use super::families::{Labels, counter};
use super::histogram::Histogram;
use super::series::Series;
use crate::gateway::access_log::{Outcome, Phase, Record};
use crate::gateway::response::refusal::Code;

/// The value of a label that stands for all values without a label of their own.
const OTHER: &str = "_OTHER";

/// The methods that have a label of their own: those that are forwarded. The first one stands for all others.
const METHODS: [&str; 7] = [OTHER, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// The largest status that has a label of its own. A provider may send any number up to 999.
const MAX_STATUS: u16 = 599;

/// What is counted about the requests to one upstream.
#[derive(Debug, Default)]
pub(crate) struct HttpCounters {
    requests: Series,
    duration: Histogram,
    phases: [Histogram; Phase::ALL.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    resealed: AtomicU64,
    resent: AtomicU64,
    caller_left: AtomicU64,
    aborted: AtomicU64,
}

impl HttpCounters {
    /// Counts a request that has ended. `caller`: its number, or 0 if it was not identified.
    pub(super) fn add(&self, record: &Record, caller: u32) {
        let add = |counter: &AtomicU64, value: u64| {
            if value > 0 {
                counter.fetch_add(value, Ordering::Relaxed);
            }
        };
        self.requests.increment(RequestLabels::of(record, caller).pack());
        self.duration.observe(record.duration);
        for span in record.phases.spans() {
            self.phases[span.phase as usize].observe(span.duration);
        }
        add(&self.bytes_in, record.bytes_in as u64);
        add(&self.bytes_out, record.bytes_out);
        add(&self.resealed, record.resealed.into());
        add(&self.resent, record.resent.into());
        add(&self.caller_left, (record.outcome == Outcome::CallerLeft).into());
        add(&self.aborted, (record.outcome == Outcome::Aborted).into());
    }
}

/// The labels of a request, except its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RequestLabels {
    /// The position in [`METHODS`].
    method: u8,
    /// 0 if there was no response.
    status: u16,
    is_own: bool,
    /// The position in [`Code::ALL`], counted from 1. 0 if the request was not refused.
    code: u8,
    /// 0 if the caller was not identified.
    caller: u32,
}

impl RequestLabels {
    fn of(record: &Record, caller: u32) -> Self {
        Self {
            method: method(&record.method),
            status: record.status.map_or(0, |status| status.as_u16().min(MAX_STATUS + 1)),
            is_own: record.is_own(),
            code: record.refusal.map_or(0, |code| code as u8 + 1),
            caller,
        }
    }

    /// A number for these labels. It is never 0, because its last bit is always set.
    fn pack(self) -> NonZeroU64 {
        let Self { method, status, is_own, code, caller } = self;
        let labels = u64::from(caller)
            | u64::from(status) << 32
            | u64::from(code) << 48
            | u64::from(method) << 56
            | u64::from(is_own) << 59;
        NonZeroU64::MIN | labels << 1
    }

    fn unpack(key: u64) -> Self {
        let labels = key >> 1;
        Self {
            method: (labels >> 56 & 0b111) as u8,
            status: (labels >> 32) as u16,
            is_own: labels >> 59 == 1,
            code: (labels >> 48) as u8,
            caller: labels as u32,
        }
    }

    fn labels<'a>(self, upstream: &'a str, callers: &'a [Arc<CallerCounters>]) -> Labels<'a> {
        let caller = self.caller.checked_sub(1).and_then(|index| callers.get(index as usize));
        let code = usize::from(self.code).checked_sub(1).and_then(|index| Code::ALL.get(index));
        let status = match self.status {
            0 => "".into(),
            status if status > MAX_STATUS => OTHER.into(),
            status => status.to_string().into(),
        };
        vec![
            ("upstream", upstream.into()),
            ("method", METHODS.get(usize::from(self.method)).copied().unwrap_or(OTHER).into()),
            ("status", status),
            ("origin", if self.status == 0 { "" } else { origin(self.is_own) }.into()),
            ("code", code.map_or("", |code| code.row().code).into()),
            ("caller", caller.map_or("", |caller| &caller.name).into()),
        ]
    }
}

fn origin(is_own: bool) -> &'static str {
    if is_own { "gateway" } else { "upstream" }
}

fn method(method: &Method) -> u8 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 2,
        Method::POST => 3,
        Method::PUT => 4,
        Method::PATCH => 5,
        Method::DELETE => 6,
        _ => 0,
    }
}

pub(super) fn encode(counters: &Counters, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (upstreams, callers) = (counters.upstreams(), counters.callers());
    let unrouted = [("", counters.unrouted())];
    let all: Vec<(&str, &HttpCounters)> =
        unrouted.into_iter().chain(upstreams.iter().map(|upstream| (&*upstream.name, &upstream.http))).collect();
    let requests = all.iter().flat_map(|(upstream, http)| {
        let counts = http.requests.counts();
        let known = counts.map(|(key, count)| (RequestLabels::unpack(key).labels(upstream, &callers), count as f64));
        let others = Some(http.requests.others()).filter(|count| *count > 0);
        known.chain(others.map(|count| (other_labels(upstream), count as f64))).collect::<Vec<_>>()
    });
    counter(encoder, "jwe_gateway_http_requests", "Requests that have ended", requests)?;

    let mut durations = encoder.encode_descriptor(
        "jwe_gateway_http_request_duration_seconds",
        "Time from the end of the head of a request to the end of its response",
        None,
        MetricType::Histogram,
    )?;
    for (upstream, http) in &all {
        http.duration.encode(durations.encode_family(&[("upstream", *upstream)])?)?;
    }
    let mut phases = encoder.encode_descriptor(
        "jwe_gateway_http_request_phase_duration_seconds",
        "Time that requests spent in a phase",
        None,
        MetricType::Histogram,
    )?;
    for upstream in &upstreams {
        for (phase, histogram) in Phase::ALL.into_iter().zip(&upstream.http.phases) {
            let labels = [("upstream", &*upstream.name), ("phase", phase.as_str())];
            histogram.encode(phases.encode_family(&labels)?)?;
        }
    }

    let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let of_each = |field: fn(&HttpCounters) -> &AtomicU64| {
        let samples =
            all.iter().map(move |(upstream, http)| (vec![("upstream", (*upstream).into())], value(field(http))));
        samples.collect::<Vec<(Labels<'_>, f64)>>()
    };
    let (name, help) = ("jwe_gateway_http_request_body_bytes", "Bytes of request bodies that were read to their end");
    counter(encoder, name, help, of_each(|http| &http.bytes_in))?;
    let (name, help) = ("jwe_gateway_http_response_body_bytes", "Bytes of response bodies that were sent to callers");
    counter(encoder, name, help, of_each(|http| &http.bytes_out))?;
    let incomplete = all.iter().flat_map(|(upstream, http)| {
        let labels = |outcome: Outcome| vec![("upstream", (*upstream).into()), ("outcome", outcome.as_str().into())];
        [(labels(Outcome::CallerLeft), value(&http.caller_left)), (labels(Outcome::Aborted), value(&http.aborted))]
    });
    let (name, help) = ("jwe_gateway_http_responses_incomplete", "Responses that were not sent to their end");
    counter(encoder, name, help, incomplete)?;
    let retries = upstreams.iter().flat_map(|upstream| {
        let labels = |reason: &'static str| vec![("upstream", (&*upstream.name).into()), ("reason", reason.into())];
        [
            (labels("key"), value(&upstream.http.resealed)),
            (labels("credential"), value(&upstream.http.resent)),
            (labels("connection"), upstream.connections.resent() as f64),
        ]
    });
    counter(encoder, "jwe_gateway_upstream_retries", "Requests that were sent to the provider again", retries)
}

/// The labels of all requests that found no slot of their own.
fn other_labels(upstream: &str) -> Labels<'_> {
    let others = ["method", "status", "origin", "code", "caller"].map(|label| (label, OTHER.into()));
    std::iter::once(("upstream", upstream.into())).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_survive_packing_and_no_two_have_the_same_key() {
        let mut keys = std::collections::HashSet::new();
        for method in 0..METHODS.len() as u8 {
            for status in [0, 100, 404, 599, 600] {
                for is_own in [false, true] {
                    for code in [0, 1, Code::ALL.len() as u8] {
                        for caller in [0, 1, u32::MAX] {
                            let labels = RequestLabels { method, status, is_own, code, caller };
                            let key = labels.pack();
                            assert_eq!(RequestLabels::unpack(key.get()), labels);
                            assert!(keys.insert(key));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn each_forwarded_method_has_a_label_and_all_others_share_one() {
        let label = |name: &str| METHODS[usize::from(method(&name.parse().unwrap()))];
        for name in METHODS.into_iter().skip(1) {
            assert_eq!(label(name), name);
            assert!(crate::gateway::request::target::is_forwarded(&name.parse().unwrap()));
        }
        for name in ["TRACE", "OPTIONS", "BREW", "get"] {
            assert_eq!(label(name), OTHER);
        }
    }

    #[test]
    fn every_code_and_phase_has_a_position_in_its_list() {
        assert!(Code::ALL.iter().enumerate().all(|(index, code)| *code as usize == index));
        assert!(Code::ALL.len() < usize::from(u8::MAX));
        assert!(Phase::ALL.iter().enumerate().all(|(index, phase)| *phase as usize == index));
    }
}
