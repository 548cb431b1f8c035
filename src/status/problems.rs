//! Finds what is wrong.

use std::collections::HashMap;
use std::time::Duration;

use super::history::History;
use super::model::{
    CredentialStatus, KeySetState, KeySetStatus, State, Time, TrafficStatus, TrafficSummary, UpstreamStatus, Usage,
};
use super::verdict::{Kind, Problem};
use super::{CONNECTIONS, Facts, text};

/// A fetch that fails while the cached set is fresh is a problem after this time. One failure is none.
const FAILING: Duration = Duration::from_secs(60);

/// A certificate that ends sooner is a problem. Certificates are renewed weeks before their end.
const CERTIFICATE: Duration = Duration::from_secs(14 * 24 * 3600);

/// A limit that is used beyond this share is a problem.
const SATURATED: f64 = 0.8;

/// The share of requests, and their number, from which errors of the gateway's own are a problem.
const ERROR_SHARE: f64 = 0.01;
const MIN_ERRORS: u64 = 3;

/// The same for errors of the provider. Some are normal.
const UPSTREAM_ERROR_SHARE: f64 = 0.1;

/// How long dropped log lines are a problem after the last one.
const LOG_LINES_DROPPED: Duration = Duration::from_secs(15 * 60);

pub(super) fn find(
    history: &History,
    facts: &Facts,
    upstreams: &[UpstreamStatus],
    traffic: &TrafficStatus,
    at: Time,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if facts.is_stopping {
        problems.push(Problem::new(Kind::Stopping, None, "The gateway is stopping.".to_owned()));
    }
    for upstream in upstreams {
        problems.extend(upstream.key_set.as_ref().and_then(|keys| of_keys(upstream, keys, at)));
        problems.extend(of_credential(&upstream.name, &upstream.credential));
        problems.extend(saturation(Some(&upstream.name), &upstream.limits));
        problems.extend(upstream_errors(upstream));
    }
    problems.extend(saturation(None, &facts.limits));
    problems.extend(certificate(facts, at));
    problems.extend(gateway_errors(history, traffic, at));
    problems.extend(dropped_log_lines(history, facts, at));
    problems.extend(failed_reload(facts));
    problems
}

fn of_keys(upstream: &UpstreamStatus, keys: &KeySetStatus, at: Time) -> Option<Problem> {
    let name = &upstream.name;
    let problem = |kind, sentence| {
        let problem = Problem::new(kind, Some(name), sentence).since(keys.failing_since);
        problem.cause(keys.last_error.clone().or_else(|| keys.problem.clone()))
    };
    let confirmed =
        || keys.confirmed.map_or_else(|| "never".to_owned(), |time| format!("at {}", text::clock(time, at)));
    match keys.state {
        KeySetState::Unusable if keys.keys.is_empty() && keys.last_error.is_none() => {
            Some(problem(Kind::NoUsableKey, format!("Upstream {name} has no key yet: the first fetch has not ended.")))
        }
        KeySetState::Unusable if upstream.encryption == "require-sealed" => {
            let sentence = format!("Upstream {name} has no usable key: its sidecars get no key set.");
            Some(problem(Kind::NoUsableKey, sentence))
        }
        KeySetState::Unusable => {
            let sentence = format!("Upstream {name} has no usable key: requests with a body fail.");
            Some(problem(Kind::NoUsableKey, sentence))
        }
        KeySetState::Stale => {
            let sentence = format!(
                "The key set of upstream {name} is stale: the provider last confirmed it {}. Requests still succeed.",
                confirmed()
            );
            let expired = keys.expires.filter(|_| keys.failing_since.is_none());
            Some(problem(Kind::KeySetStale, sentence).since(keys.failing_since.or(expired)))
        }
        KeySetState::Fresh if keys.failing_since.is_some_and(|since| at.since(since) >= FAILING) => {
            let sentence =
                format!("The key set of upstream {name} cannot be fetched. The cached set is fresh: requests succeed.");
            Some(problem(Kind::FetchesFailing, sentence))
        }
        KeySetState::Fresh => None,
    }
}

