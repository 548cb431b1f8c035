//! The report as JSON. Times are in milliseconds. `version` increases when a member is removed or changes its
//! meaning.

use std::time::Duration;

use serde_json::{Value, json};

use super::{MAX_LISTED, Report};
use crate::drill::events::Event;
use crate::drill::quantiles::Quantiles;

pub(super) fn document(report: &Report) -> Value {
    let score = &report.score;
    json!({
        "version": 1,
        "title": report.title(),
        "verdict": report.verdict.label(),
        "why": report.verdict.reason(),
        "causes": report.causes.iter().map(|cause| json!({ "code": cause.code, "text": cause.text })).collect::<Vec<_>>(),
        "checks": report.checks.iter().map(|check| json!({
            "name": check.name,
            "ok": check.failure.is_none(),
            "time_ms": check.time.map(ms),
            "failure": check.failure,
        })).collect::<Vec<_>>(),
        "scenario": report.scenario.name(),
        "rate": report.rate,
        "duration_ms": ms(report.duration),
        "seed": report.seed,
        "gateway": report.gateway,
        "provider": report.provider,
        "at": report.at.to_string(),
        "requests": score.requests,
        "lost": score.lost.len(),
        "duplicated": score.duplicated,
        "resealed": score.resealed,
        "resent": score.resent,
        "sealed_with_a_retired_key": score.sealed_with_retired_key,
        "keys_published": score.published,
        "adoption": score.adoption.map(quantiles),
        "latency_calm": score.latency_normal.map(quantiles),
        "latency_during_faults": score.latency_during_faults.map(quantiles),
        "latency_of_400s": score.latency_of_400s.map(quantiles),
        "latency_of_others": score.latency_of_others.map(quantiles),
        "key_set_requests": score.key_set_fetches,
        "token_requests": score.token_requests,
        "lost_requests": score.lost.iter().take(MAX_LISTED).map(|lost| json!({
            "number": lost.number,
            "due_ms": ms(lost.due),
            "ended_ms": ms(lost.ended),
            "why": lost.reason,
            "provider": lost.attempts,
            "gateway": lost.gateway,
        })).collect::<Vec<_>>(),
        "events": report.events.iter().map(event).collect::<Vec<_>>(),
        "timeline": {
            "bucket_ms": ms(report.timeline.bucket),
            "keys": report.timeline.keys.iter().map(|usage| json!({
                "kid": usage.kid,
                "published_ms": ms(usage.published),
                "withdrawn_ms": ms(usage.withdrawn),
                "requests": usage.counts,
            })).collect::<Vec<_>>(),
            "lost": report.timeline.lost,
        },
        "latency_over_time": {
            "bucket_ms": ms(report.latency.bucket),
            "buckets": report.latency.buckets.iter().map(|bucket| bucket.map(quantiles)).collect::<Vec<_>>(),
        },
    })
}

fn event(event: &Event) -> Value {
    json!({ "at_ms": ms(event.at), "change": event.change.label(), "what": event.change.to_string() })
}

fn quantiles(quantiles: Quantiles) -> Value {
    let Quantiles { count, p50, p99, max } = quantiles;
    json!({ "count": count, "p50_ms": ms(p50), "p99_ms": ms(p99), "max_ms": ms(max) })
}

/// Milliseconds, rounded to the microsecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::super::tests::{failed, noisy, report};
    use super::*;
    use crate::drill::testing::observations;

    #[test]
    fn the_document_has_the_values_of_the_table() {
        let document = document(&report(&observations()));
        assert_eq!(document["version"], 1);
        assert_eq!(document["title"], "jwe-gateway drill: hard-cut");
        assert_eq!((&document["verdict"], &document["lost"]), (&json!("PASS"), &json!(0)));
        assert_eq!(document["adoption"], json!({ "count": 1, "p50_ms": 130.0, "p99_ms": 130.0, "max_ms": 130.0 }));
        assert_eq!(document["events"][0]["change"], "cut");
        assert_eq!(document["timeline"]["keys"][1]["published_ms"], 2000.0);
    }

    #[test]
    fn the_document_has_the_latencies_of_noisy_400_and_null_for_the_other_scenarios() {
        let latencies = |document: Value| {
            [&document["latency_of_400s"], &document["latency_of_others"]].map(|latency| latency["p99_ms"].clone())
        };
        assert_eq!(latencies(document(&report(&noisy(7)))), [json!(7.0), json!(140.0)]);
        assert_eq!(latencies(document(&report(&observations()))), [Value::Null, Value::Null]);
    }

    #[test]
    fn a_lost_request_is_listed_with_its_trace() {
        let document = document(&failed());
        assert_eq!((&document["verdict"], &document["lost"]), (&json!("FAIL"), &json!(1)));
        assert_eq!(document["lost_requests"][0]["number"], 9);
        assert_eq!(document["lost_requests"][0]["gateway"], "no record");
    }
}
