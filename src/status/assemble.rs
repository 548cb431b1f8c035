//! Makes the status of snapshots and history.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::history::{History, RefusedRequest, UpstreamHistory};
use super::model::{
    ConfigurationStatus, ConnectionsStatus, CredentialStatus, FetchStatus, GatewayStatus, KeySetState, KeySetStatus,
    KeyStatus, LogStatus, RefusalStatus, ReloadStatus, Status, Time, TrafficStatus, TrafficSummary, UpstreamStatus,
    VERSION, Verdict, milliseconds,
};
use super::traffic::{Counts, SLOT, SLOTS, Traffic};
use super::verdict::verdict;
use super::{Facts, Usage, problems};
use crate::credentials;
use crate::fetch_history::{Attempts, FetchHistory};
use crate::gateway::route::{BodyPolicy, Route};
use crate::keys::{self, KeyName};

/// The number of withdrawn keys that are shown.
const WITHDRAWN: usize = 10;

/// The number of characters that are shown of a text that others chose.
const MAX_TEXT: usize = 300;

/// The slots of half a minute, and of five minutes.
const SLOTS_OF_30_S: usize = 2;
const SLOTS_OF_5_MIN: usize = SLOTS / 3;

pub(super) fn status(history: &History, facts: &Facts) -> Status {
    let (at, now) = (Time(Timestamp::now()), history.clock().now());
    let upstreams: Vec<UpstreamStatus> = facts.routes.iter().map(|route| upstream(route, history, at, now)).collect();
    let traffic = traffic(history.traffic(), now);
    let refusals: Vec<RefusalStatus> = history.refusals().iter().map(refusal).collect();
    let verdict = dated_verdict(history, facts, &upstreams, &traffic, at);
    let is_ready = !facts.is_stopping && upstreams.iter().any(|upstream| upstream.ready);
    Status {
        version: VERSION,
        at,
        gateway: GatewayStatus {
            version: env!("CARGO_PKG_VERSION"),
            started: Time(history.started()),
            ready: is_ready,
        },
        verdict,
        upstreams,
        traffic,
        refusals,
        limits: facts.limits.clone(),
        configuration: configuration(facts),
        log: LogStatus { lines_dropped: facts.log_lines_dropped },
        certificate_expires: facts.certificate_expires.and_then(|end| Timestamp::try_from(end).ok()).map(Time),
    }
}

/// Dates the problems that are present now.
pub(super) fn check(history: &History, facts: &Facts) {
    status(history, facts);
}

fn dated_verdict(
    history: &History,
    facts: &Facts,
    upstreams: &[UpstreamStatus],
    traffic: &TrafficStatus,
    at: Time,
) -> Verdict {
    let problems = problems::find(history, facts, upstreams, traffic, at);
    let causes: Vec<_> =
        problems.iter().map(|problem| (problem.kind, problem.upstream.as_deref().map(Into::into))).collect();
    let found = history.onsets(&causes, at.0);
    verdict(problems, found.into_iter().map(Time).collect())
}

fn upstream(route: &Route, history: &History, at: Time, now: Instant) -> UpstreamStatus {
    let history = history.upstream(&route.name);
    let key_set = route.body_policy.keys().map(|keys| key_set(keys.snapshot(), &history, at));
    let credential = credential(&route.credentials.snapshot(), &history.renewals, at);
    let has_key = key_set.as_ref().is_none_or(|keys| keys.state != KeySetState::Unusable);
    UpstreamStatus {
        name: route.name.to_string(),
        ready: has_key && credential.usable,
        connections: ConnectionsStatus {
            opened: route.counters.connections.opened(),
            failed: route.counters.connections.failed(),
            reused: route.counters.connections.reused(),
        },
        encryption: match route.body_policy {
            BodyPolicy::Seal(_) => "seal",
            BodyPolicy::RequireSealed(_) => "require-sealed",
            BodyPolicy::Off(_) => "off",
        },
        key_set,
        credential,
        limits: vec![
            Usage::of("requests in flight", route.capacity.in_flight()),
            Usage::of("requests and responses", route.capacity.responses()),
            Usage::of("buffered bytes", route.capacity.budget.usage()),
        ],
        traffic: traffic(&history.traffic, now),
    }
}