fn of_credential(name: &str, credential: &CredentialStatus) -> Option<Problem> {
    let problem = |kind, sentence: String| {
        Problem::new(kind, Some(name), sentence).since(credential.failing_since).cause(credential.problem.clone())
    };
    let what = credential.kind;
    match (credential.usable, credential.refused_since, credential.failing_since) {
        (_, Some(since), _) => {
            let sentence = format!("The credential of upstream {name} is refused: requests fail.");
            Some(problem(Kind::CredentialsRefused, sentence).since(Some(since)))
        }
        (false, None, Some(_)) if credential.credentials_refused => {
            let sentence = format!("The token endpoint refuses the credentials of upstream {name}: requests fail.");
            Some(problem(Kind::CredentialsRefused, sentence))
        }
        (false, None, None) => {
            let sentence = format!("Upstream {name} has no {what} yet: the first request for one has not ended.");
            Some(problem(Kind::NoToken, sentence))
        }
        (false, None, Some(_)) => {
            let sentence = format!("Upstream {name} has no {what}, and cannot get one: requests fail.");
            Some(problem(Kind::NoToken, sentence))
        }
        (true, None, Some(_)) => {
            let until = credential.expires.map(|_| " until it expires").unwrap_or_default();
            let sentence = format!(
                "The {what} of upstream {name} cannot be renewed. The present one is used{until}: requests succeed."
            );
            Some(problem(Kind::RenewalsFailing, sentence))
        }
        (true, None, None) => None,
    }
}

fn saturation(upstream: Option<&str>, limits: &[Usage]) -> Option<Problem> {
    // The first of several that are full.
    let fullest = limits.iter().rev().max_by(|one, other| one.ratio().total_cmp(&other.ratio()))?;
    if fullest.ratio() <= SATURATED {
        return None;
    }
    let who = upstream.map_or_else(|| "The gateway".to_owned(), |name| format!("Upstream {name}"));
    let (used, limit) = (text::amount(fullest.what, fullest.used), text::amount(fullest.what, fullest.limit));
    let what = fullest.what;
    // A further connection replaces an idle one.
    let refuses = fullest.used >= fullest.limit && what != CONNECTIONS;
    let effect = match what {
        CONNECTIONS => "at the limit, idle ones are closed for new ones",
        _ if refuses => "further requests are refused",
        _ => "requests are refused at the limit",
    };
    let problem =
        Problem::new(Kind::Saturated, upstream, format!("{who} is saturated: {what} {used} of {limit}, {effect}."));
    Some(if refuses { problem.state(State::Failing) } else { problem })
}

fn certificate(facts: &Facts, at: Time) -> Option<Problem> {
    let end = Time(facts.certificate_expires?.try_into().ok()?);
    let left = end.since(at);
    if left >= CERTIFICATE {
        return None;
    }
    let day = end.0.strftime("%Y-%m-%d %H:%M UTC");
    let problem = |sentence| Problem::new(Kind::CertificateExpires, None, sentence);
    Some(match left.is_zero() {
        true => problem(format!("The listener's certificate expired at {day}: callers refuse it."))
            .since(Some(end))
            .state(State::Failing),
        false => problem(format!("The listener's certificate expires in {}, at {day}.", text::duration(left))),
    })
}

fn gateway_errors(history: &History, traffic: &TrafficStatus, at: Time) -> Option<Problem> {
    let (errors, requests) = (traffic.last_5_min.gateway_errors, traffic.last_5_min.requests);
    let share = errors as f64 / requests.max(1) as f64;
    if errors < MIN_ERRORS || share < ERROR_SHARE {
        return None;
    }
    let recent = history.refusals();
    let five_minutes = at.before(Duration::from_secs(5 * 60));
    let is_error = |refused: &&super::history::RefusedRequest| {
        refused.status.is_some_and(|status| status >= 500) && Time(refused.at) >= five_minutes
    };
    let mut codes: HashMap<&str, u32> = HashMap::new();
    for refused in recent.iter().filter(is_error) {
        *codes.entry(refused.code.row().code).or_default() += 1;
    }
    let most = codes.iter().max_by_key(|(code, count)| (**count, **code)).map(|(code, _)| format!(", mostly {code}"));
    let is_present = traffic.last_30_s.gateway_errors > 0;
    let now = if is_present { "" } else { " There was none in the last 30 s." };
    let sentence = format!(
        "The gateway answered {} of {requests} requests of the last 5 min with an error of its own{}.{now}",
        text::percent(share),
        most.unwrap_or_default()
    );
    let problem = Problem::new(Kind::GatewayErrors, None, sentence);
    Some(if is_present { problem } else { problem.state(State::Attention) })
}

