//! Why a client lost requests, in plain words, from what the provider recorded.
//!
//! A list of lost requests shows symptoms: a status, again and again. The author of a client needs the fault: it kept a
//! withdrawn key, did not ask for another token, sent plaintext. The provider sees these faults, so this reads its
//! recorded calls, and its counts of key-set and token requests.
//!
//! The hard case is a client that does well and is refused all the same: after a hard cut each client has requests
//! refused, and a good one seals them again. So causes are sought only if requests were lost or accepted twice.
//!
//! Rejected: causes from the client's replies. They say what the client tells its callers, which can be anything.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::MONITOR_INTERVAL;
use super::events::{Change, Event};
use super::observations::{BodyCheck, Digest, Observations, ProviderCall, ReplyOutcome};
use super::score::Score;
use super::timeline::key_lifetimes;

/// A client that uses a withdrawn key or a revoked token for longer than this has not noticed. Until then it may be
/// requests that were already on their way.
const UNNOTICED: Duration = Duration::from_secs(1);

/// The number of withdrawn keys that are described one by one.
const MAX_KEYS: usize = 3;

/// One reason why the client did not survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The name for scripts.
    pub code: &'static str,
    /// A sentence about the client: what it did, how often, and what to do.
    pub text: String,
}

/// The names of all causes, with what each means. `docs/drill.md` has the same table.
pub const CAUSES: &[(&str, &str)] = &[
    ("plaintext", "A body arrived as plain JSON"),
    ("content_type", "A body had another `Content-Type` than `application/jose`"),
    ("unreadable", "A body arrived as `application/jose` and could not be opened"),
    ("withdrawn_key", "The client kept sealing with a key after it was withdrawn"),
    ("not_sealed_again", "A request was refused because of its key, and was not sealed again with a newer one"),
    ("unknown_key", "A body was sealed with a key that the provider did not publish during the drill"),
    ("no_token", "A request had no access token"),
    ("old_token", "The client kept using an access token after it was revoked, or one that had expired"),
    ("not_sent_again", "A request was refused because of its token, and was not sent again with a newer one"),
    ("other_body", "The content that the provider opened was not the body that the drill sent"),
    ("sent_twice", "A request was sent again although the provider had accepted it"),
    ("own_reply", "The client replied by itself and did not call the provider"),
    ("reply_changed", "The provider accepted a request, and the client replied with another status"),
    ("no_reply", "The client did not reply, or broke its connection"),
    ("client_ended", "The client, which the drill had started, ended during the drill"),
    ("slow_400", "The client held ordinary 400s back"),
];

/// Returns the causes, the plainest first. Empty if no request was lost or accepted twice, and no 400 was slow.
pub(super) fn causes(observations: &Observations, score: &Score) -> Vec<Cause> {
    let mut causes = Vec::new();
    if score.lost.is_empty() && score.duplicated == 0 && !score.has_slow_400s() {
        return causes;
    }
    let mut add = |code: &'static str, text: String| {
        debug_assert!(CAUSES.iter().any(|(known, _)| *known == code), "{code} is not listed");
        causes.push(Cause { code, text });
    };
    let calls = &observations.calls;
    let count = |wanted: &dyn Fn(&ProviderCall) -> bool| calls.iter().filter(|call| wanted(call)).count();

    if let Some(status) = &observations.client_ended {
        add("client_ended", format!("it ended during the drill: {status}"));
    }
    match count(&|call| call.body == BodyCheck::Clear) {
        0 => {}
        plain => add(
            "plaintext",
            format!("it sent {} as plain JSON: seal each body and send it as application/jose", bodies(plain)),
        ),
    }
    match count(&|call| call.body == BodyCheck::OtherMediaType) {
        0 => {}
        other => add(
            "content_type",
            format!("it sent {} with another Content-Type: a compact JWE is application/jose", bodies(other)),
        ),
    }
    let mut unreadable: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in calls.iter().filter_map(|call| call.unreadable.as_deref()) {
        *unreadable.entry(reason).or_default() += 1;
    }
    for (reason, number) in unreadable {
        add("unreadable", format!("it sent {} that cannot be opened: {reason}", bodies(number)));
    }
    let lost: HashSet<u64> = score.lost.iter().map(|lost| lost.number).collect();
    keys(observations, &lost, &mut add);
    tokens(observations, &lost, &mut add);
    match count(&|call| call.body == BodyCheck::Altered) {
        0 => {}
        altered => add(
            "other_body",
            format!(
                "it sealed {} that differ from what it was sent: seal the bytes of the body unchanged",
                bodies(altered)
            ),
        ),
    }
    if score.duplicated > 0 {
        let text = "it sent {} again that the provider had accepted: repeat a request only after a refusal that says \
                    that nothing was done";
        add("sent_twice", text.replace("{}", &requests(score.duplicated)));
    }
    replies(observations, score, &mut add);
    if score.has_slow_400s() {
        let text = "it held ordinary 400s back: relay a 400 whose body says that the provider read the request";
        add("slow_400", text.to_owned());
    }
    causes
}

