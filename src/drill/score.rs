//! What callers were answered, held against what the provider opened.

use std::collections::HashMap;
use std::time::Duration;

use super::events::{Change, Event};
use super::observations::{BodyCheck, ClientReply, Observations, ProviderCall, ReplyOutcome};
use super::quantiles::Quantiles;

/// How long after an event a request counts as hit by it; an outage counts from its beginning to
/// this long after its end. The gateway's budget lets a refused request wait a second at most.
const EVENT_EFFECT: Duration = Duration::from_secs(1);

/// The figures of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// Requests sent.
    pub requests: usize,
    /// Those that did not get through, in order.
    pub lost: Vec<LostRequest>,
    /// Requests that the provider accepted more than once.
    pub duplicated: usize,
    /// Requests sealed again after a 400; not known of another's gateway.
    pub resealed: Option<usize>,
    /// Requests sent again after a 401; not known of another's gateway.
    pub resent: Option<usize>,
    /// Attempts that the provider refused because their key was not published.
    pub sealed_with_retired_key: usize,
    /// Keys published during the drill.
    pub published: usize,
    /// From the publication of each key to the first answer to a request opened under it, for the
    /// keys that were used.
    pub adoption: Option<Quantiles>,
    /// From due to answered, away from events.
    pub latency_normal: Option<Quantiles>,
    /// The same within a second after an event, or during an outage.
    pub latency_during_faults: Option<Quantiles>,
    /// Requests for the key set since the start.
    pub key_set_fetches: u64,
    /// Requests for a token since the start.
    pub token_requests: u64,
    /// Calls that could not be looked at, because the provider's record is bounded.
    pub unread_calls: u64,
}

/// A request that did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRequest {
    /// Its number, as in its body.
    pub number: u64,
    /// When it should have been sent.
    pub due: Duration,
    /// When its caller knew.
    pub ended: Duration,
    /// Why it counts as lost.
    pub reason: String,
    /// What the provider saw of it, attempt by attempt.
    pub attempts: Vec<String>,
    /// What the gateway recorded; not known of another's.
    pub gateway: Option<String>,
}

impl Score {
    /// The figures that follow from `evidence`.
    pub(super) fn of(observations: &Observations) -> Self {
        let attempts = by_number(&observations.calls);
        let gateway_records = observations.gateway_records.as_ref();
        let traces: HashMap<u64, &str> =
            gateway_records.into_iter().flatten().map(|record| (record.number, record.trace.as_str())).collect();
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
                    reason,
                    attempts: calls.iter().map(ToString::to_string).collect(),
                    gateway: gateway_records
                        .map(|_| traces.get(&reply.number).copied().unwrap_or("no record").to_owned()),
                })
            })
            .collect();
        lost.sort_by_key(|lost| lost.number);
        let (latency_normal, latency_during_faults) = latencies(&observations.replies, &observations.events);
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
            key_set_fetches: observations.key_set_fetches,
            token_requests: observations.token_requests,
            unread_calls: observations.unread_calls,
        }
    }
}

/// Each request that got through, when its answer was there, and the key it was opened with.
pub(super) fn opened_requests(observations: &Observations) -> impl Iterator<Item = (Duration, &str)> {
    let ended: HashMap<u64, Duration> = observations.replies.iter().map(|reply| (reply.number, reply.ended)).collect();
    let opened = observations.calls.iter().filter(|call| call.status == 200 && call.body == BodyCheck::Intact);
    opened.filter_map(move |call| Some((*ended.get(&call.number?)?, call.kid.as_deref().unwrap_or("(no kid)"))))
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

fn accepted<'a>(calls: &'a [&ProviderCall]) -> impl Iterator<Item = &'a ProviderCall> {
    calls.iter().copied().filter(|call| call.is_accepted())
}

fn loss_reason(reply: &ClientReply, calls: &[&ProviderCall]) -> Option<String> {
    match &reply.outcome {
        ReplyOutcome::NoReply(reason) => return Some(format!("no answer: {reason}")),
        ReplyOutcome::Status(200) => {}
        ReplyOutcome::Status(status) => return Some(format!("answered {status}")),
    }
    match accepted(calls).next().map(|call| call.body) {
        Some(BodyCheck::Intact) => None,
        Some(BodyCheck::Clear) => Some("it came to the provider in clear".to_owned()),
        Some(_) => Some("the provider opened something else".to_owned()),
        None => Some("answered 200, but the provider never had it".to_owned()),
    }
}

/// How long each published key that was used had waited for its first use.
fn adoption(observations: &Observations) -> Vec<Duration> {
    let mut first_use: HashMap<&str, Duration> = HashMap::new();
    for (ended, kid) in opened_requests(observations) {
        let first = first_use.entry(kid).or_insert(ended);
        *first = (*first).min(ended);
    }
    let published = observations.events.iter().filter_map(|event| Some((event.at, event.change.published()?)));
    published.filter_map(|(at, kid)| Some(first_use.get(kid)?.saturating_sub(at))).collect()
}

