//! The causes of lost requests, each from observations that have this fault alone.

use super::*;
use crate::drill::observations::ClientReply;
use crate::drill::testing::{call, event, ms, observations, reply};

/// The causes in a drill in which the requests from number 10 on were lost. Request 10 + n was due at n * 100 ms.
fn found(status: u16, calls: Vec<ProviderCall>, change: impl FnOnce(&mut Observations)) -> Vec<(&'static str, String)> {
    let mut observations = observations();
    observations.took = ms(10_000);
    for (index, mut call) in (0..).zip(calls) {
        call.number = Some(10 + index);
        observations.calls.push(call);
        observations.replies.push(reply(10 + index, index * 100, index * 100 + 10, ReplyOutcome::Status(status)));
    }
    change(&mut observations);
    let score = Score::of(&observations);
    causes(&observations, &score).into_iter().map(|cause| (cause.code, cause.text)).collect()
}

fn at(milliseconds: u64, call: ProviderCall) -> ProviderCall {
    ProviderCall { at: ms(milliseconds), ..call }
}

fn retired(milliseconds: u64) -> ProviderCall {
    at(milliseconds, call(0, 400, "a", BodyCheck::UnknownKey))
}

/// A call with the token of the calls that were accepted.
fn unauthenticated(milliseconds: u64) -> ProviderCall {
    at(milliseconds, call(0, 401, "b", BodyCheck::Unopened))
}

#[test]
fn a_client_that_passed_has_no_causes() {
    let observations = observations();
    assert_eq!(causes(&observations, &Score::of(&observations)), []);
}

#[test]
fn a_key_that_is_used_long_after_it_was_withdrawn_is_named_with_the_time() {
    let found = found(400, vec![retired(2100), retired(9000)], |observations| observations.key_set_requested.clear());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "withdrawn_key");
    let start = "it kept sealing with the key a for 7.0 s after it was withdrawn (3 requests refused), and did not \
                 request the key set in that time";
    assert!(found[0].1.starts_with(start), "{found:?}");
}

#[test]
fn a_key_that_is_used_although_the_key_set_was_fetched_is_told_apart() {
    let found = found(400, vec![retired(2100), retired(9000)], |observations| {
        observations.key_set_requested = vec![ms(1000), ms(4000), ms(6000)];
    });
    assert!(found[0].1.contains("although it requested the key set 2 times in that time"), "{found:?}");
}

#[test]
fn refused_requests_that_were_not_sealed_again_are_told_apart_from_a_cached_key() {
    let found = found(400, vec![retired(2100)], |_| {});
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "not_sealed_again");
}

#[test]
fn a_revoked_token_and_a_missing_one_are_named() {
    let revoke = |observations: &mut Observations| observations.events.push(event(3000, Change::Revoked));
    let late = found(401, vec![unauthenticated(3100), unauthenticated(6000)], revoke);
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(late[0].0, "old_token");
    assert!(late[0].1.starts_with("it used a revoked token for 3.0 s (2 requests got 401), and did not"), "{late:?}");
    let twice = found(401, vec![unauthenticated(3100), unauthenticated(9000)], |observations| {
        observations.events.extend([event(3000, Change::Revoked), event(7500, Change::Revoked)]);
    });
    assert!(twice.len() == 1 && twice[0].1.contains("for 6.0 s"), "the second revocation changes nothing: {twice:?}");
    assert_eq!(found(401, vec![unauthenticated(3100)], revoke)[0].0, "not_sent_again");
    assert!(found(401, vec![unauthenticated(3100)], |_| {})[0].1.contains("has expired"));
    let without = ProviderCall { credential: None, ..unauthenticated(100) };
    assert_eq!(found(401, vec![without], |_| {}), [("no_token", "it sent 1 request without an access token".into())]);
}

#[test]
fn what_arrived_wrong_is_named() {
    let one = |status, body| found(status, vec![call(0, status, "a", body)], |_| {})[0].clone();
    assert_eq!(one(415, BodyCheck::Clear).0, "plaintext");
    assert_eq!(one(415, BodyCheck::OtherMediaType).0, "content_type");
    assert_eq!(one(200, BodyCheck::Altered).0, "other_body");
    let unknown = found(400, vec![call(0, 400, "elsewhere", BodyCheck::UnknownKey)], |_| {});
    assert_eq!(unknown[0].0, "unknown_key");
    assert!(unknown[0].1.contains("with the key elsewhere, which"), "{unknown:?}");
    let random = (0..1000).map(|index| call(0, 400, &format!("random-{index}"), BodyCheck::UnknownKey)).collect();
    let random = found(400, random, |_| {});
    assert_eq!((random.len(), random[3].1.as_str()), (4, "it did the same with 997 more keys"));
    let reason = Some("`enc` is A256GCM".to_owned());
    let unreadable = ProviderCall { unreadable: reason, ..call(0, 400, "a", BodyCheck::Unopened) };
    let unreadable = found(400, vec![unreadable], |_| {});
    assert_eq!(unreadable, [("unreadable", "it sent 1 body that cannot be opened: `enc` is A256GCM".to_owned())]);
}

#[test]
fn replies_that_do_not_come_from_the_provider_are_named() {
    let lost = |change: fn(&mut Observations)| found(0, vec![], change)[0].clone();
    let own = lost(|observations| {
        observations.events = vec![event(0, Change::OutageStarted)];
        observations.replies.push(reply(10, 100, 110, ReplyOutcome::Status(503)));
    });
    assert_eq!(own.0, "own_reply");
    assert!(own.1.contains("mostly with status 503") && own.1.contains("keep key and token"), "{own:?}");
    let changed = lost(|observations| observations.replies[0].outcome = ReplyOutcome::Status(502));
    assert_eq!(changed.0, "reply_changed");
    let silent = lost(|observations| observations.replies[0].outcome = ReplyOutcome::NoReply("timed out".into()));
    assert_eq!(silent, ("no_reply", "it did not reply to 1 request: timed out".to_owned()));
    let twice = lost(|observations| observations.calls.push(observations.calls[0].clone()));
    assert_eq!(twice.0, "sent_twice");
    let ended = lost(|observations| {
        observations.client_ended = Some("exit status: 1".to_owned());
        observations.replies.push(ClientReply { number: 10, ..observations.replies[0].clone() });
    });
    assert_eq!(ended, ("client_ended", "it ended during the drill: exit status: 1".to_owned()));
}
