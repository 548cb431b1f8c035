//! Compares what the clients received with what the provider opened.

use std::collections::HashMap;
use std::time::Duration;

use super::events::{Change, Event};
use super::observations::{BodyCheck, ClientReply, Observations, ProviderCall, ReplyOutcome};
use super::quantiles::Quantiles;
use super::request_kind::RequestKind;

/// The time after an event during which requests count as affected by it. An outage counts from its start
/// until this long after its end. One second is more than a key check takes (120 ms and one fetch).
const EVENT_EFFECT: Duration = Duration::from_secs(1);

/// The 99th percentile of ordinary 400s may be this much above that of the other requests. A gateway that
/// fetches the key set before it relays a 400 exceeds it.
const MAX_DELAY_OF_400S: Duration = Duration::from_millis(50);

/// The results of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// The number of requests sent.
    pub requests: usize,
    /// The lost requests, in order of their numbers.
    pub lost: Vec<LostRequest>,
    /// The number of requests that the provider accepted more than once.
    pub duplicated: usize,
    /// The number of requests that the gateway sealed again after a 400. `None` for an external gateway.
    pub resealed: Option<usize>,
    /// The number of requests that the gateway sent again after a 401. `None` for an external gateway.
    pub resent: Option<usize>,
    /// The number of attempts that the provider refused because their key was not published.
    pub sealed_with_retired_key: usize,
    /// The number of keys published during the drill.
    pub published: usize,
    /// The time from the publication of each key to the first reply to a request opened with it, for the keys
    /// that were used.
    pub adoption: Option<Quantiles>,
    /// The latency from due to replied, for requests that no event affected.
    pub latency_normal: Option<Quantiles>,
    /// The latency from due to replied, for requests during an outage or within a second after an event.
    pub latency_during_faults: Option<Quantiles>,
    /// The latency from due to replied, for the wrong requests of `noisy-400`.
    pub latency_of_400s: Option<Quantiles>,
    /// The latency from due to replied, for all other requests of `noisy-400`.
    pub latency_of_others: Option<Quantiles>,
    /// The number of requests for the key set since the sandbox started.
    pub key_set_fetches: u64,
    /// The number of requests for a token since the sandbox started.
    pub token_requests: u64,
    /// The number of calls that the sandbox dropped before the drill read them.
    pub unread_calls: u64,
}

/// A lost request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRequest {
    /// Its number in the body.
    pub number: u64,
    /// The time when it was due.
    pub due: Duration,
    /// The time when its client had a reply or an error.
    pub ended: Duration,
    /// The status of its reply. `None` if it has no complete reply.
    pub status: Option<u16>,
    /// Whether the provider accepted it.
    pub was_accepted: bool,
    /// The reason why it counts as lost.
    pub reason: String,
    /// What the provider recorded of each attempt. Of calls that do not show to which request they belong, those at the
    /// time of this request.
    pub attempts: Vec<String>,
    /// What the gateway recorded. `None` for an external gateway.
    pub gateway: Option<String>,
}

