//! What counts as lost, and the numbers of a score.

use super::*;
use crate::drill::observations::Digest;
use crate::drill::testing::{call, event, ms, observations, reply, reply_to_wrong};

#[test]
fn a_request_with_a_200_that_was_opened_once_is_not_lost() {
    let score = Score::of(&observations());
    assert_eq!((score.requests, score.lost.len(), score.duplicated), (4, 0, 0));
    assert_eq!((score.resealed, score.resent, score.sealed_with_retired_key), (Some(1), Some(0), 1));
    assert_eq!(score.published, 1);
}

#[test]
fn each_kind_of_loss_has_its_reason_and_its_trace() {
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
            (10, "reply had status 502"),
            (11, "no reply: connection closed"),
            (12, "reply had status 200, but the provider never received the request"),
            (13, "the provider opened a different body"),
            (14, "the provider received it as plaintext"),
            (15, "reply had status 200, but the provider never received the request"),
        ]
    );
    assert_eq!(score.lost[5].attempts, ["400 key not published a"]);
    assert_eq!(score.lost[5].gateway.as_deref(), Some("no record"));
}

#[test]
fn a_call_without_a_number_is_attributed_to_the_lost_requests_at_its_time() {
    let mut observations = observations();
    let at = |at| ProviderCall { number: None, at: ms(at), ..call(0, 400, "a", BodyCheck::UnknownKey) };
    observations.calls.extend([at(2999), at(3005), at(3011)]);
    observations.replies.push(reply(10, 3000, 3010, ReplyOutcome::Status(400)));
    let lost = &Score::of(&observations).lost[0];
    assert_eq!(lost.attempts, ["400 key not published a (by time)"]);
}

#[test]
fn a_wrong_request_is_lost_unless_it_gets_the_provider_s_400_byte_for_byte() {
    let mut observations = observations();
    let wrong = |number, status| reply_to_wrong(number, 0, 1, ReplyOutcome::Status(status));
    let another_body = Some(Digest::of(b"{ }"));
    observations.replies.extend([
        wrong(10, 400),
        wrong(11, 400),
        wrong(12, 400),
        wrong(13, 400),
        wrong(14, 200),
        wrong(15, 502),
        ClientReply { body: another_body, ..wrong(16, 400) },
        wrong(17, 400),
        reply(18, 0, 1, ReplyOutcome::Status(400)),
    ]);
    let first_of_two = ProviderCall { response: Digest::of(b"{ }"), ..call(11, 400, "a", BodyCheck::Intact) };
    observations.calls.extend([
        call(10, 400, "a", BodyCheck::UnknownKey),
        call(10, 400, "b", BodyCheck::Intact),
        first_of_two,
        call(11, 400, "b", BodyCheck::Intact),
        call(12, 400, "a", BodyCheck::UnknownKey),
        call(13, 400, "a", BodyCheck::Altered),
        call(14, 400, "a", BodyCheck::Intact),
        call(16, 400, "a", BodyCheck::Intact),
        call(17, 400, "a", BodyCheck::Clear),
        call(18, 400, "a", BodyCheck::UnknownKey),
    ]);
    let score = Score::of(&observations);
    let reasons: Vec<_> = score.lost.iter().map(|lost| (lost.number, lost.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (12, "reply had status 400, but the provider never opened the request"),
            (13, "the provider opened a different body"),
            (14, "reply had status 200"),
            (15, "reply had status 502"),
            (16, "the reply's body is not the body that the provider sent"),
            (17, "the provider received it as plaintext"),
            (18, "reply had status 400"),
        ]
    );
    assert_eq!(score.duplicated, 0, "a 400 that the provider sent twice is not a duplicate");
}

#[test]
fn ordinary_400s_are_slow_if_their_p99_is_more_than_50_ms_above_the_others() {
    let is_slow = |latency| {
        let mut observations = observations();
        // The slowest of the other requests takes 140 ms.
        observations.replies.push(reply_to_wrong(10, 1000, 1000 + latency, ReplyOutcome::Status(400)));
        let score = Score::of(&observations);
        assert_eq!(score.p99_of_400s_and_others(), Some((ms(latency), ms(140))));
        score.has_slow_400s()
    };
    assert_eq!([1, 190, 191, 5000].map(is_slow), [false, false, true, true]);
    let score = Score::of(&observations());
    assert_eq!((score.latency_of_400s, score.latency_of_others, score.has_slow_400s()), (None, None, false));
}

#[test]
fn a_key_is_in_use_also_when_it_opened_a_request_that_got_an_ordinary_400() {
    let mut observations = observations();
    observations.events.push(event(2600, Change::Cut("c".into())));
    observations.replies.push(reply_to_wrong(10, 2700, 2710, ReplyOutcome::Status(400)));
    observations.calls.push(call(10, 400, "c", BodyCheck::Intact));
    let score = Score::of(&observations);
    assert_eq!((score.published, score.adoption.unwrap().count), (2, 2));
    assert_eq!(opened_requests(&observations).last(), Some((ms(2710), "c")));
}

#[test]
fn a_request_accepted_twice_is_a_duplicate_but_a_refused_attempt_is_not() {
    let mut observations = observations();
    observations.calls.push(call(0, 200, "a", BodyCheck::Intact));
    observations.calls.push(call(1, 401, "a", BodyCheck::Unopened));
    assert_eq!(Score::of(&observations).duplicated, 1);
}

#[test]
fn adoption_is_the_time_from_publication_to_the_first_reply_with_the_key() {
    let mut observations = observations();
    let adoption = Score::of(&observations).adoption.unwrap();
    assert_eq!((adoption.count, adoption.max), (1, ms(130)));
    observations.events.push(event(3000, Change::Cut("never used".into())));
    let score = Score::of(&observations);
    assert_eq!((score.published, score.adoption.unwrap().count), (2, 1));
}

#[test]
fn latency_counts_from_due_and_is_split_by_events() {
    let score = Score::of(&observations());
    assert_eq!(score.latency_normal.unwrap().count, 2);
    assert_eq!(score.latency_during_faults.unwrap().max, ms(140));
}

#[test]
fn an_outage_affects_requests_until_a_second_after_its_end() {
    let events = [event(1000, Change::OutageStarted), event(5000, Change::OutageEnded)];
    let at = |at| reply(0, at, at + 1, ReplyOutcome::Status(200));
    let is_disturbed = |at| !latencies(&[at], &events).1.is_empty();
    assert_eq!([998, 1000, 4000, 5900, 6001].map(|ms| is_disturbed(at(ms))), [false, true, true, true, false]);
    assert!(!latencies(&[at(60_000)], &events[..1]).1.is_empty(), "an outage without an end");
}

#[test]
fn resealed_and_resent_are_not_known_for_an_external_gateway() {
    let mut observations = observations();
    observations.gateway_records = None;
    let score = Score::of(&observations);
    assert_eq!((score.resealed, score.resent), (None, None));
}
