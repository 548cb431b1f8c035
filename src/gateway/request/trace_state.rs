//! `tracestate`: what other tracing systems add to a trace (W3C Trace Context section 3.3). The gateway adds nothing.
//!
//! A valid list of at most [`MAX_LENGTH`] characters passes as it is. A longer one is shortened as section 3.3.1.5 says:
//! first the long members go, then the last ones. A faulty list is removed, and so is one without a valid
//! `traceparent`.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// How many characters pass. A service must accept at least as many.
const MAX_LENGTH: usize = 512;

/// The members beyond this length go first if the list is too long.
const LONG_MEMBER: usize = 128;

/// The most members that a list may have.
const MAX_MEMBERS: usize = 32;

/// The longest key, and the longest value.
const MAX_PART: usize = 256;

/// Leaves in `headers` the part of `tracestate` that may pass.
pub(crate) fn limit(headers: &mut HeaderMap, has_trace: bool) {
    if !headers.contains_key(TRACESTATE) {
        return;
    }
    let state = if has_trace { of(headers) } else { State::Faulty };
    match state {
        State::Valid => {}
        State::Shortened(value) => drop(headers.insert(TRACESTATE, value)),
        State::Faulty => drop(headers.remove(TRACESTATE)),
    }
}

#[derive(Debug)]
enum State {
    Valid,
    Shortened(HeaderValue),
    Faulty,
}

fn of(headers: &HeaderMap) -> State {
    let mut members = Vec::new();
    for line in headers.get_all(TRACESTATE) {
        let Ok(line) = line.to_str() else { return State::Faulty };
        // Empty members are allowed.
        members
            .extend(line.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()));
        if members.len() > MAX_MEMBERS {
            return State::Faulty;
        }
    }
    let is_repeated = |(at, member): (usize, &&str)| members[..at].iter().any(|other| key(other) == key(member));
    if !members.iter().all(|member| is_valid(member)) || members.iter().enumerate().any(is_repeated) {
        return State::Faulty;
    }
    let written: usize = headers.get_all(TRACESTATE).iter().map(|line| line.len() + 1).sum();
    if written <= MAX_LENGTH + 1 {
        return State::Valid;
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(&members) > MAX_LENGTH
        && let Some(long) = members.iter().rposition(|member| member.len() > LONG_MEMBER)
    {
        members.remove(long);
    }
    while length(&members) > MAX_LENGTH {
        members.pop();
    }
    HeaderValue::try_from(members.join(",")).map_or(State::Faulty, State::Shortened)
}

fn key(member: &str) -> &str {
    member.split('=').next().unwrap_or_default()
}

/// Whether a member has a key and a value with allowed characters.
fn is_valid(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let starts_well = key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-*/@".contains(c);
    let is_value = |c: char| matches!(c, ' '..='~') && c != '=';
    starts_well
        && (1..=MAX_PART).contains(&key.len())
        && key.chars().all(is_key)
        && key.matches('@').count() <= 1
        && (1..=MAX_PART).contains(&value.len())
        && value.chars().all(is_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes of these lines, joined.
    fn passed(lines: &[&str], has_trace: bool) -> String {
        let mut headers: HeaderMap = lines.iter().map(|line| (TRACESTATE, line.parse().unwrap())).collect();
        limit(&mut headers, has_trace);
        let lines: Vec<_> = headers.get_all(TRACESTATE).iter().map(|line| line.to_str().unwrap()).collect();
        lines.join("|")
    }

    #[test]
    fn a_valid_list_passes_as_it_is_and_only_with_a_trace() {
        for lines in
            [&["a=b"][..], &["rojo=00f067aa0ba902b7 , congo=t61rcWkgMzE", "fw529a3039@dt=x"], &["a=1,,b=2"], &[""]]
        {
            assert_eq!(passed(lines, true), lines.join("|"));
            assert_eq!(passed(lines, false), "");
        }
        assert_eq!(passed(&[], true), "");
    }

    #[test]
    fn a_faulty_list_is_removed() {
        let many: String = (0..33).map(|number| format!("k{number}=v,")).collect();
        let long_key = format!("{}=v", "k".repeat(257));
        for faulty in
            ["a", "=b", "a=", "A=b", "-a=b", "a=b=c", "a@b@c=d", "a=b,a=c", "a b=c", &many, &long_key, "a=\té"]
        {
            assert_eq!(passed(&[faulty], true), "", "{faulty}");
        }
        assert_eq!(passed(&["a=b", "a=c"], true), "", "the lines are one list");
    }

    #[test]
    fn a_list_that_is_too_long_loses_its_long_members_first_and_then_its_last_ones() {
        let member = |name: &str, length: usize| format!("{name}={}", "v".repeat(length - name.len() - 1));
        let (short, long) = (|name| member(name, 100), |name| member(name, 200));
        let list = [short("a"), long("b"), short("c"), long("d")].join(",");
        assert_eq!(passed(&[&list], true), [short("a"), long("b"), short("c")].join(","));
        let list: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(short).into();
        assert_eq!(passed(&[&list.join(",")], true), list[..5].join(","));
    }
}