/// The use of keys that are not published.
fn keys(observations: &Observations, lost: &HashSet<u64>, add: &mut impl FnMut(&'static str, String)) {
    let keys = key_lifetimes(&observations.first_kid, &observations.events, observations.took);
    let mut refused: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for call in observations.calls.iter().filter(|call| call.body == BodyCheck::UnknownKey) {
        let (number, last) = refused.entry(call.kid.as_deref().unwrap_or_default()).or_default();
        (*number, *last) = (*number + 1, call.at.max(*last));
    }
    let (mut late, mut early) = (Vec::new(), 0);
    for (kid, (number, last)) in refused {
        match keys.iter().find(|key| key.kid == kid).map(|key| key.withdrawn) {
            Some(withdrawn) if last.saturating_sub(withdrawn) >= UNNOTICED => late.push((kid, number, withdrawn, last)),
            Some(_) => early += number,
            None => add(
                "unknown_key",
                format!(
                    "it sealed {} with the key {}, which this provider never published: take the key from its key set",
                    bodies(number),
                    kid.escape_debug()
                ),
            ),
        }
    }
    late.sort_by_key(|(_, _, withdrawn, last)| std::cmp::Reverse(*last - *withdrawn));
    for (kid, number, withdrawn, last) in late.iter().copied().take(MAX_KEYS) {
        let fetched = within(&observations.key_set_requested, withdrawn, last);
        let reaction = match fetched {
            0 => ", and did not request the key set in that time: request it again after a 400 to a sealed body, and seal \
                  the request again with the newer key, once"
                .to_owned(),
            fetched => format!(
                ", although it requested the key set {} in that time: forget the keys that the set does not have any more",
                times(fetched)
            ),
        };
        add(
            "withdrawn_key",
            format!(
                "it kept sealing with the key {} for {:.1} s after it was withdrawn ({} refused){reaction}",
                kid.escape_debug(),
                (last - withdrawn).as_secs_f64(),
                requests(number),
            ),
        );
    }
    if late.len() > MAX_KEYS {
        add("withdrawn_key", format!("it did the same with {} more keys", late.len() - MAX_KEYS));
    }
    // A client that seals refused requests again also has such calls, and loses none of them.
    let was_lost = |call: &ProviderCall| call.body == BodyCheck::UnknownKey && may_be_in(lost, call);
    if early > 0 && late.is_empty() && observations.calls.iter().any(was_lost) {
        let text = format!(
            "it took up each new key, but {} with a key that was just withdrawn were refused, and it did not seal all of \
             them again: after a 400 to a sealed body, seal the request again with the newer key, once",
            requests(early)
        );
        add("not_sealed_again", text);
    }
}

/// The use of access tokens that the provider refused.
fn tokens(observations: &Observations, lost: &HashSet<u64>, add: &mut impl FnMut(&'static str, String)) {
    let mut refused: BTreeMap<Digest, (usize, Duration)> = BTreeMap::new();
    let mut without = 0;
    for call in observations.calls.iter().filter(|call| call.status == 401) {
        let Some(credential) = call.credential else {
            without += 1;
            continue;
        };
        let (number, last) = refused.entry(credential).or_default();
        (*number, *last) = (*number + 1, call.at.max(*last));
    }
    if without > 0 {
        add("no_token", format!("it sent {} without an access token", requests(without)));
    }
    let (mut late, mut early, mut invalid) = (Vec::new(), 0, 0);
    for (credential, (number, last)) in refused {
        let accepted =
            observations.calls.iter().filter(|call| call.credential == Some(credential) && call.status != 401);
        let accepted = accepted.map(|call| call.at).max().unwrap_or_default();
        // The provider checks a token some time after it read the head of the request.
        match revocations(&observations.events).find(|revoked| *revoked >= accepted) {
            Some(revoked) if last.saturating_sub(revoked) >= UNNOTICED => late.push((revoked, last, number)),
            Some(revoked) if last + UNNOTICED >= revoked => early += number,
            _ => invalid += number,
        }
    }
    if invalid > 0 {
        let text = "it used an access token that has expired or that this provider did not issue ({} got 401): request \
                    another one before `expires_in` ends, and after a 401";
        add("old_token", text.replace("{}", &requests(invalid)));
    }
    late.sort_by_key(|(revoked, last, _)| std::cmp::Reverse(*last - *revoked));
    if let Some((revoked, last, number)) = late.first().copied() {
        let reaction = match within(&observations.token_requested, revoked, last) {
            0 => ", and did not request another one in that time: request one after a 401, and send the request again, once"
                .to_owned(),
            fetched => format!(", although it requested a token {} in that time", times(fetched)),
        };
        let (after, number) = ((last - revoked).as_secs_f64(), requests(number));
        add("old_token", format!("it used a revoked token for {after:.1} s ({number} got 401){reaction}"));
    }
    let may_be_lost = |call: &ProviderCall| call.status == 401 && may_be_in(lost, call);
    if early > 0 && observations.calls.iter().any(may_be_lost) {
        let text = "it requested another token in time, but did not send all of the {} again that got a 401: after a 401, \
                    send the request again with the newer token, once";
        add("not_sent_again", text.replace("{}", &requests(early)));
    }
}

/// What the client replied without the provider, or against it.
fn replies(observations: &Observations, score: &Score, add: &mut impl FnMut(&'static str, String)) {
    let unanswered = observations.replies.iter().filter_map(|reply| match &reply.outcome {
        ReplyOutcome::NoReply(reason) => Some(reason),
        ReplyOutcome::Status(_) => None,
    });
    let unanswered: Vec<_> = unanswered.collect();
    if let Some(first) = unanswered.first() {
        add("no_reply", format!("it did not reply to {}: {first}", requests(unanswered.len())));
    }
    let without_call = score.lost.iter().filter(|lost| lost.attempts.is_empty() && lost.status.is_some());
    let own = without_call.clone().count();
    if own > 0 {
        let statuses: BTreeMap<u16, usize> =
            without_call.clone().filter_map(|lost| lost.status).fold(BTreeMap::new(), |mut statuses, status| {
                *statuses.entry(status).or_default() += 1;
                statuses
            });
        let status = statuses.iter().max_by_key(|(_, number)| **number).map_or(0, |(status, _)| *status);
        let in_outage = without_call.clone().filter(|lost| is_in_outage(&observations.events, lost.due)).count();
        let advice = if in_outage * 2 > own {
            ", most of them while key set and token endpoints failed: keep key and token for that time"
        } else {
            ""
        };
        let text = format!(
            "it replied to {} by itself, mostly with status {status}, without a call to the provider{advice}",
            requests(own)
        );
        add("own_reply", text);
    }
    let changed = score.lost.iter().filter(|lost| lost.was_accepted && lost.status.is_some_and(|status| status != 200));
    match changed.count() {
        0 => {}
        changed => add(
            "reply_changed",
            format!(
                "it replied to {} with another status than the provider, which had accepted them",
                requests(changed)
            ),
        ),
    }
}

fn revocations(events: &[Event]) -> impl Iterator<Item = Duration> + '_ {
    events.iter().filter(|event| event.change == Change::Revoked).map(|event| event.at)
}

fn is_in_outage(events: &[Event], at: Duration) -> bool {
    let before = events.iter().rev().filter(|event| event.at <= at);
    let mut changes = before.filter_map(|event| match event.change {
        Change::OutageStarted => Some(true),
        Change::OutageEnded => Some(false),
        _ => None,
    });
    changes.next().unwrap_or(false)
}

/// Whether the call is of a lost request. A call without a number may be.
fn may_be_in(lost: &HashSet<u64>, call: &ProviderCall) -> bool {
    call.number.is_none_or(|number| lost.contains(&number))
}

/// The number of moments between `from` and `to`. The monitor notices each one up to an interval late.
fn within(moments: &[Duration], from: Duration, to: Duration) -> usize {
    moments.iter().filter(|at| (from + MONITOR_INTERVAL..=to + MONITOR_INTERVAL).contains(*at)).count()
}

fn bodies(count: usize) -> String {
    if count == 1 { "1 body".to_owned() } else { format!("{count} bodies") }
}

fn requests(count: usize) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::observations::ClientReply;
    use crate::drill::testing::{call, event, ms, observations, reply};

    /// The causes in a drill in which the requests from number 10 on were lost. Request 10 + n was due at n * 100 ms.
    fn found(
        status: u16,
        calls: Vec<ProviderCall>,
        change: impl FnOnce(&mut Observations),
    ) -> Vec<(&'static str, String)> {
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
        let found =
            found(400, vec![retired(2100), retired(9000)], |observations| observations.key_set_requested.clear());
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
        assert!(
            late[0].1.starts_with("it used a revoked token for 3.0 s (2 requests got 401), and did not"),
            "{late:?}"
        );
        let twice = found(401, vec![unauthenticated(3100), unauthenticated(9000)], |observations| {
            observations.events.extend([event(3000, Change::Revoked), event(7500, Change::Revoked)]);
        });
        assert!(
            twice.len() == 1 && twice[0].1.contains("for 6.0 s"),
            "the second revocation changes nothing: {twice:?}"
        );
        assert_eq!(found(401, vec![unauthenticated(3100)], revoke)[0].0, "not_sent_again");
        assert!(found(401, vec![unauthenticated(3100)], |_| {})[0].1.contains("has expired"));
        let without = ProviderCall { credential: None, ..unauthenticated(100) };
        assert_eq!(
            found(401, vec![without], |_| {}),
            [("no_token", "it sent 1 request without an access token".into())]
        );
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
}
