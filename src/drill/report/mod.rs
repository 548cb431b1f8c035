//! The report of a drill, and its four formats.

mod html;
mod json;
mod junit;
mod terminal;

use std::time::Duration;

use jiff::Timestamp;

use super::causes::{Cause, causes};
use super::checks::{Check, checks};
use super::events::{Change, Event};
use super::latency::LatencyOverTime;
use super::observations::Observations;
use super::quantiles::Quantiles;
use super::score::Score;
use super::timeline::Timeline;
use super::{Config, Scenario};

/// The number of lost requests that are listed one by one. A gateway that loses more has a fault that these
/// show.
const MAX_LISTED: usize = 20;

/// The report of a drill. `Display` writes it for a terminal.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub scenario: Scenario,
    /// The requested number of requests per second.
    pub rate: u32,
    /// The requested duration.
    pub duration: Duration,
    /// The seed of the plan.
    pub seed: u64,
    /// The URL of the gateway.
    pub gateway: String,
    /// The URL of the sandbox.
    pub provider: String,
    /// The time of the end of the drill.
    pub at: Timestamp,
    /// The time from the first request being due to the end of the last one.
    pub took: Duration,
    /// The events, in order.
    pub events: Vec<Event>,
    /// The results.
    pub score: Score,
    /// The number of requests sealed with each key, over time.
    pub timeline: Timeline,
    /// The latency over time.
    pub latency: LatencyOverTime,
    /// Why the client did not survive. Empty if it passed.
    pub causes: Vec<Cause>,
    /// The verdict in parts.
    pub checks: Vec<Check>,
    /// Whether the gateway passed.
    pub verdict: Verdict,
}

/// Whether the gateway passed, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No request was lost or duplicated, and ordinary 400s were fast enough.
    Pass(String),
    /// A request was lost or duplicated, ordinary 400s were too slow, or the drill could not observe enough.
    Fail(String),
}

impl Verdict {
    /// Whether the gateway passed.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Pass(_))
    }

    fn label(&self) -> &'static str {
        if self.is_pass() { "PASS" } else { "FAIL" }
    }

    fn reason(&self) -> &str {
        match self {
            Self::Pass(reason) | Self::Fail(reason) => reason,
        }
    }
}

impl Report {
    pub(super) fn new(config: &Config, gateway: &str, provider: &str, observations: &Observations) -> Self {
        let score = Score::of(observations);
        let verdict = verdict(&score, &observations.events, observations.calls.is_empty(), provider);
        let failure = (!verdict.is_pass()).then(|| verdict.reason());
        Self {
            took: observations.took,
            latency: LatencyOverTime::of(&observations.replies, observations.took),
            causes: causes(observations, &score),
            checks: checks(observations, &score, failure),
            scenario: config.scenario,
            rate: config.rate,
            duration: config.duration,
            seed: config.seed,
            gateway: gateway.to_owned(),
            provider: provider.to_owned(),
            at: Timestamp::now(),
            events: observations.events.clone(),
            timeline: Timeline::of(observations, &score),
            verdict,
            score,
        }
    }

    /// The report as one HTML page without external resources.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// The report as JSON, version 1.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json::document(self)
    }

    /// The report as JUnit XML: one test case for each check.
    #[must_use]
    pub fn to_junit(&self) -> String {
        junit::document(self)
    }

    fn title(&self) -> String {
        format!("jwe-gateway drill: {}", self.scenario)
    }

    fn parameters(&self) -> String {
        let Self { rate, duration, seed, .. } = self;
        format!("{rate} requests/s for {} s, seed {seed}", duration.as_secs_f64())
    }

    /// The rows of the table: label and value.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let score = &self.score;
        let known = |count: Option<usize>| count.map_or_else(|| "not known".to_owned(), |count| count.to_string());
        let keys_used = score.adoption.map_or(0, |adoption| adoption.count);
        let mut rows = vec![
            ("requests", score.requests.to_string()),
            ("lost", score.lost.len().to_string()),
            ("duplicated", score.duplicated.to_string()),
            ("resealed after a 400", known(score.resealed)),
            ("resent after a 401", known(score.resent)),
            ("sealed with a retired key", score.sealed_with_retired_key.to_string()),
            ("new keys used", format!("{keys_used} of {} published", score.published)),
            ("publication to first use", quantiles(score.adoption)),
            ("latency without faults", quantiles(score.latency_normal)),
            ("latency during faults", quantiles(score.latency_during_faults)),
            ("key set requests", score.key_set_fetches.to_string()),
            ("token requests", score.token_requests.to_string()),
        ];
        if score.latency_of_400s.is_some() {
            rows.push(("latency of ordinary 400s", quantiles(score.latency_of_400s)));
            rows.push(("latency of the others", quantiles(score.latency_of_others)));
        }
        rows
    }
}