impl Score {
    pub(super) fn of(observations: &Observations) -> Self {
        let attempts = by_number(&observations.calls);
        let gateway_records = observations.gateway_records.as_ref();
        let traces: HashMap<u64, &str> =
            gateway_records.into_iter().flatten().map(|record| (record.number, record.trace.as_str())).collect();
        let unnumbered = Unnumbered::of(&observations.calls);
        let mut lost: Vec<_> = observations
            .replies
            .iter()
            .filter_map(|reply| {
                let calls = attempts.get(&reply.number).map(Vec::as_slice).unwrap_or_default();
                let reason = loss_reason(reply, calls)?;
                Some(LostRequest {
                    number: reply.number,
                    due: reply.due,
                    ended: reply.ended,
                    status: match reply.outcome {
                        ReplyOutcome::Status(status) => Some(status),
                        ReplyOutcome::NoReply(_) => None,
                    },
                    was_accepted: accepted(calls).next().is_some(),
                    reason,
                    attempts: if calls.is_empty() {
                        unnumbered.during(reply).map(|call| format!("{call} (by time)")).collect()
                    } else {
                        calls.iter().map(ToString::to_string).collect()
                    },
                    gateway: gateway_records
                        .map(|_| traces.get(&reply.number).copied().unwrap_or("no record").to_owned()),
                })
            })
            .collect();
        lost.sort_by_key(|lost| lost.number);
        let (latency_normal, latency_during_faults) = latencies(&observations.replies, &observations.events);
        let (others, wrong): (Vec<_>, Vec<_>) =
            observations.replies.iter().partition(|reply| reply.kind == RequestKind::Valid);
        let others = if wrong.is_empty() { Vec::new() } else { others };
        Self {
            requests: observations.replies.len(),
            lost,
            duplicated: attempts.values().filter(|calls| accepted(calls).count() > 1).count(),
            resealed: gateway_records.map(|records| records.iter().filter(|record| record.resealed).count()),
            resent: gateway_records.map(|records| records.iter().filter(|record| record.resent).count()),
            sealed_with_retired_key: observations
                .calls
                .iter()
                .filter(|call| call.body == BodyCheck::UnknownKey)
                .count(),
            published: observations.events.iter().filter(|event| event.change.published().is_some()).count(),
            adoption: Quantiles::of(adoption(observations)),
            latency_normal: Quantiles::of(latency_normal),
            latency_during_faults: Quantiles::of(latency_during_faults),
            latency_of_400s: Quantiles::of(latencies_of(&wrong)),
            latency_of_others: Quantiles::of(latencies_of(&others)),
            key_set_fetches: observations.key_set_fetches,
            token_requests: observations.token_requests,
            unread_calls: observations.unread_calls,
        }
    }

    /// The 99th percentiles of the ordinary 400s and of the other requests, if the drill sent both.
    pub(super) fn p99_of_400s_and_others(&self) -> Option<(Duration, Duration)> {
        Some((self.latency_of_400s?.p99, self.latency_of_others?.p99))
    }

    /// Whether the ordinary 400s came too late.
    pub(super) fn has_slow_400s(&self) -> bool {
        self.p99_of_400s_and_others().is_some_and(|(of_400s, of_others)| of_400s > of_others + MAX_DELAY_OF_400S)
    }
}

/// Returns, for each request that was opened intact and got its expected status, the time of its reply and the
/// `kid` it was opened with.
pub(super) fn opened_requests(observations: &Observations) -> impl Iterator<Item = (Duration, &str)> {
    let replies: HashMap<u64, &ClientReply> = observations.replies.iter().map(|reply| (reply.number, reply)).collect();
    let intact = observations.calls.iter().filter(|call| call.body == BodyCheck::Intact);
    intact.filter_map(move |call| {
        let reply = replies.get(&call.number?)?;
        let is_expected = call.status == reply.kind.expected_status();
        is_expected.then(|| (reply.ended, call.kid.as_deref().unwrap_or("(no kid)")))
    })
}

fn by_number(calls: &[ProviderCall]) -> HashMap<u64, Vec<&ProviderCall>> {
    let mut attempts: HashMap<u64, Vec<&ProviderCall>> = HashMap::new();
    for call in calls {
        if let Some(number) = call.number {
            attempts.entry(number).or_default().push(call);
        }
    }
    attempts
}

/// The most calls that are attributed to a request by their time.
const MAX_BY_TIME: usize = 3;

/// The calls that could not be opened and have no request id, by time.
struct Unnumbered<'a>(Vec<&'a ProviderCall>);

impl<'a> Unnumbered<'a> {
    fn of(calls: &'a [ProviderCall]) -> Self {
        let mut unnumbered: Vec<_> = calls.iter().filter(|call| call.number.is_none()).collect();
        unnumbered.sort_by_key(|call| call.at);
        Self(unnumbered)
    }