fn upstream_errors(upstream: &UpstreamStatus) -> Option<Problem> {
    let TrafficSummary { requests, upstream_errors: errors, .. } = upstream.traffic.last_5_min;
    let share = errors as f64 / requests.max(1) as f64;
    if errors < MIN_ERRORS || share < UPSTREAM_ERROR_SHARE {
        return None;
    }
    let (name, share) = (&upstream.name, text::percent(share));
    let sentence = format!(
        "The provider of upstream {name} answered {share} of {requests} requests of the last 5 min with a 5xx."
    );
    Some(Problem::new(Kind::UpstreamErrors, Some(name), sentence))
}

fn dropped_log_lines(history: &History, facts: &Facts, at: Time) -> Option<Problem> {
    let last = Time(history.log_lines_dropped(facts.log_lines_dropped, at.0)?);
    if at.since(last) >= LOG_LINES_DROPPED {
        return None;
    }
    let lines = facts.log_lines_dropped;
    let sentence = format!("The log is incomplete: {lines} lines were dropped since the start.");
    Some(Problem::new(Kind::LogLinesDropped, None, sentence))
}

fn failed_reload(facts: &Facts) -> Option<Problem> {
    let (at, error) = facts.configuration.last_reload.as_ref()?;
    let error = error.clone()?;
    let sentence = "The last reload of the configuration failed. The former configuration is in use.".to_owned();
    let since = (*at).try_into().ok().map(Time);
    Some(Problem::new(Kind::ReloadFailed, None, sentence).since(since).cause(Some(error)))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use jiff::Timestamp;

    use super::super::verdict::verdict;
    use super::super::{Configuration, assemble};
    use super::*;
    use crate::clock::Clock;

    fn facts() -> Facts {
        Facts {
            routes: Vec::new(),
            is_stopping: false,
            certificate_expires: None,
            limits: Vec::new(),
            configuration: Configuration::default(),
            log_lines_dropped: 0,
        }
    }

    fn history() -> History {
        History::new(Clock::manual().0)
    }

    /// The kinds of the problems at this second, and whether each makes requests fail.
    fn kinds(history: &History, facts: &Facts, second: i64) -> Vec<(Kind, bool)> {
        let traffic = assemble::traffic(history.traffic(), history.clock().now());
        let at = Time(Timestamp::from_second(second).unwrap());
        let problems = find(history, facts, &[], &traffic, at);
        let verdicts = problems.into_iter().map(|problem| {
            let kind = problem.kind;
            (kind, verdict(vec![problem], vec![at]).state == State::Failing)
        });
        verdicts.collect()
    }

    #[test]
    fn a_certificate_is_a_problem_two_weeks_before_its_end_and_after_it_requests_fail() {
        let expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400));
        let at = |day: i64| kinds(&history(), &Facts { certificate_expires: expires, ..facts() }, day * 86_400);
        assert_eq!(at(85), []);
        assert_eq!(at(87), [(Kind::CertificateExpires, false)]);
        assert_eq!(at(101), [(Kind::CertificateExpires, true)]);
    }

    #[test]
    fn a_limit_is_a_problem_beyond_80_percent_and_requests_fail_at_the_limit() {
        let at = |what, used| {
            let limits = vec![Usage { what, used, limit: 10 }];
            kinds(&history(), &Facts { limits, ..facts() }, 0)
        };
        assert_eq!(at("requests in flight", 8), []);
        assert_eq!(at("requests in flight", 9), [(Kind::Saturated, false)]);
        assert_eq!(at("requests in flight", 10), [(Kind::Saturated, true)]);
        assert_eq!(at(CONNECTIONS, 10), [(Kind::Saturated, false)], "idle connections are closed for new ones");
    }

    #[test]
    fn dropped_log_lines_are_a_problem_for_a_quarter_of_an_hour() {
        let history = history();
        let at = |second, log_lines_dropped| kinds(&history, &Facts { log_lines_dropped, ..facts() }, second);
        assert_eq!(at(0, 0), []);
        assert_eq!(at(10, 5), [(Kind::LogLinesDropped, false)]);
        assert_eq!(at(909, 5), [(Kind::LogLinesDropped, false)]);
        assert_eq!(at(910, 5), []);
        assert_eq!(at(911, 6), [(Kind::LogLinesDropped, false)]);
    }

    #[test]
    fn only_a_reload_that_failed_is_a_problem() {
        let after = |error: Option<&str>| {
            let last_reload = Some((SystemTime::UNIX_EPOCH, error.map(str::to_owned)));
            let configuration = Configuration { last_reload, ..Configuration::default() };
            kinds(&history(), &Facts { configuration, ..facts() }, 60)
        };
        assert_eq!(after(None), []);
        assert_eq!(after(Some("gateway.toml:3:1: unknown key")), [(Kind::ReloadFailed, false)]);
    }
}
