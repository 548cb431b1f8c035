//! The checks of a drill: the verdict in parts, for a report that lists each of them.
//!
//! The verdict names the first reason to fail. A CI system shows a list, and compares it with earlier runs. So each
//! promise is one check, each event of the provider is one, and their names do not depend on chance.

use std::collections::HashMap;
use std::time::Duration;

use super::events::{Change, Event};
use super::observations::{BodyCheck, Observations};
use super::score::{LostRequest, Score, opened_requests};

/// One check of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What must hold, the same in each run of a scenario.
    pub name: String,
    /// How long the client needed, for an event.
    pub time: Option<Duration>,
    /// Why it does not hold.
    pub failure: Option<String>,
}

/// Returns the checks. `failure` is the reason of the verdict, if the client did not pass.
pub(super) fn checks(observations: &Observations, score: &Score, failure: Option<&str>) -> Vec<Check> {
    let count = |body: BodyCheck| observations.calls.iter().filter(|call| call.body == body).count();
    let when = |is_wrong: bool, text: String| is_wrong.then_some(text);
    let check = |name: &str, failure| Check { name: name.to_owned(), time: None, failure };
    let (lost, requests, duplicated) = (score.lost.len(), score.requests, score.duplicated);
    let (clear, altered) = (count(BodyCheck::Clear), count(BodyCheck::Altered));
    let first = score.lost.first().map(|lost| lost.reason.as_str()).unwrap_or_default();
    let mut checks = vec![
        check(
            "no request is lost",
            when(lost > 0, format!("{lost} of {requests} requests were lost, the first: {first}")),
        ),
        check(
            "no request is accepted twice",
            when(duplicated > 0, format!("{duplicated} of {requests} requests were accepted more than once")),
        ),
        check("every body is sealed", when(clear > 0, format!("{clear} bodies arrived as plain JSON"))),
        check(
            "every body arrives unchanged",
            when(altered > 0, format!("{altered} bodies are not those that were sent")),
        ),
    ];
    if score.has_slow_400s() {
        checks.push(check("ordinary 400s are fast", Some("ordinary 400s may be at most 50 ms slower".to_owned())));
    } else if score.latency_of_400s.is_some() {
        checks.push(check("ordinary 400s are fast", None));
    }
    checks.extend(event_checks(observations, score));
    // The verdict has further conditions, such as enough events to judge by.
    let has_failed = checks.iter().any(|check| check.failure.is_some());
    checks.push(check("the drill could judge", failure.filter(|_| !has_failed).map(str::to_owned)));
    checks
}

/// A check for each rotation, hard cut, outage and revocation.
fn event_checks(observations: &Observations, score: &Score) -> Vec<Check> {
    let mut first_use: HashMap<&str, Duration> = HashMap::new();
    let mut accepted = Vec::new();
    for (ended, kid) in opened_requests(observations) {
        let first = first_use.entry(kid).or_insert(ended);
        *first = ended.min(*first);
        accepted.push(ended);
    }
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut checks = Vec::new();
    for (index, event) in observations.events.iter().enumerate() {
        let Event { at, change } = event;
        let later = &observations.events[index + 1..];
        let (kind, end, time) = match change {
            Change::Rotated(kid) | Change::Cut(kid) => {
                let kind = if matches!(change, Change::Cut(_)) { "hard cut" } else { "rotation" };
                let next = later.iter().find(|event| event.change.published().is_some()).map(|event| event.at);
                (kind, next, first_use.get(kid.as_str()).map(|first| first.saturating_sub(*at)))
            }
            Change::OutageStarted => {
                let end = later.iter().find(|event| event.change == Change::OutageEnded).map(|event| event.at);
                ("outage", end, end.map(|end| end - *at))
            }
            Change::Revoked => {
                let next = later.iter().find(|event| event.change == Change::Revoked).map(|event| event.at);
                let first = accepted.iter().filter(|ended| **ended > *at).min();
                ("revocation", next, first.map(|first| *first - *at))
            }
            Change::Retired(_) | Change::OutageEnded => continue,
        };
        let number = numbers.entry(kind).or_default();
        *number += 1;
        let end = end.unwrap_or(Duration::MAX);
        let is_affected = |lost: &&LostRequest| lost.ended >= *at && lost.due < end;
        let lost = score.lost.iter().filter(is_affected).count();
        let seconds = at.as_secs_f64();
        let failure = match (lost, time) {
            (0, Some(_)) => None,
            // The last key may be published just before the load ends.
            (0, None) if end == Duration::MAX => None,
            (0, None) => Some(format!("{change}, at {seconds:.2} s: it was not used")),
            (lost, None) => {
                Some(format!("{change}, at {seconds:.2} s: {lost} requests were lost, and it was not used"))
            }
            (lost, Some(_)) => Some(format!("{change}, at {seconds:.2} s: {lost} requests were lost")),
        };
        checks.push(Check { name: format!("{kind} {number} is survived"), time, failure });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::observations::ReplyOutcome;
    use crate::drill::testing::{event, ms, observations, reply};

    fn failures(observations: &Observations) -> Vec<(String, String)> {
        let checks = checks(observations, &Score::of(observations), None);
        checks.into_iter().filter_map(|check| Some((check.name, check.failure?))).collect()
    }

    #[test]
    fn a_survived_cut_has_the_time_until_the_new_key_was_used() {
        let observations = observations();
        let checks = checks(&observations, &Score::of(&observations), None);
        let names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
        let expected = [
            "no request is lost",
            "no request is accepted twice",
            "every body is sealed",
            "every body arrives unchanged",
            "hard cut 1 is survived",
            "the drill could judge",
        ];
        assert_eq!(names, expected);
        assert_eq!(checks[4].time, Some(ms(130)));
        assert!(checks.iter().all(|check| check.failure.is_none()), "{checks:?}");
    }

    #[test]
    fn a_request_lost_after_a_cut_fails_this_cut_and_not_the_one_before() {
        let mut observations = observations();
        observations.events.push(event(3000, Change::Cut("c".into())));
        observations.replies.push(reply(9, 3100, 3110, ReplyOutcome::Status(400)));
        let failures = failures(&observations);
        let names: Vec<_> = failures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["no request is lost", "hard cut 2 is survived"]);
        assert!(failures[1].1.ends_with("at 3.00 s: 1 requests were lost, and it was not used"), "{failures:?}");
    }

    #[test]
    fn a_verdict_with_another_reason_fails_the_last_check() {
        let observations = observations();
        let checks = checks(&observations, &Score::of(&observations), Some("no event occurred"));
        assert_eq!(checks.last().unwrap().failure.as_deref(), Some("no event occurred"));
    }
}
