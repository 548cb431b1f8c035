//! What a scrape shows of each provider, its keys and our token, of each caller, and of the listener's
//! certificate, as they are at that moment.
//!
//! Nothing is counted here. The holders count as they work, and a scrape reads; so there is no
//! second truth, and a gateway that nobody scrapes pays nothing.
//!
//! Labels are bounded: upstreams and callers by the configuration, kids by the hundred keys a set may have.

use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::credentials;
use crate::gateway::callers::Callers;
use crate::gateway::route::Route;
use crate::gateway::server::tls::{self, ServerTls};
use crate::keys::{self, EntryState};

/// The figures of all providers and callers.
#[derive(Debug)]
pub(crate) struct MetricsCollector {
    routes: Vec<Route>,
    callers: Callers,
    tls: Option<ServerTls>,
}

impl MetricsCollector {
    /// Of these, and of the listener's TLS.
    #[must_use]
    pub(crate) fn new(routes: Vec<Route>, callers: Callers, tls: Option<ServerTls>) -> Self {
        Self { routes, callers, tls }
    }
}

/// One sample of a metric: its labels beside `upstream`, and its value.
type Sample<'a> = (Vec<(&'a str, String)>, f64);

/// What is known of one upstream.
struct UpstreamMetrics<'a> {
    name: &'a str,
    /// None where nothing is sealed.
    keys: Option<keys::Snapshot>,
    unknown_kids: u64,
    token: credentials::Snapshot,
}

/// Name, type, meaning, and the samples of one upstream.
type Row = (&'static str, MetricType, &'static str, for<'a> fn(&'a UpstreamMetrics<'_>) -> Vec<Sample<'a>>);

/// Names follow Prometheus' conventions; a counter's `_total` is added by the encoding.
const ROWS: [Row; 11] = [
    ("jwe_gateway_jwks_fetches", MetricType::Counter, "Fetches of the key set", |metrics| {
        metrics.of_keys(|keys| results(keys.fetches_ok, keys.fetches_failed))
    }),
    ("jwe_gateway_jwks_changes", MetricType::Counter, "Key sets that differed from the one before", |metrics| {
        metrics.of_keys(|keys| vec![(Vec::new(), keys.changes as f64)])
    }),
    (
        "jwe_gateway_jwks_keys",
        MetricType::Gauge,
        "Published keys that can be sealed with, and that cannot",
        |metrics| {
            let state = |state: &str| vec![("state", state.to_owned())];
            metrics.of_keys(|keys| {
                let usable = usable(keys).count();
                vec![(state("usable"), usable as f64), (state("rejected"), (keys.entries.len() - usable) as f64)]
            })
        },
    ),
    (
        "jwe_gateway_jwks_key_info",
        MetricType::Gauge,
        "Published keys that can be sealed with; active is in use",
        |metrics| {
            let labels = |entry: &keys::Entry| {
                let kid = entry.kid.clone().or_else(|| entry.thumbprint.clone()).unwrap_or_default();
                vec![("kid", kid), ("active", entry.chosen.to_string())]
            };
            metrics.of_keys(|keys| usable(keys).map(|entry| (labels(entry), 1.0)).collect())
        },
    ),
    ("jwe_gateway_jwks_age_seconds", MetricType::Gauge, "Since the route last confirmed the key set", |metrics| {
        metrics.of_keys(|keys| keys.age.map(|age| (Vec::new(), age.as_secs_f64())).into_iter().collect())
    }),
    (
        "jwe_gateway_jwks_serving_stale",
        MetricType::Gauge,
        "1 while the key set in use is past its lifetime",
        |metrics| {
            metrics.of_keys(|keys| vec![(Vec::new(), flag(keys.lifetime_left.is_some_and(|left| left.is_zero())))])
        },
    ),
    (
        "jwe_gateway_unknown_kids",
        MetricType::Counter,
        "Messages passed on under a kid that is not published",
        |metrics| metrics.of_keys(|_| vec![(Vec::new(), metrics.unknown_kids as f64)]),
    ),
    ("jwe_gateway_ready", MetricType::Gauge, "1 while there is a key and a credential", |metrics| {
        let has_key = metrics.keys.as_ref().is_none_or(|keys| keys.usable.is_ok());
        vec![(Vec::new(), flag(has_key && metrics.token.usable.is_ok()))]
    }),
    (
        "jwe_gateway_token_fetches",
        MetricType::Counter,
        "Token requests, or readings of a fixed credential",
        |metrics| results(metrics.token.renewals_ok, metrics.token.renewals_failed),
    ),
    ("jwe_gateway_token_refusals", MetricType::Counter, "401 answers of the route to the token in hand", |metrics| {
        vec![(Vec::new(), metrics.token.refusals as f64)]
    }),
    ("jwe_gateway_token_life_seconds", MetricType::Gauge, "What is left of the life of the token in hand", |metrics| {
        metrics.token.life_left.map(|left| (Vec::new(), left.as_secs_f64())).into_iter().collect()
    }),
];

