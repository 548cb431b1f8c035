use std::sync::Mutex;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};

use super::*;
use crate::clock::Clock;
use crate::gateway::response::refusal::Code;

fn response(text: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::from(text))
}

fn observed(use_guard: impl FnOnce(RecordGuard)) -> Record {
    let seen: Arc<Mutex<Vec<Record>>> = Arc::default();
    let observer: Observer = {
        let seen = Arc::clone(&seen);
        Arc::new(move |record| seen.lock().unwrap().push(record.clone()))
    };
    let mut request = Request::new(());
    *request.uri_mut() = "/v0/x?token=canary&b=2&canary".parse().unwrap();
    use_guard(RecordGuard::begin(&mut request, Clock::system(), Observers::new(vec![observer])));
    let mut seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "one record for each request");
    seen.pop().unwrap()
}

#[test]
fn a_caller_that_disconnects_before_the_response_is_recorded() {
    let record = observed(drop);
    assert_eq!((record.outcome, record.status), (Outcome::CallerLeft, None));
}

#[test]
fn a_caller_that_disconnects_within_the_response_has_left() {
    let record = observed(|guard| drop(guard.follow(response("text"))));
    assert_eq!((record.outcome, record.status), (Outcome::CallerLeft, Some(StatusCode::OK)));
}

#[test]
fn a_response_whose_reply_broke_is_aborted() {
    let record = observed(|guard| {
        guard.handle().aborted();
        drop(guard.follow(response("text")));
    });
    assert_eq!(record.outcome, Outcome::Aborted);
}

#[test]
fn a_response_handed_over_to_its_end_is_complete() {
    let record = observed(|guard| {
        let body = guard.follow(response("answer")).into_body();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(body.collect()).unwrap();
    });
    assert_eq!((record.outcome, record.bytes_out), (Outcome::Complete, 6));
    let record = observed(|guard| drop(guard.follow(response(""))));
    assert_eq!((record.outcome, record.bytes_out), (Outcome::Complete, 0));
}

#[test]
fn refusals_tokens_and_key_sets_are_responses_of_the_gateway() {
    let is_own = |note: fn(&RecordHandle)| {
        observed(|guard| {
            note(guard.handle());
            drop(guard.follow(response("")));
        })
        .is_own()
    };
    assert!(is_own(|handle| handle.refused(Code::NoUpstream)));
    assert!(is_own(RecordHandle::answered_here));
    assert!(!is_own(|_| {}));
}

#[test]
fn of_a_query_only_the_names_are_recorded() {
    let record = observed(drop);
    assert_eq!(
        (record.path.as_str(), record.query_keys.as_slice()),
        ("/v0/x", ["token", "b"].map(String::from).as_slice())
    );
    assert!(!format!("{record:?}").contains("canary"));
}