    /// The calls between the time when a request was due and the end of its reply.
    fn during(&self, reply: &ClientReply) -> impl Iterator<Item = &'a ProviderCall> {
        let (due, ended) = (reply.due, reply.ended);
        let from = self.0.partition_point(|call| call.at < due);
        self.0[from..].iter().copied().take_while(move |call| call.at <= ended).take(MAX_BY_TIME)
    }
}

fn accepted<'a>(calls: &'a [&ProviderCall]) -> impl Iterator<Item = &'a ProviderCall> {
    calls.iter().copied().filter(|call| call.is_accepted())
}

fn loss_reason(reply: &ClientReply, calls: &[&ProviderCall]) -> Option<String> {
    match &reply.outcome {
        ReplyOutcome::NoReply(reason) => return Some(format!("no reply: {reason}")),
        ReplyOutcome::Status(status) if *status == reply.kind.expected_status() => {}
        ReplyOutcome::Status(status) => return Some(format!("reply had status {status}")),
    }
    if reply.kind != RequestKind::Valid {
        return wrong_400_reason(reply, calls);
    }
    match accepted(calls).next().map(|call| call.body) {
        Some(BodyCheck::Intact) => None,
        Some(BodyCheck::Clear) => Some("the provider received it as plaintext".to_owned()),
        Some(_) => Some("the provider opened a different body".to_owned()),
        None => Some("reply had status 200, but the provider never received the request".to_owned()),
    }
}

/// Returns why the reply to a wrong request is not the provider's ordinary 400. Of several attempts the last
/// one counts, because a key can vanish while the provider refuses the request for another reason.
fn wrong_400_reason(reply: &ClientReply, calls: &[&ProviderCall]) -> Option<String> {
    let Some(last) = calls.iter().rev().find(|call| call.is_ordinary_400()) else {
        return Some("reply had status 400, but the provider never opened the request".to_owned());
    };
    match last.body {
        BodyCheck::Intact if reply.body == Some(last.response) => None,
        BodyCheck::Intact => Some("the reply's body is not the body that the provider sent".to_owned()),
        BodyCheck::Clear => Some("the provider received it as plaintext".to_owned()),
        _ => Some("the provider opened a different body".to_owned()),
    }
}

/// Returns, for each published key that was used, the time from its publication to its first use.
fn adoption(observations: &Observations) -> Vec<Duration> {
    let mut first_use: HashMap<&str, Duration> = HashMap::new();
    for (ended, kid) in opened_requests(observations) {
        let first = first_use.entry(kid).or_insert(ended);
        *first = (*first).min(ended);
    }
    let published = observations.events.iter().filter_map(|event| Some((event.at, event.change.published()?)));
    published.filter_map(|(at, kid)| Some(first_use.get(kid)?.saturating_sub(at))).collect()
}

/// Returns the latencies of the requests that no event affected, and of those that an event affected.
fn latencies(replies: &[ClientReply], events: &[Event]) -> (Vec<Duration>, Vec<Duration>) {
    let periods = disturbed_periods(events);
    let (outside, inside): (Vec<_>, Vec<_>) = replies
        .iter()
        .partition(|reply| !periods.iter().any(|(begin, end)| reply.due <= *end && reply.ended >= *begin));
    (latencies_of(&outside), latencies_of(&inside))
}

fn latencies_of(replies: &[&ClientReply]) -> Vec<Duration> {
    replies.iter().map(|reply| reply.ended.saturating_sub(reply.due)).collect()
}

fn disturbed_periods(events: &[Event]) -> Vec<(Duration, Duration)> {
    let window = |(index, event): (usize, &Event)| {
        let end = match event.change {
            Change::OutageStarted => {
                let outage_end = events[index..].iter().find(|event| event.change == Change::OutageEnded);
                outage_end.map_or(Duration::MAX, |event| event.at)
            }
            _ => event.at,
        };
        (event.at, end.saturating_add(EVENT_EFFECT))
    };
    events.iter().enumerate().map(window).collect()
}

#[cfg(test)]
mod tests;