fn verdict(score: &Score, events: &[Event], nothing_arrived: bool, provider: &str) -> Verdict {
    let count = |wanted: fn(&Change) -> bool| events.iter().filter(|event| wanted(&event.change)).count();
    let Score { requests, lost, duplicated, unread_calls, .. } = score;
    if *unread_calls > 0 {
        return Verdict::Fail(format!(
            "the sandbox dropped {unread_calls} requests before the drill read them; use a lower rate"
        ));
    }
    if *requests > 0 && nothing_arrived {
        return Verdict::Fail(format!("the provider received no request; check that the target sends to {provider}"));
    }
    if let Some(first) = lost.first() {
        let (number, at) = (lost.len(), first.due.as_secs_f64());
        return Verdict::Fail(format!(
            "{number} of {requests} requests were lost, the first at {at:.2} s: {}",
            first.reason
        ));
    }
    if *duplicated > 0 {
        return Verdict::Fail(format!("{duplicated} of {requests} requests were accepted more than once"));
    }
    if *requests == 0 || events.is_empty() {
        return Verdict::Fail("no event occurred; use a longer duration".to_owned());
    }
    let cuts = count(|change| matches!(change, Change::Cut(_)));
    let keys_used = score.adoption.map_or(0, |adoption| adoption.count);
    // The last key may be published just before the load ends.
    if keys_used + 1 < cuts {
        return Verdict::Fail(format!("only {keys_used} new keys were used after {cuts} hard cuts; use a higher rate"));
    }
    if count(|change| matches!(change, Change::OutageStarted)) > 0 && score.key_set_fetches < 2 {
        return Verdict::Fail(
            "the gateway did not request the key set during the outage; use a longer duration".to_owned(),
        );
    }
    let p99s = score.p99_of_400s_and_others();
    let p99s = p99s.map(|(of_400s, others)| {
        format!("p99 of ordinary 400s {}, of the others {}", milliseconds(of_400s), milliseconds(others))
    });
    if let Some(p99s) = p99s.as_ref().filter(|_| score.has_slow_400s()) {
        return Verdict::Fail(format!("{p99s}: ordinary 400s may be at most 50 ms slower"));
    }
    let kinds: [(&str, usize); 4] = [
        ("rotation", count(|change| matches!(change, Change::Rotated(_)))),
        ("hard cut", cuts),
        ("outage", count(|change| matches!(change, Change::OutageStarted))),
        ("revocation", count(|change| matches!(change, Change::Revoked))),
    ];
    let events_by_kind: Vec<_> = kinds
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    let p99s = p99s.map(|p99s| format!(", {p99s}")).unwrap_or_default();
    Verdict::Pass(format!("{requests} requests, {}: none lost, none duplicated{p99s}", events_by_kind.join(", ")))
}

fn quantiles(quantiles: Option<Quantiles>) -> String {
    quantiles.map_or_else(
        || "none".to_owned(),
        |Quantiles { p50, p99, max, .. }| {
            format!("p50 {}, p99 {}, max {}", milliseconds(p50), milliseconds(p99), milliseconds(max))
        },
    )
}

fn milliseconds(time: Duration) -> String {
    let time = time.as_secs_f64() * 1e3;
    if time < 10.0 { format!("{time:.1} ms") } else { format!("{time:.0} ms") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::drill::Target;
    use crate::drill::observations::ReplyOutcome;
    use crate::drill::observations::{BodyCheck, ClientReply};
    use crate::drill::testing::{call, observations, reply, reply_to_wrong};

    pub(super) fn report(observations: &Observations) -> Report {
        let config = Config {
            scenario: Scenario::HardCut,
            rate: 1,
            duration: Duration::from_secs(4),
            seed: 1,
            target: Target::InProcess,
        };
        Report::new(&config, "http://127.0.0.1:1/", "http://127.0.0.1:2", observations)
    }

    /// The observations of a drill with an ordinary 400 that took this many milliseconds.
    pub(super) fn noisy(latency: u64) -> Observations {
        let mut observations = observations();
        let reply = reply_to_wrong(4, 2600, 2600 + latency, ReplyOutcome::Status(400));
        observations.replies.push(ClientReply { ended: reply.due + Duration::from_millis(latency), ..reply });
        observations.calls.push(call(4, 400, "b", BodyCheck::Intact));
        observations
    }

    pub(super) fn failed() -> Report {
        let mut observations = observations();
        observations.replies.push(reply(9, 3000, 3001, ReplyOutcome::NoReply("<script>alert(\"&'\")</script>".into())));
        report(&observations)
    }

    #[test]
    fn a_pass_counts_the_requests_and_the_events() {
        let expected = Verdict::Pass("4 requests, 1 hard cut: none lost, none duplicated".into());
        assert_eq!(report(&observations()).verdict, expected);
    }

    #[test]
    fn the_verdict_of_noisy_400_depends_on_the_latency_of_the_400s() {
        let p99s = |of_400s| format!("p99 of ordinary 400s {of_400s}, of the others 140 ms");
        let verdict = report(&noisy(190)).verdict;
        let counts = "5 requests, 1 hard cut: none lost, none duplicated";
        assert_eq!(verdict, Verdict::Pass(format!("{counts}, {}", p99s("190 ms"))));
        let verdict = report(&noisy(191)).verdict;
        assert_eq!(verdict, Verdict::Fail(format!("{}: ordinary 400s may be at most 50 ms slower", p99s("191 ms"))));
    }

    #[test]
    fn a_fail_gives_its_reason() {
        let verdict = |change: fn(&mut Observations)| {
            let mut observations = observations();
            change(&mut observations);
            let verdict = report(&observations).verdict;
            assert!(!verdict.is_pass());
            verdict.reason().to_owned()
        };
        let lost = verdict(|observations| observations.replies[1].outcome = ReplyOutcome::Status(502));
        assert_eq!(lost, "1 of 4 requests were lost, the first at 0.50 s: reply had status 502");
        let duplicated = verdict(|observations| observations.calls.push(observations.calls[0].clone()));
        assert_eq!(duplicated, "1 of 4 requests were accepted more than once");
        assert!(
            verdict(|observations| observations.calls.clear())
                .contains("check that the target sends to http://127.0.0.1:2")
        );
        assert!(verdict(|observations| observations.events.clear()).contains("no event occurred"));
        assert!(verdict(|observations| observations.unread_calls = 1).contains("dropped 1 requests"));
        assert!(failed().verdict.reason().contains("script"));
    }
}
