//! The trace of a request: what the provider gets, and what the record has.

use http::{HeaderMap, Method};
use jwe_gateway::app::{Record, SpanId, TraceContext, TraceId};
use jwe_gateway::config::{Encryption, Sampler};

use crate::access_log::Records;
use crate::chain::sidecar_config;
use crate::harness::Served;

const LIST: &str = "/v0/bank/credentials/list";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CALLER_SPAN: SpanId = SpanId(0x00f0_67aa_0ba9_02b7);

/// The trace id, the span id and the flags in the `traceparent` of these headers. There must be only one.
fn traceparent(headers: &HeaderMap) -> (String, String, String) {
    assert_eq!(headers.get_all("traceparent").iter().count(), 1);
    let fields: Vec<_> = headers["traceparent"].to_str().unwrap().split('-').map(str::to_owned).collect();
    let [version, trace, span, flags] = fields.try_into().unwrap();
    assert_eq!(version, "00");
    (trace, span, flags)
}

fn trace(record: &Record) -> TraceContext {
    record.trace.unwrap()
}

async fn send(gateway: &Served, headers: &[(&str, &str)]) {
    let request = gateway.json("POST", LIST, "{}");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_trace_is_continued_with_the_span_of_the_access_log_if_spans_are_not_exported() {
    let records = Records::default();
    let gateway = records.spawn_with(|_| {}).await;
    send(&gateway, &[("traceparent", CALLER), ("tracestate", "vendor=opaque")]).await;
    let record = records.next().await;
    assert_eq!((trace(&record).trace_id.to_string().as_str(), trace(&record).parent), (TRACE, Some(CALLER_SPAN)));
    let received = gateway.last();
    assert_eq!(traceparent(&received.headers), (TRACE.to_owned(), trace(&record).span.to_string(), "01".to_owned()));
    assert_eq!(received.headers["tracestate"], "vendor=opaque");
}

#[tokio::test]
async fn without_a_valid_traceparent_nothing_is_sent_if_spans_are_not_exported() {
    let records = Records::default();
    let gateway = records.spawn_with(|_| {}).await;
    let faulty = CALLER.to_uppercase();
    for headers in [
        &[("tracestate", "vendor=opaque")][..],
        &[("traceparent", &faulty), ("tracestate", "vendor=opaque")],
        &[("traceparent", CALLER), ("traceparent", CALLER), ("tracestate", "vendor=opaque")],
    ] {
        send(&gateway, headers).await;
        let received = gateway.last().headers;
        assert!(!received.contains_key("traceparent") && !received.contains_key("tracestate"), "{received:?}");
        assert_eq!(records.next().await.trace, None);
    }
}

#[tokio::test]
async fn each_attempt_of_an_exported_request_has_a_span_id_of_its_own() {
    let records = Records::default();
    let gateway = records.spawn_with(|config| config.gateway.sampler = Some(Sampler::default())).await;
    send(&gateway, &[]).await;
    records.next().await;
    gateway.sandbox.revoke_tokens();
    send(&gateway, &[("tracestate", "vendor=opaque")]).await;
    let record = records.next().await;
    let trace = trace(&record);
    assert!(trace.parent.is_none() && trace.trace_id != TraceId(0) && trace.is_exported);
    let sent: Vec<SpanId> = record.sent.iter().filter_map(|attempt| attempt.span).collect();
    assert_eq!((sent.len(), record.attempts), (2, 2));
    assert!(sent[0] != sent[1] && !sent.contains(&trace.span));
    let received = gateway.last().headers;
    assert_eq!(traceparent(&received), (trace.trace_id.to_string(), sent[1].to_string(), "01".to_owned()));
    assert!(!received.contains_key("tracestate"), "it belongs to no trace");
}

#[tokio::test]
async fn a_record_and_its_url_have_no_value_of_the_query() {
    let records = Records::default();
    let gateway = records.spawn_with(|config| config.gateway.sampler = Some(Sampler::default())).await;
    let request = gateway.json("POST", &format!("{LIST}?token=canary"), "{}");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let record = records.next().await;
    assert!(gateway.last().target.ends_with("?token=canary"), "the provider gets it");
    let url = record.sent.url().map(ToString::to_string);
    assert_eq!(url, Some(format!("{}{LIST}", gateway.sandbox.url())));
    assert!(!format!("{record:?}").contains("canary"));
}

#[tokio::test]
async fn a_sidecar_and_its_egress_share_a_trace() {
    let (of_egress, of_sidecar) = (Records::default(), Records::default());
    let egress = of_egress.spawn_with(|config| config.upstreams[0].encryption = Encryption::RequireSealed).await;
    let mut config = sidecar_config(&egress, None);
    config.gateway.sampler = Some(Sampler::default());
    let sidecar = of_sidecar.serve(config).await;
    send(&sidecar, &[]).await;
    let first = of_sidecar.next().await;
    let mut second = of_egress.next().await;
    // The sidecar has fetched the key set.
    while second.method != Method::POST {
        second = of_egress.next().await;
    }
    assert_eq!(trace(&first).trace_id, trace(&second).trace_id);
    assert_eq!(trace(&second).parent, first.sent.last().unwrap().span);
    assert_eq!(traceparent(&egress.last().headers).1, trace(&second).span.to_string());
}
