//! The metrics of upstreams, callers and the listener's certificate, as they are at the moment of a scrape.
//!
//! Nothing is counted here. Keys, credentials, callers and TLS count while they work, and a scrape reads their
//! snapshots. So no value is stored twice, and a gateway that is not scraped spends nothing on metrics.
//!
//! Labels are bounded: upstreams, callers and files by the configuration, kids by the limit of 100 keys per set.
//! `docs/operations.md` lists every metric, and a test compares the two.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::credentials;
use crate::gateway::callers::Callers;
use crate::gateway::generation::{Current, Generation};
use crate::gateway::response::key_check::{KeyCheck, KeyCheckCounters};
use crate::gateway::route::Route;
use crate::gateway::server::tls::{self, ServerTls};
use crate::keys::{self, EntryState};
use crate::upstream::Connector;
use crate::watched_files::FileAge;

#[derive(Debug)]
pub(crate) struct MetricsCollector {
    current: Current,
}

impl MetricsCollector {
    #[must_use]
    pub(crate) fn new(current: Current) -> Self {
        Self { current }
    }
}

/// The time since the last reading of each file. If several parts read a file, the longest time counts.
fn file_ages(generation: &Generation) -> BTreeMap<PathBuf, Duration> {
    let Generation { connectors, tls, callers, .. } = generation;
    let connectors = connectors.iter().flat_map(Connector::file_ages);
    let ages = tls.iter().flat_map(ServerTls::file_ages).chain(callers.file_ages()).chain(connectors);
    let mut oldest = BTreeMap::new();
    for FileAge { path, age } in ages {
        let known = oldest.entry(path).or_insert(age);
        *known = age.max(*known);
    }
    oldest
}

/// The labels of a sample beside `upstream`, and its value.
type Sample<'a> = (Vec<(&'a str, String)>, f64);

/// The snapshots of one upstream.
struct UpstreamMetrics<'a> {
    name: &'a str,
    /// None with `encryption = "off"`.
    keys: Option<keys::Snapshot>,
    unknown_kids: u64,
    key_checks: &'a KeyCheckCounters,
    token: credentials::Snapshot,
}

/// The samples of one upstream.
type Samples = for<'a> fn(&'a UpstreamMetrics<'_>) -> Vec<Sample<'a>>;

/// A metric with samples for each upstream.
struct UpstreamMetric {
    /// Without `_total`: the encoder adds it to a counter.
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    samples: Samples,
}

const fn counter(name: &'static str, help: &'static str, samples: Samples) -> UpstreamMetric {
    UpstreamMetric { name, kind: MetricType::Counter, help, samples }
}

const fn gauge(name: &'static str, help: &'static str, samples: Samples) -> UpstreamMetric {
    UpstreamMetric { name, kind: MetricType::Gauge, help, samples }
}

const UPSTREAM_METRICS: [UpstreamMetric; 12] = [
    counter("jwe_gateway_jwks_fetches", "Fetches of the provider's key set", |metrics| {
        metrics.of_keys(|keys| results(keys.fetches_ok, keys.fetches_failed))
    }),
    counter("jwe_gateway_jwks_changes", "Fetched key sets with other usable keys than the previous set", |metrics| {
        metrics.of_keys(|keys| unlabelled(keys.changes as f64))
    }),
    gauge("jwe_gateway_jwks_keys", "Published keys, usable and rejected", |metrics| {
        let state = |state: &str| vec![("state", state.to_owned())];
        metrics.of_keys(|keys| {
            let usable = usable(keys).count();
            vec![(state("usable"), usable as f64), (state("rejected"), (keys.entries.len() - usable) as f64)]
        })
    }),
    gauge("jwe_gateway_jwks_key_info", "Usable published keys; active marks the key in use", |metrics| {
        let labels = |entry: &keys::Entry| {
            let kid = entry.kid.clone().or_else(|| entry.thumbprint.clone()).unwrap_or_default();
            vec![("kid", kid), ("active", entry.chosen.to_string())]
        };
        metrics.of_keys(|keys| usable(keys).map(|entry| (labels(entry), 1.0)).collect())
    }),
    gauge("jwe_gateway_jwks_age_seconds", "Time since the provider last confirmed the key set", |metrics| {
        metrics.of_keys(|keys| keys.age.map(|age| unlabelled(age.as_secs_f64())).unwrap_or_default())
    }),
    gauge("jwe_gateway_jwks_serving_stale", "1 while the key set in use is older than its lifetime", |metrics| {
        metrics.of_keys(|keys| unlabelled(flag(keys.lifetime_left.is_some_and(|left| left.is_zero()))))
    }),
    counter("jwe_gateway_unknown_kids", "Forwarded messages with a kid that is not published", |metrics| {
        metrics.of_keys(|_| unlabelled(metrics.unknown_kids as f64))
    }),
    counter(
        "jwe_gateway_key_checks",
        "Replies that could mean that the key is gone, by outcome of the check",
        |metrics| {
            let samples = |_: &_| {
                KeyCheck::ALL.map(|outcome| {
                    (vec![("outcome", outcome.as_str().to_owned())], metrics.key_checks.total(outcome) as f64)
                })
            };
            metrics.of_keys(|keys| samples(keys).into())
        },
    ),
    gauge("jwe_gateway_ready", "1 while there is a usable key and a credential", |metrics| {
        let has_key = metrics.keys.as_ref().is_none_or(|keys| keys.usable.is_ok());
        unlabelled(flag(has_key && metrics.token.usable.is_ok()))
    }),
    counter("jwe_gateway_token_fetches", "Token requests, or reads of a static credential", |metrics| {
        results(metrics.token.renewals_ok, metrics.token.renewals_failed)
    }),
    counter("jwe_gateway_token_refusals", "401 responses of the provider to the credential in use", |metrics| {
        unlabelled(metrics.token.refusals as f64)
    }),
    gauge("jwe_gateway_token_life_seconds", "Remaining life of the token", |metrics| {
        metrics.token.lifetime_left.map(|left| unlabelled(left.as_secs_f64())).unwrap_or_default()
    }),
];

