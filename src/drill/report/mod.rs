//! The outcome of a drill, and the three ways to show it.

mod html;
mod json;
mod terminal;

use std::time::Duration;

use jiff::Timestamp;

use super::events::{Change, Event};
use super::observations::Observations;
use super::quantiles::Quantiles;
use super::score::Score;
use super::timeline::Timeline;
use super::{Config, Scenario};

/// Lost requests that are told of one by one; a gateway that loses one in two needs no list.
const MAX_LISTED: usize = 20;

/// What came of a drill. `Display` is the terminal's view of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// What happened.
    pub scenario: Scenario,
    /// Requests a second, as asked for.
    pub rate: u32,
    /// For how long, as asked for.
    pub duration: Duration,
    /// What the plan was made from.
    pub seed: u64,
    /// Who was drilled.
    pub gateway: String,
    /// Where the sandbox was.
    pub provider: String,
    /// When it was over.
    pub at: Timestamp,
    /// What the provider did.
    pub events: Vec<Event>,
    /// The figures.
    pub score: Score,
    /// Which key sealed what, when.
    pub timeline: Timeline,
    /// The outcome.
    pub verdict: Verdict,
}

/// Whether the gateway passed, and why or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was lost or done twice.
    Pass(String),
    /// Something was, or nothing could be seen.
    Fail(String),
}

impl Verdict {
    /// Whether it is a pass.
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
        Self {
            scenario: config.scenario,
            rate: config.rate,
            duration: config.duration,
            seed: config.seed,
            gateway: gateway.to_owned(),
            provider: provider.to_owned(),
            at: Timestamp::now(),
            events: observations.events.clone(),
            timeline: Timeline::of(observations, &score),
            verdict: verdict(&score, &observations.events, observations.calls.is_empty(), provider),
            score,
        }
    }

    /// As a page that needs nothing but itself.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// As JSON, version 1.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json::document(self)
    }

    fn title(&self) -> String {
        format!("jwe-gateway drill: {}", self.scenario)
    }

    fn parameters(&self) -> String {
        let Self { rate, duration, seed, .. } = self;
        format!("{rate} requests/s for {} s, seed {seed}", duration.as_secs_f64())
    }

    /// The table: what, and how much.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let score = &self.score;
        let known = |count: Option<usize>| count.map_or_else(|| "not known".to_owned(), |count| count.to_string());
        let adopted = score.adoption.map_or(0, |adoption| adoption.count);
        vec![
            ("requests", score.requests.to_string()),
            ("lost", score.lost.len().to_string()),
            ("duplicated", score.duplicated.to_string()),
            ("resealed, after a 400", known(score.resealed)),
            ("resent, after a 401", known(score.resent)),
            ("sealed with a retired key", score.sealed_with_retired_key.to_string()),
            ("keys adopted", format!("{adopted} of {} published", score.published)),
            ("rotation to adoption", quantiles(score.adoption)),
            ("latency, calm", quantiles(score.latency_normal)),
            ("latency, during faults", quantiles(score.latency_during_faults)),
            ("key set requests", score.key_set_fetches.to_string()),
            ("token requests", score.token_requests.to_string()),
        ]
    }
}

fn verdict(score: &Score, events: &[Event], nothing_arrived: bool, provider: &str) -> Verdict {
    let count = |wanted: fn(&Change) -> bool| events.iter().filter(|event| wanted(&event.change)).count();
    let Score { requests, lost, duplicated, unread_calls, .. } = score;
    if *unread_calls > 0 {
        return Verdict::Fail(format!("{unread_calls} calls left the provider's record unread; try a lower rate"));
    }
    if *requests > 0 && nothing_arrived {
        return Verdict::Fail(format!("the provider received nothing; is the gateway's upstream {provider}?"));
    }
    if let Some(first) = lost.first() {
        let (number, at) = (lost.len(), first.due.as_secs_f64());
        return Verdict::Fail(format!(
            "{number} of {requests} requests lost, the first at {at:.2} s: {}",
            first.reason
        ));
    }
    if *duplicated > 0 {
        return Verdict::Fail(format!("{duplicated} of {requests} requests were accepted more than once"));
    }
    if *requests == 0 || events.is_empty() {
        return Verdict::Fail("nothing happened; try a longer duration".to_owned());
    }
    let cuts = count(|change| matches!(change, Change::Cut(_)));
    let adopted = score.adoption.map_or(0, |adoption| adoption.count);
    // The last one may come as the load ends.
    if adopted + 1 < cuts {
        return Verdict::Fail(format!(
            "{adopted} keys used after {cuts} hard cuts: some met no request; try a higher rate"
        ));
    }
    if count(|change| matches!(change, Change::OutageBegan)) > 0 && score.key_set_fetches < 2 {
        return Verdict::Fail("nobody asked for keys during the outage; try a longer duration".to_owned());
    }
    let kinds: [(&str, usize); 4] = [
        ("rotation", count(|change| matches!(change, Change::Rotated(_)))),
        ("hard cut", cuts),
        ("outage", count(|change| matches!(change, Change::OutageBegan))),
        ("revocation", count(|change| matches!(change, Change::Revoked))),
    ];
    let survived: Vec<_> = kinds
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    Verdict::Pass(format!("{requests} requests through {}: none lost, none duplicated", survived.join(", ")))
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
    use crate::drill::testing::{observations, reply};

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

    pub(super) fn failed() -> Report {
        let mut observations = observations();
        observations.replies.push(reply(9, 3000, 3001, ReplyOutcome::NoReply("<script>alert(\"&'\")</script>".into())));
        report(&observations)
    }

    #[test]
    fn the_verdict_says_what_was_survived() {
        let expected = Verdict::Pass("4 requests through 1 hard cut: none lost, none duplicated".into());
        assert_eq!(report(&observations()).verdict, expected);
    }

    #[test]
    fn the_verdict_says_why_not() {
        let verdict = |change: fn(&mut Observations)| {
            let mut observations = observations();
            change(&mut observations);
            let verdict = report(&observations).verdict;
            assert!(!verdict.is_pass());
            verdict.reason().to_owned()
        };
        let lost = verdict(|observations| observations.replies[1].outcome = ReplyOutcome::Status(502));
        assert_eq!(lost, "1 of 4 requests lost, the first at 0.50 s: answered 502");
        let twice = verdict(|observations| observations.calls.push(observations.calls[0].clone()));
        assert_eq!(twice, "1 of 4 requests were accepted more than once");
        assert!(
            verdict(|observations| observations.calls.clear())
                .contains("is the gateway's upstream http://127.0.0.1:2?")
        );
        assert!(verdict(|observations| observations.events.clear()).contains("nothing happened"));
        assert!(verdict(|observations| observations.unread_calls = 1).contains("1 calls left"));
        assert!(failed().verdict.reason().contains("script"));
    }
}
