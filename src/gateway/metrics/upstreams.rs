//! The metrics of keys, credentials and connections, per upstream.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::counters::{Counters, UpstreamCounters};
use super::families::{Labels, counter, flag, gauge, timestamp};
use crate::fetch_counters::{FailureReason, FetchCounters};
use crate::gateway::response::key_check::KeyCheck;
use crate::gateway::route::Route;
use crate::gateway::validation::{Outcome, Rule};
use crate::keys::{Entry, EntryState, Snapshot};
use crate::{credentials, keys};

/// A provider chooses the kid of a key. If a kid is longer than this, its label has the thumbprint instead.
pub(super) const MAX_KID: usize = 64;

/// The samples of one upstream: the labels beside `upstream`, and the value.
type Samples = Vec<(Labels<'static>, f64)>;

/// What the parts of one upstream say now.
struct Now {
    name: String,
    /// None with `encryption = "off"`.
    keys: Option<Snapshot>,
    credentials: credentials::Snapshot,
}

/// The name and help text of a gauge, and its samples for one upstream.
type Gauge = (&'static str, &'static str, fn(&Now) -> Samples);

const GAUGES: [Gauge; 8] = [
    ("jwe_gateway_ready", "1 while there is a usable key and a credential", |now| {
        let has_key = now.keys.as_ref().is_none_or(|keys| keys.usable.is_ok());
        one(flag(has_key && now.credentials.usable.is_ok()))
    }),
    ("jwe_gateway_jwks_keys", "Published keys, usable and rejected", |now| {
        let samples = |keys: &Snapshot| {
            let usable = usable(keys).count();
            let of = |state: &'static str, count: usize| (vec![("state", state.into())], count as f64);
            vec![of("usable", usable), of("rejected", keys.entries.len() - usable)]
        };
        now.keys.as_ref().map(samples).unwrap_or_default()
    }),
    ("jwe_gateway_jwks_key_info", "Usable published keys; active marks the key in use", |now| {
        now.keys.as_ref().map(key_infos).unwrap_or_default()
    }),
    ("jwe_gateway_jwks_serving_stale", "1 while the key set in use is older than its lifetime", |now| {
        let is_stale = |keys: &Snapshot| flag(keys.lifetime_left.is_some_and(|left| left.is_zero()));
        now.keys.as_ref().map(|keys| one(is_stale(keys))).unwrap_or_default()
    }),
    (
        "jwe_gateway_jwks_last_success_timestamp_seconds",
        "Last time the provider sent or confirmed the key set",
        |now| {
            let confirmed = now.keys.as_ref().and_then(|keys| keys.lifetime.and(keys.confirmed));
            confirmed.map(|time| one(timestamp(time))).unwrap_or_default()
        },
    ),
    ("jwe_gateway_jwks_expires_timestamp_seconds", "End of the lifetime of the key set", |now| {
        let expires = now.keys.as_ref().and_then(|keys| keys.confirmed?.checked_add(keys.lifetime?));
        expires.map(|time| one(timestamp(time))).unwrap_or_default()
    }),
    (
        "jwe_gateway_token_last_success_timestamp_seconds",
        "Last time a token or a static credential was obtained",
        |now| now.credentials.renewed.map(|time| one(timestamp(time))).unwrap_or_default(),
    ),
    ("jwe_gateway_token_expires_timestamp_seconds", "End of the lifetime of the token", |now| {
        let expires = now.credentials.lifetime_left.and(now.credentials.expires);
        expires.map(|time| one(timestamp(time))).unwrap_or_default()
    }),
];

/// The name and help text of a counter, and its samples for one upstream.
type Counter = (&'static str, &'static str, fn(&UpstreamCounters) -> Samples);

/// An upstream with `encryption = "off"` has no samples of these.
const OF_KEYS: [Counter; 4] = [
    ("jwe_gateway_jwks_fetches", "Fetches of the provider's key set", |counters| {
        fetches(&counters.keys.fetches, &keys::Counters::REASONS)
    }),
    ("jwe_gateway_jwks_changes", "Fetched key sets with other usable keys than the previous set", |counters| {
        one(counters.keys.changes() as f64)
    }),
    ("jwe_gateway_unknown_kids", "Forwarded messages with a kid that is not published", |counters| {
        one(counters.unknown_kids.total() as f64)
    }),
    ("jwe_gateway_key_checks", "Replies that could mean that the key is gone, by outcome of the check", |counters| {
        let sample =
            |outcome: KeyCheck| (vec![("outcome", outcome.as_str().into())], counters.key_checks.total(outcome) as f64);
        KeyCheck::ALL.map(sample).into()
    }),
];

const OF_ALL: [Counter; 7] = [
    ("jwe_gateway_token_fetches", "Token requests, or reads of a static credential", |counters| {
        fetches(&counters.credentials.renewals, &credentials::Counters::REASONS)
    }),
    ("jwe_gateway_token_refusals", "401 responses of the provider to the credential in use", |counters| {
        one(counters.credentials.refusals() as f64)
    }),
    ("jwe_gateway_upstream_connections_opened", "Connections to the provider that were opened", |counters| {
        one(counters.connections.opened() as f64)
    }),
    ("jwe_gateway_upstream_connections_failed", "Attempts to connect to the provider that failed", |counters| {
        one(counters.connections.failed() as f64)
    }),
    (
        "jwe_gateway_upstream_connections_reused",
        "Replies on a connection that had brought a reply before",
        |counters| one(counters.connections.reused() as f64),
    ),
    (
        "jwe_gateway_validations",
        "Requests that were checked against the description of the API, by outcome",
        |counters| {
            let sample = |outcome: Outcome| {
                (vec![("outcome", outcome.as_str().into())], counters.validation.checks(outcome) as f64)
            };
            Outcome::ALL.map(sample).into()
        },
    ),
    ("jwe_gateway_validation_findings", "Differences from the description of the API, by rule", |counters| {
        let sample = |rule: &Rule| (vec![("rule", rule.as_str().into())], counters.validation.findings(*rule) as f64);
        Rule::ALL.iter().map(sample).collect()
    }),
];

pub(super) fn encode(counters: &Counters, routes: &[Route], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let now: Vec<Now> = routes.iter().map(Now::of).collect();
    for (name, help, samples) in GAUGES {
        gauge(encoder, name, help, now.iter().flat_map(|now| with_upstream(&now.name, samples(now))))?;
    }
    let upstreams = counters.upstreams();
    let has_keys = |upstream: &&Arc<UpstreamCounters>| {
        let now = now.iter().find(|now| *now.name == *upstream.name);
        now.is_none_or(|now| now.keys.is_some())
    };
    let with_keys = upstreams.iter().filter(has_keys).collect();
    for (counters, upstreams) in [(&OF_KEYS[..], with_keys), (&OF_ALL, upstreams.iter().collect::<Vec<_>>())] {
        for (name, help, samples) in counters {
            let samples = upstreams.iter().flat_map(|upstream| with_upstream(&upstream.name, samples(upstream)));
            counter(encoder, name, help, samples)?;
        }
    }
    Ok(())
}

fn with_upstream(name: &str, samples: Samples) -> Samples {
    let with = |(mut labels, value): (Labels<'static>, f64)| {
        labels.insert(0, ("upstream", name.to_owned().into()));
        (labels, value)
    };
    samples.into_iter().map(with).collect()
}

impl Now {
    fn of(route: &Route) -> Self {
        Self {
            name: route.name.to_string(),
            keys: route.body_policy.keys().map(|keys| keys.snapshot()),
            credentials: route.credentials.snapshot(),
        }
    }
}

fn one(value: f64) -> Samples {
    vec![(Labels::new(), value)]
}

fn usable(keys: &Snapshot) -> impl Iterator<Item = &Entry> {
    keys.entries.iter().filter(|entry| entry.state == EntryState::Usable)
}

/// A set may list a key twice. It has one sample.
fn key_infos(keys: &Snapshot) -> Samples {
    let mut infos: BTreeMap<String, bool> = BTreeMap::new();
    for entry in usable(keys) {
        let kid = entry.kid.as_ref().filter(|kid| kid.len() <= MAX_KID).or(entry.thumbprint.as_ref());
        *infos.entry(kid.cloned().unwrap_or_default()).or_default() |= entry.chosen;
    }
    let labels = |(kid, active): (String, bool)| vec![("kid", kid.into()), ("active", active.to_string().into())];
    infos.into_iter().map(|info| (labels(info), 1.0)).collect()
}

/// Successes, and failures by reason.
fn fetches(counters: &FetchCounters, reasons: &[FailureReason]) -> Samples {
    let labels =
        |result: &'static str, reason: &'static str| vec![("result", result.into()), ("reason", reason.into())];
    let failed = reasons.iter().map(|reason| (labels("failed", reason.as_str()), counters.failures(*reason) as f64));
    std::iter::once((labels("ok", ""), counters.ok() as f64)).chain(failed).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::{KeyName, NoUsableKey};

    fn snapshot(entries: Vec<Entry>) -> Snapshot {
        Snapshot {
            usable: Err(NoUsableKey::NeverFetched { last_error: None }) as Result<KeyName, _>,
            entries,
            age: None,
            lifetime_left: None,
            lifetime: None,
            confirmed: None,
            next_fetch: Duration::ZERO,
            failing_since: None,
            last_error: None,
        }
    }

    fn entry(kid: &str, thumbprint: &str, chosen: bool) -> Entry {
        Entry {
            kid: Some(kid.to_owned()),
            thumbprint: Some(thumbprint.to_owned()),
            bits: None,
            state: EntryState::Usable,
            chosen,
        }
    }

    #[test]
    fn a_long_kid_is_replaced_by_the_thumbprint_and_a_key_that_is_listed_twice_has_one_sample() {
        let long = "k".repeat(10_000);
        let keys =
            [entry(&long, "T1", false), entry(&long, "T2", false), entry("a", "T3", true), entry("a", "T3", false)];
        let infos = key_infos(&snapshot(keys.into()));
        let labels: Vec<_> = infos.iter().map(|(labels, _)| (&*labels[0].1, &*labels[1].1)).collect();
        assert_eq!(labels, [("T1", "false"), ("T2", "false"), ("a", "true")]);
    }
}
