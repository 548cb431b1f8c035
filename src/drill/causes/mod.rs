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

/// The number of causes with the same name that are described one by one. A client may use another wrong key for each
/// request.
const MAX_SIMILAR: usize = 3;

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
    let texts = unreadable
        .into_iter()
        .map(|(reason, number)| (number, format!("it sent {} that cannot be opened: {reason}", bodies(number))));
    most_frequent("unreadable", "it sent bodies that cannot be opened for {} more reasons", texts, &mut add);
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
        let text = "it held ordinary 400s back: relay a 400 if its body says that the provider read the request";
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
    let (mut late, mut unknown, mut early) = (Vec::new(), Vec::new(), 0);
    for (kid, (number, last)) in refused {
        match keys.iter().find(|key| key.kid == kid).map(|key| key.withdrawn) {
            Some(withdrawn) if last.saturating_sub(withdrawn) >= UNNOTICED => late.push((kid, number, withdrawn, last)),
            Some(_) => early += number,
            None => unknown.push((
                number,
                format!(
                    "it sealed {} with the key {}, which this provider never published: take the key from its key set",
                    bodies(number),
                    kid.escape_debug()
                ),
            )),
        }
    }
    most_frequent("unknown_key", "it did the same with {} more keys", unknown, add);
    late.sort_by_key(|(_, _, withdrawn, last)| std::cmp::Reverse(*last - *withdrawn));
    for (kid, number, withdrawn, last) in late.iter().copied().take(MAX_SIMILAR) {
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
    if late.len() > MAX_SIMILAR {
        add("withdrawn_key", format!("it did the same with {} more keys", late.len() - MAX_SIMILAR));
    }
    // A client that seals refused requests again also has such calls, and loses none of them.
    let was_published = |call: &ProviderCall| keys.iter().any(|key| Some(key.kid.as_str()) == call.kid.as_deref());
    let was_lost =
        |call: &ProviderCall| call.body == BodyCheck::UnknownKey && was_published(call) && may_be_in(lost, call);
    if early > 0 && late.is_empty() && observations.calls.iter().any(was_lost) {
        let text = format!(
            "it took up each new key, but {} with a key that was just withdrawn were refused, and it did not seal all of \
             them again: after a 400 to a sealed body, seal the request again with the newer key, once",
            requests(early)
        );
        add("not_sealed_again", text);
    }
}

/// Adds the texts with the highest numbers, and `rest` with the number of the others.
fn most_frequent(
    code: &'static str,
    rest: &str,
    texts: impl IntoIterator<Item = (usize, String)>,
    add: &mut impl FnMut(&'static str, String),
) {
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let others = texts.len().saturating_sub(MAX_SIMILAR);
    texts.into_iter().take(MAX_SIMILAR).for_each(|(_, text)| add(code, text));
    if others > 0 {
        add(code, rest.replace("{}", &others.to_string()));
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
mod tests;
