//! The observations of a small drill without losses, for the unit tests of this module.

use std::time::Duration;

use super::events::{Change, Event};
use super::observations::{BodyCheck, ClientReply, Digest, Observations, ProviderCall, ReplyOutcome};
use super::request_kind::RequestKind;
use super::target::GatewayRecord;

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn reply(number: u64, due: u64, ended: u64, outcome: ReplyOutcome) -> ClientReply {
    let body = matches!(outcome, ReplyOutcome::Status(_)).then(|| Digest::of(b"{}"));
    ClientReply { number, kind: RequestKind::Valid, due: ms(due), ended: ms(ended), outcome, body }
}

/// The reply to a request that the provider must refuse with 400.
pub(super) fn reply_to_wrong(number: u64, due: u64, ended: u64, outcome: ReplyOutcome) -> ClientReply {
    ClientReply { kind: RequestKind::WrongLetter, ..reply(number, due, ended, outcome) }
}

pub(super) fn call(number: u64, status: u16, kid: &str, body: BodyCheck) -> ProviderCall {
    ProviderCall {
        number: Some(number),
        at: ms(number * 500),
        status,
        credential: Some(Digest::of(kid.as_bytes())),
        kid: Some(kid.to_owned()),
        body,
        unreadable: None,
        response: Digest::of(b"{}"),
    }
}

pub(super) fn event(at: u64, change: Change) -> Event {
    Event { at: ms(at), change }
}

/// Four requests. One of them is sealed again after a hard cut from key `a` to key `b` at two seconds.
pub(super) fn observations() -> Observations {
    let record =
        |number| GatewayRecord { number, resealed: number == 2, resent: false, trace: "relayed 200".to_owned() };
    Observations {
        took: ms(4000),
        first_kid: "a".to_owned(),
        events: vec![event(2000, Change::Cut("b".to_owned()))],
        replies: vec![
            reply(0, 0, 5, ReplyOutcome::Status(200)),
            reply(1, 500, 505, ReplyOutcome::Status(200)),
            reply(2, 1990, 2130, ReplyOutcome::Status(200)),
            reply(3, 2500, 2505, ReplyOutcome::Status(200)),
        ],
        calls: vec![
            call(0, 200, "a", BodyCheck::Intact),
            call(1, 200, "a", BodyCheck::Intact),
            call(2, 400, "a", BodyCheck::UnknownKey),
            call(2, 200, "b", BodyCheck::Intact),
            call(3, 200, "b", BodyCheck::Intact),
        ],
        unread_calls: 0,
        gateway_records: Some((0..4).map(record).collect()),
        key_set_fetches: 2,
        token_requests: 1,
        key_set_requested: vec![ms(2010)],
        token_requested: Vec::new(),
        client_ended: None,
    }
}