fn unlabelled<'a>(value: f64) -> Vec<Sample<'a>> {
    vec![(Vec::new(), value)]
}

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
        let generation = self.current.generation();
        let metrics: Vec<UpstreamMetrics<'_>> = generation.routes.iter().map(UpstreamMetrics::of).collect();
        for UpstreamMetric { name, kind, help, samples } in UPSTREAM_METRICS {
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
        encode_callers(&generation.callers, &mut encoder)?;
        encode_files(&file_ages(&generation), &mut encoder)?;
        match &generation.tls {
            Some(tls) => encode_tls(&tls.snapshot(), &mut encoder),
            None => Ok(()),
        }
    }
}

fn encode_tls(metrics: &tls::Snapshot, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let (name, help) = ("jwe_gateway_tls_reloads", "Changes of the listener's TLS files");
    let mut reloads = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in results(metrics.reloads_ok, metrics.reloads_failed) {
        ConstCounter::new(value).encode(reloads.encode_family(&labels)?)?;
    }
    let name = "jwe_gateway_tls_certificate_expires_timestamp_seconds";
    let expires =
        encoder.encode_descriptor(name, "End of validity of the listener's certificate", None, MetricType::Gauge)?;
    let since = metrics.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ConstGauge::new(since.as_secs_f64()).encode(expires)
}

fn encode_files(ages: &BTreeMap<PathBuf, Duration>, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    const AGE: &str = "Time since a key file or certificate was last read with success";
    let mut age = encoder.encode_descriptor("jwe_gateway_file_age_seconds", AGE, None, MetricType::Gauge)?;
    for (path, since) in ages {
        let labels = [("file", path.display().to_string())];
        ConstGauge::new(since.as_secs_f64()).encode(age.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_callers(callers: &Callers, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    const REFUSALS: &str = "Requests that break a rule of their caller; served if enforced is false";
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
    const RELOADS: &str = "Failed reads of a caller's key file";
    let mut reloads =
        encoder.encode_descriptor("jwe_gateway_caller_key_reload_failures", RELOADS, None, MetricType::Counter)?;
    for caller in &callers {
        let labels = [("caller", &*caller.name)];
        ConstCounter::new(caller.reloads_failed).encode(reloads.encode_family(&labels)?)?;
    }
    Ok(())
}

impl<'a> UpstreamMetrics<'a> {
    /// The samples about keys, if the upstream has keys.
    fn of_keys<'s>(&'s self, samples: impl FnOnce(&'s keys::Snapshot) -> Vec<Sample<'s>>) -> Vec<Sample<'s>> {
        self.keys.as_ref().map(samples).unwrap_or_default()
    }

    fn of(route: &'a Route) -> Self {
        Self {
            name: &route.name,
            keys: route.body_policy.keys().map(|keys| keys.snapshot()),
            unknown_kids: route.unknown_kids.total(),
            key_checks: &route.key_checks,
            token: route.credentials.snapshot(),
        }
    }
}