fn usable(keys: &keys::Snapshot) -> impl Iterator<Item = &keys::Entry> {
    keys.entries.iter().filter(|entry| entry.state == EntryState::Usable)
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn results<'a>(ok: u64, failed: u64) -> Vec<Sample<'a>> {
    let result = |result: &str| vec![("result", result.to_owned())];
    vec![(result("ok"), ok as f64), (result("failed"), failed as f64)]
}

impl Collector for MetricsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metrics: Vec<UpstreamMetrics<'_>> = self.routes.iter().map(UpstreamMetrics::of).collect();
        for (name, kind, help, samples) in ROWS {
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for upstream in &metrics {
                for (mut labels, value) in samples(upstream) {
                    labels.insert(0, ("upstream", upstream.name.to_owned()));
                    let one = metric.encode_family(&labels)?;
                    match kind {
                        MetricType::Counter => ConstCounter::new(value).encode(one)?,
                        _ => ConstGauge::new(value).encode(one)?,
                    }
                }
            }
        }
        encode_callers(&self.callers, &mut encoder)?;
        match &self.tls {
            Some(tls) => encode_tls(&tls.snapshot(), &mut encoder),
            None => Ok(()),
        }
    }
}

fn encode_tls(metrics: &tls::Snapshot, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let (name, help) = ("jwe_gateway_tls_reloads", "States of the listener's TLS files that were taken, and not");
    let mut reloads = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in results(metrics.reloads_ok, metrics.reloads_failed) {
        ConstCounter::new(value).encode(reloads.encode_family(&labels)?)?;
    }
    let name = "jwe_gateway_tls_certificate_expires_timestamp_seconds";
    let expires =
        encoder.encode_descriptor(name, "End of the listener's certificate in use", None, MetricType::Gauge)?;
    let since = metrics.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ConstGauge::new(since.as_secs_f64()).encode(expires)
}

fn encode_callers(callers: &Callers, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    const REFUSALS: &str = "Requests over what their caller may do; only told and let through where not enforced";
    let callers = callers.snapshot();
    let mut refusals = encoder.encode_descriptor("jwe_gateway_caller_refusals", REFUSALS, None, MetricType::Counter)?;
    for caller in &callers {
        let enforced = caller.enforced.to_string();
        for (reason, count) in [("path", caller.forbidden), ("rate", caller.too_fast), ("concurrency", caller.too_many)]
        {
            let labels = [("caller", &*caller.name), ("reason", reason), ("enforced", &enforced)];
            ConstCounter::new(count).encode(refusals.encode_family(&labels)?)?;
        }
    }
    const RELOADS: &str = "Readings of a caller's key file that brought nothing usable";
    let mut reloads =
        encoder.encode_descriptor("jwe_gateway_caller_key_reload_failures", RELOADS, None, MetricType::Counter)?;
    for caller in &callers {
        let labels = [("caller", &*caller.name)];
        ConstCounter::new(caller.reloads_failed).encode(reloads.encode_family(&labels)?)?;
    }
    Ok(())
}

impl<'a> UpstreamMetrics<'a> {
    /// Samples about the keys, where there are any.
    fn of_keys<'s>(&'s self, samples: impl FnOnce(&'s keys::Snapshot) -> Vec<Sample<'s>>) -> Vec<Sample<'s>> {
        self.keys.as_ref().map(samples).unwrap_or_default()
    }

    fn of(route: &'a Route) -> Self {
        Self {
            name: &route.name,
            keys: route.body_policy.keys().map(|keys| keys.snapshot()),
            unknown_kids: route.unknown_kids.total(),
            token: route.credentials.snapshot(),
        }
    }
}