fn key_set(snapshot: keys::Snapshot, history: &UpstreamHistory, at: Time) -> KeySetStatus {
    let seen = history.keys.seen();
    let times = |name: &KeyName| seen.iter().find(|seen| seen.name == *name).map(|seen| (seen.first, seen.last));
    let mut published: Vec<KeyName> = Vec::with_capacity(snapshot.entries.len());
    let mut keys: Vec<KeyStatus> = Vec::with_capacity(snapshot.entries.len());
    for entry in &snapshot.entries {
        let name = KeyName { kid: entry.kid.clone(), thumbprint: entry.thumbprint.clone() };
        let times = times(&name);
        keys.push(KeyStatus {
            kid: entry.kid.as_deref().map(cut),
            thumbprint: entry.thumbprint.clone(),
            bits: entry.bits,
            published: true,
            state: cut(&entry.state.to_string()),
            seals: entry.chosen,
            first_seen: times.map(|(first, _)| Time(first)),
            last_seen: times.map(|(_, last)| Time(last)),
        });
        published.push(name);
    }
    let mut withdrawn: Vec<_> = seen.iter().filter(|seen| !published.contains(&seen.name)).collect();
    withdrawn.sort_by_key(|seen| std::cmp::Reverse(seen.last));
    keys.extend(withdrawn.into_iter().take(WITHDRAWN).map(|seen| KeyStatus {
        kid: seen.name.kid.as_deref().map(cut),
        thumbprint: seen.name.thumbprint.clone(),
        bits: None,
        published: false,
        state: "withdrawn".to_owned(),
        seals: false,
        first_seen: Some(Time(seen.first)),
        last_seen: Some(Time(seen.last)),
    }));
    KeySetStatus {
        state: match (&snapshot.usable, snapshot.lifetime_left) {
            (Err(_), _) => KeySetState::Unusable,
            (Ok(_), Some(left)) if left.is_zero() => KeySetState::Stale,
            (Ok(_), _) => KeySetState::Fresh,
        },
        problem: snapshot.usable.as_ref().err().map(|why| cut(&why.to_string())),
        confirmed: snapshot.age.map(|age| at.before(age)),
        expires: snapshot.age.zip(snapshot.lifetime).map(|(age, lifetime)| at.before(age).after(lifetime)),
        next_fetch: at.after(snapshot.next_fetch),
        failing_since: snapshot.failing_since.map(Time),
        last_error: snapshot.last_error.map(|error| cut(&error.to_string())),
        keys,
        fetches: fetches(&history.keys.fetches),
    }
}

fn credential(snapshot: &credentials::Snapshot, history: &FetchHistory, at: Time) -> CredentialStatus {
    let is_none = snapshot.kind == credentials::Kind::None;
    CredentialStatus {
        kind: match snapshot.kind {
            credentials::Kind::Token => "token",
            credentials::Kind::Static => "static",
            credentials::Kind::None => "none",
        },
        usable: snapshot.usable.is_ok(),
        credentials_refused: snapshot.is_refused(),
        obtained: snapshot.age.map(|age| at.before(age)),
        expires: snapshot.lifetime_left.map(|left| at.after(left)),
        next_renewal: (!is_none).then(|| at.after(snapshot.next_renewal)),
        failing_since: snapshot.failing_since.map(Time),
        refused_since: snapshot.refused.map(|(_, since)| Time(since)),
        problem: snapshot
            .failure()
            .or_else(|| snapshot.usable.as_ref().err().map(ToString::to_string))
            .map(|text| cut(&text)),
        renewals: fetches(history),
    }
}

fn fetches(history: &FetchHistory) -> Vec<FetchStatus> {
    let fetch = |attempts: Attempts| FetchStatus {
        first: Time(attempts.first),
        last: Time(attempts.last),
        count: attempts.count,
        duration_ms: milliseconds(attempts.took),
        error: attempts.error,
    };
    history.recent().into_iter().map(fetch).collect()
}

pub(super) fn traffic(traffic: &Traffic, now: Instant) -> TrafficStatus {
    let recent = traffic.recent(now);
    // A second, so that one request in a slot that has just begun is not a high rate.
    let present = traffic.elapsed_in_slot(now).max(Duration::from_secs(1));
    let rates = |count: fn(&Counts) -> u64| {
        let rate = |(slot, counts): (usize, &Counts)| {
            let length = if slot == SLOTS - 1 { present } else { SLOT };
            (count(counts) as f64 / length.as_secs_f64() * 100.0).round() / 100.0
        };
        recent.iter().enumerate().map(rate).collect()
    };
    let quantiles = |share| recent.iter().map(|counts| counts.quantile(share).map(milliseconds)).collect();
    TrafficStatus {
        interval_s: SLOT.as_secs(),
        requests_per_s: rates(|counts| counts.requests),
        errors_per_s: rates(Counts::errors),
        p50_ms: quantiles(0.5),
        p99_ms: quantiles(0.99),
        last_30_s: summary(&recent[SLOTS - SLOTS_OF_30_S..]),
        last_5_min: summary(&recent[SLOTS - SLOTS_OF_5_MIN..]),
        last_15_min: summary(&recent),
    }
}

fn summary(slots: &[Counts]) -> TrafficSummary {
    let counts = Counts::sum(slots);
    TrafficSummary {
        requests: counts.requests,
        upstream_errors: counts.upstream_errors,
        gateway_errors: counts.gateway_errors,
        p50_ms: counts.quantile(0.5).map(milliseconds),
        p99_ms: counts.quantile(0.99).map(milliseconds),
    }
}

fn refusal(refused: &RefusedRequest) -> RefusalStatus {
    RefusalStatus {
        at: Time(refused.at),
        code: refused.code.row().code,
        status: refused.status,
        request_id: refused.request_id.clone(),
        caller: refused.caller.as_deref().map(str::to_owned),
        upstream: refused.upstream.as_deref().map(str::to_owned),
        method: refused.method.clone(),
        path: refused.path.clone(),
        duration_ms: milliseconds(refused.duration),
    }
}

fn configuration(facts: &Facts) -> ConfigurationStatus {
    let super::Configuration { file, flags, variables, last_reload } = &facts.configuration;
    let reload = |(at, error): &(std::time::SystemTime, Option<String>)| ReloadStatus {
        at: Time(Timestamp::try_from(*at).unwrap_or(Timestamp::UNIX_EPOCH)),
        error: error.as_deref().map(cut),
    };
    ConfigurationStatus {
        file: file.clone(),
        flags: flags.clone(),
        variables: variables.clone(),
        last_reload: last_reload.as_ref().map(reload),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
