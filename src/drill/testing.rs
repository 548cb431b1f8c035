//! A small drill that went well, for the tests of this room.

use std::time::Duration;

use super::events::{Change, Event};
use super::observations::{Answered, Body, Call, ClientReply, Observations};
use super::target::Passed;

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn answer(number: u64, due: u64, ended: u64, answered: Answered) -> ClientReply {
    ClientReply { number, due: ms(due), ended: ms(ended), answered }
}

pub(super) fn call(number: u64, status: u16, kid: &str, body: Body) -> Call {
    Call { number: Some(number), status, kid: Some(kid.to_owned()), body }
}

pub(super) fn event(at: u64, change: Change) -> Event {
    Event { at: ms(at), change }
}

/// Four requests, one of them sealed again after a cut from `a` to `b` at two seconds.
pub(super) fn observations() -> Observations {
    let passed = |number| Passed { number, resealed: number == 2, resent: false, trace: "relayed 200".to_owned() };
    Observations {
        took: ms(4000),
        first_kid: "a".to_owned(),
        events: vec![event(2000, Change::Cut("b".to_owned()))],
        answers: vec![
            answer(0, 0, 5, Answered::With(200)),
            answer(1, 500, 505, Answered::With(200)),
            answer(2, 1990, 2130, Answered::With(200)),
            answer(3, 2500, 2505, Answered::With(200)),
        ],
        calls: vec![
            call(0, 200, "a", Body::Intact),
            call(1, 200, "a", Body::Intact),
            call(2, 400, "a", Body::UnknownKey),
            call(2, 200, "b", Body::Intact),
            call(3, 200, "b", Body::Intact),
        ],
        unseen: 0,
        passed: Some((0..4).map(passed).collect()),
        key_set_fetches: 2,
        token_requests: 1,
    }
}
