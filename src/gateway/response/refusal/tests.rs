use std::sync::Arc;

use http::Request;
use tracing::Level;

use super::*;
use crate::clock::Clock;
use crate::gateway::access_log::RecordHandle;
use crate::gateway::capacity::UpstreamFull;
use crate::gateway::endpoints::token::TokenNotGranted;
use crate::gateway::request::body::BodyError;
use crate::gateway::request::request_id::RequestId;
use crate::gateway::server::peer::Peer;
use crate::testing;

#[test]
fn a_refusal_has_the_shape_of_rfc_9457_and_rfc_9209() {
    let response = Refusal::BodyTooLarge { limit: 10 }.respond("r-1");
    assert_eq!(response.status(), 413);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    assert_eq!(response.headers()[PROXY_STATUS], "jwe-gateway; error=http_request_error; details=\"body_too_large\"");
    assert_eq!(response.headers()[CONNECTION], "close");
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["code"], "body_too_large");
    assert_eq!(body["status"], 413);
    assert_eq!(body["request_id"], "r-1");
    assert_eq!(body["detail"], "request bodies are limited to 10 bytes");
}

#[test]
fn every_503_and_429_has_a_retry_after() {
    for code in Code::ALL.iter().map(|code| code.row()) {
        let retries = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&code.status);
        assert_eq!(code.retry_after.is_some(), retries, "{}", code.code);
    }
    for refusal in [Refusal::Overloaded(Limit::Buffered), Refusal::Draining(Sent::Nothing), Denied::TooMany.into()] {
        assert_eq!(refusal.respond("r").headers()[RETRY_AFTER], "1");
    }
    let wait = TokenError::Unavailable { retry_after: Duration::from_secs(7) };
    assert_eq!(Refusal::from(wait).respond("r").headers()[RETRY_AFTER], "7");
    let wait = Denied::TooFast { retry_after: Duration::from_millis(1500) };
    assert_eq!(Refusal::from(wait).respond("r").headers()[RETRY_AFTER], "2", "rounded up");
    assert!(!Refusal::NoUpstream.respond("r").headers().contains_key(RETRY_AFTER));
}

#[test]
fn the_connection_closes_if_the_rest_of_the_request_may_still_arrive() {
    let closes = |refusal: Refusal| refusal.respond("r").headers().contains_key(CONNECTION);
    assert!(closes(Refusal::RequestTimeout));
    assert!(closes(BodyError::from(BodyFault::Incomplete).into()));
    assert!(closes(Refusal::Draining(Sent::Perhaps)));
    assert!(closes(Refusal::ExchangeTimeout(Sent::Nothing)));
    assert!(!closes(Refusal::ExchangeTimeout(Sent::Perhaps)));
    assert!(!closes(Refusal::NoUpstream));
}

#[test]
fn a_refused_method_names_the_allowed_methods() {
    assert_eq!(Refusal::MethodNotAllowed.respond("r").headers()[ALLOW], METHODS);
}

#[test]
fn errors_of_lower_modules_become_refusals() {
    for (refusal, code) in [
        (BodyError::TooLarge { limit: 1 }.into(), Code::BodyTooLarge),
        (BodyError::BudgetExhausted.into(), Code::Overloaded),
        (UpstreamFull.into(), Code::Overloaded),
        (TokenNotGranted::from(UnknownCaller).into(), Code::CallerUnknown),
        (TokenNotGranted::from(BadTokenRequest::Grant).into(), Code::MalformedTokenRequest),
    ] as [(Refusal, Code); 5]
    {
        assert_eq!(refusal.code(), code);
    }
}

#[test]
fn a_refusal_by_a_callers_rule_is_logged_at_info_with_caller_method_and_path() {
    let request = Request::post("/v0/token?client=canary").body(()).unwrap();
    let id = RequestId::assign(request.headers());
    let handle = RecordHandle::begin(&request, &id, &Peer::default(), Clock::system());
    handle.caller(&Arc::from("portfolio"));
    for refusal in [Refusal::TokenEndpoint, Refusal::CallerForbidden] {
        let lines = testing::log_lines(Level::INFO, || refusal.log(&handle.snapshot()));
        let [line] = &lines[..] else { panic!("one line and not {lines:?}") };
        assert_eq!((&line["level"], &line["code"]), (&"INFO".into(), &"caller_forbidden".into()));
        assert_eq!(line["cause"], refusal.to_string());
        assert_eq!(line["caller"], "portfolio");
        assert_eq!((&line["method"], &line["path"]), (&"POST".into(), &"/v0/token".into()));
    }
}

#[test]
fn other_faults_of_a_caller_are_logged_at_debug_and_faults_of_the_gateway_at_warn() {
    let request = Request::new(());
    let id = RequestId::assign(request.headers());
    let record = RecordHandle::begin(&request, &id, &Peer::default(), Clock::system()).snapshot();
    assert!(testing::log_lines(Level::INFO, || Refusal::NoUpstream.log(&record)).is_empty());
    assert_eq!(testing::log_lines(Level::DEBUG, || Refusal::NoUpstream.log(&record))[0]["level"], "DEBUG");
    assert_eq!(testing::log_lines(Level::WARN, || Refusal::UpstreamUpgrade.log(&record))[0]["level"], "WARN");
}