/// The times of the requests away from events, and of those hit by one.
fn latencies(replies: &[ClientReply], events: &[Event]) -> (Vec<Duration>, Vec<Duration>) {
    let periods = disturbed_periods(events);
    let (outside, inside): (Vec<_>, Vec<_>) = replies
        .iter()
        .partition(|reply| !periods.iter().any(|(begin, end)| reply.due <= *end && reply.ended >= *begin));
    let times =
        |replies: Vec<&ClientReply>| replies.iter().map(|reply| reply.ended.saturating_sub(reply.due)).collect();
    (times(outside), times(inside))
}

fn disturbed_periods(events: &[Event]) -> Vec<(Duration, Duration)> {
    let window = |(index, event): (usize, &Event)| {
        let end = match event.change {
            Change::OutageBegan => {
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
mod tests {
    use super::*;
    use crate::drill::testing::{call, event, ms, observations, reply};

    #[test]
    fn a_request_answered_and_opened_once_is_not_lost() {
        let score = Score::of(&observations());
        assert_eq!((score.requests, score.lost.len(), score.duplicated), (4, 0, 0));
        assert_eq!((score.resealed, score.resent, score.sealed_with_retired_key), (Some(1), Some(0), 1));
        assert_eq!(score.published, 1);
    }

    #[test]
    fn a_request_is_lost_for_each_of_these_reasons_and_its_trace_is_kept() {
        let mut observations = observations();
        observations.replies.extend([
            reply(10, 0, 1, ReplyOutcome::Status(502)),
            reply(11, 0, 1, ReplyOutcome::NoReply("connection closed".into())),
            reply(12, 0, 1, ReplyOutcome::Status(200)),
            reply(13, 0, 1, ReplyOutcome::Status(200)),
            reply(14, 0, 1, ReplyOutcome::Status(200)),
            reply(15, 0, 1, ReplyOutcome::Status(200)),
        ]);
        observations.calls.extend([
            call(10, 200, "a", BodyCheck::Intact),
            call(13, 200, "a", BodyCheck::Altered),
            call(14, 200, "a", BodyCheck::Clear),
            call(15, 400, "a", BodyCheck::UnknownKey),
        ]);
        let score = Score::of(&observations);
        let reasons: Vec<_> = score.lost.iter().map(|lost| (lost.number, lost.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (10, "answered 502"),
                (11, "no answer: connection closed"),
                (12, "answered 200, but the provider never had it"),
                (13, "the provider opened something else"),
                (14, "it came to the provider in clear"),
                (15, "answered 200, but the provider never had it"),
            ]
        );
        assert_eq!(score.lost[5].attempts, ["400 key not published a"]);
        assert_eq!(score.lost[5].gateway.as_deref(), Some("no record"));
    }

    #[test]
    fn a_request_that_was_accepted_twice_is_a_duplicate_and_a_refused_attempt_is_not() {
        let mut observations = observations();
        observations.calls.push(call(0, 200, "a", BodyCheck::Intact));
        observations.calls.push(call(1, 401, "a", BodyCheck::Unopened));
        assert_eq!(Score::of(&observations).duplicated, 1);
    }

    #[test]
    fn adoption_runs_from_publication_to_the_first_answer_under_the_key() {
        let mut observations = observations();
        let adopted = Score::of(&observations).adoption.unwrap();
        assert_eq!((adopted.count, adopted.max), (1, ms(130)));
        observations.events.push(event(3000, Change::Cut("never used".into())));
        let score = Score::of(&observations);
        assert_eq!((score.published, score.adoption.unwrap().count), (2, 1));
    }

    #[test]
    fn latency_counts_from_due_and_tells_calm_from_trouble() {
        let score = Score::of(&observations());
        assert_eq!(score.latency_normal.unwrap().count, 2);
        assert_eq!(score.latency_during_faults.unwrap().max, ms(140));
    }

    #[test]
    fn an_outage_is_trouble_from_its_beginning_to_a_second_after_its_end() {
        let events = [event(1000, Change::OutageBegan), event(5000, Change::OutageEnded)];
        let at = |at| reply(0, at, at + 1, ReplyOutcome::Status(200));
        let is_disturbed = |at| !latencies(&[at], &events).1.is_empty();
        assert_eq!([998, 1000, 4000, 5900, 6001].map(|ms| is_disturbed(at(ms))), [false, true, true, true, false]);
        assert!(!latencies(&[at(60_000)], &events[..1]).1.is_empty(), "an outage without an end");
    }

    #[test]
    fn of_anothers_gateway_its_own_figures_are_not_known() {
        let mut observations = observations();
        observations.gateway_records = None;
        let score = Score::of(&observations);
        assert_eq!((score.resealed, score.resent), (None, None));
    }
}
