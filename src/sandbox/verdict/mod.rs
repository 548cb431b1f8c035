//! Judges a client by the calls that it made. Is every body sealed as the provider needs it, with a key that the client
//! could take for current? Does the client recover from rotations and revocations?
//!
//! A sandbox can withdraw a key or a token at any time, so one refused call is no fault of the client. It is a fault
//! to use the same key or token again after the refusal. Requests that were under way then are allowed for a second.
//!
//! The checks read the bytes as they arrived, because a message that could not be opened, or that was refused for its
//! token, has a header to judge too. Requests without a body prove nothing about sealing. The calls of the second
//! provider, which accepts no sealed bodies, are left out.

mod checks;

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;

use super::received::Received;

/// Larger protected headers are not examined. A header with four members has about 100 bytes.
const MAX_HEADER: usize = 8 * 1024;

/// A client's verdict: see [`Sandbox::verdict`](super::Sandbox::verdict).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The result of all checks.
    pub verdict: Outcome,
    /// The number of examined requests, including those without a body.
    pub requests: u64,
    /// The number of examined requests with a body.
    pub bodies: u64,
    /// The number of requests that were made and are no longer recorded, so that they were not examined.
    pub not_kept: u64,
    /// The number of the last request so far. A later verdict with this value as `after` examines newer requests only.
    pub last: u64,
    /// Each check.
    pub checks: Vec<Check>,
}

/// The result of a [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Every check passed.
    #[serde(rename = "passed")]
    Passed,
    /// At least one check failed.
    #[serde(rename = "failed")]
    Failed,
    /// No request had a body, so there is nothing to judge.
    #[serde(rename = "no requests")]
    NoRequests,
}

/// One check of a [`Verdict`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The name, such as `sealed`.
    pub name: &'static str,
    /// Whether no request failed.
    pub passed: bool,
    /// The number of requests that failed.
    pub count: u64,
    /// What is right, or what is wrong with the first request that failed and what to do.
    pub detail: String,
    /// The number of the first request that failed.
    pub first: Option<u64>,
}

impl Verdict {
    /// Judges `calls`, oldest first. `total` is the number of calls so far, `after` the number that the first may follow.
    pub(super) fn of(calls: &[Arc<Received>], after: u64, total: u64) -> Self {
        let calls: Vec<&Received> = calls.iter().map(Arc::as_ref).collect();
        let not_kept = total.saturating_sub(after) - (calls.len() as u64).min(total.saturating_sub(after));
        let judged: Vec<_> = calls.into_iter().filter(|call| call.standing.is_some()).collect();
        let bodies: Vec<_> = judged.iter().copied().filter(|call| !call.wire.is_empty()).collect();
        let messages: Vec<_> = bodies.iter().filter_map(|call| Some((*call, Message::of(&call.wire)?))).collect();
        let checks = vec![
            checks::sealed(&bodies),
            checks::content_type(&messages),
            checks::header(&messages),
            checks::current_key(&messages),
            checks::readable(&messages),
            checks::recovered(&messages),
            checks::token(&judged),
            checks::unique(&messages),
            checks::no_plaintext(&bodies),
        ];
        let verdict = match (bodies.len(), checks.iter().all(|check| check.passed)) {
            (0, _) => Outcome::NoRequests,
            (_, true) => Outcome::Passed,
            (_, false) => Outcome::Failed,
        };
        let (requests, bodies) = (judged.len() as u64, bodies.len() as u64);
        Self { verdict, requests, bodies, not_kept, last: total, checks }
    }
}

/// The parts of a compact JWE, before anything is decoded.
struct Message<'a> {
    parts: [&'a str; 5],
}

impl<'a> Message<'a> {
    /// `None` if the body has not the form of a compact JWE.
    fn of(wire: &'a [u8]) -> Option<Self> {
        let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(byte);
        if !wire.iter().all(is_allowed) {
            return None;
        }
        let mut parts = std::str::from_utf8(wire).ok()?.split('.');
        let five = [parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        (parts.next().is_none() && !five[0].is_empty()).then_some(Self { parts: five })
    }

    /// Whether a compact JWE has white space or quotation marks around it, which the provider cannot read.
    fn is_wrapped(wire: &[u8]) -> bool {
        let is_around = |byte: &u8| *byte == b'"' || byte.is_ascii_whitespace();
        let start = wire.iter().take_while(|byte| is_around(byte)).count();
        let end = wire.len() - wire[start..].iter().rev().take_while(|byte| is_around(byte)).count();
        end - start < wire.len() && Message::of(&wire[start..end]).is_some()
    }
}

/// The protected header of a compact JWE or JWS, if it can be read.
pub(super) fn protected_header(wire: &[u8]) -> Option<Value> {
    let end = wire.iter().take(MAX_HEADER).position(|byte| *byte == b'.')?;
    let text = BASE64_URL_SAFE_NO_PAD.decode(&wire[..end]).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Counts the calls that fail a check, and keeps the first.
struct Findings {
    name: &'static str,
    count: u64,
    first: Option<(u64, String)>,
}

impl Findings {
    fn new(name: &'static str) -> Self {
        Self { name, count: 0, first: None }
    }

    fn add(&mut self, call: &Received, what: impl Into<String>) {
        self.count += 1;
        self.first.get_or_insert_with(|| (call.number, what.into()));
    }

    fn end(self, passed: impl Into<String>) -> Check {
        let Self { name, count, first } = self;
        let (first, detail) = match first {
            None => (None, passed.into()),
            Some((number, what)) => (Some(number), format!("request {number}: {what}")),
        };
        Check { name, passed: count == 0, count, detail, first }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::jose::{EncryptionKey, Plaintext, seal};
    use crate::sandbox::testing::{TestSandbox, send};
    use crate::sandbox::{Options, Rotation};

    const STATUS: &str = "/v0/bank/credentials/status";
    const BODY: &[u8] = br#"{"credentials_token":"sandbox-credentials-1"}"#;

    /// The check with this name.
    fn check(sandbox: &TestSandbox, name: &str) -> Check {
        let verdict = sandbox.handle.verdict(0);
        verdict.checks.into_iter().find(|check| check.name == name).unwrap()
    }

    /// Asserts that this check, and the others in `also`, failed with request `first`, and that all other checks passed.
    fn assert_failed(sandbox: &TestSandbox, names: &[&str], first: u64, detail: &str) {
        let verdict = sandbox.handle.verdict(0);
        assert_eq!(verdict.verdict, Outcome::Failed);
        let failed: Vec<_> = verdict.checks.iter().filter(|check| !check.passed).map(|check| check.name).collect();
        assert_eq!(failed, names, "{verdict:#?}");
        let check = check(sandbox, names[0]);
        assert_eq!(check.first, Some(first), "{check:?}");
        assert!(check.detail.contains(detail), "{check:?}");
    }

    async fn post_sealed(sandbox: &TestSandbox, body: &[u8]) -> u16 {
        sandbox.post_jose(STATUS, sandbox.seal(body).await).await.status.as_u16()
    }

    #[tokio::test]
    async fn a_client_that_seals_every_body_anew_passes() {
        let sandbox = TestSandbox::start().await;
        assert_eq!(sandbox.handle.verdict(0).verdict, Outcome::NoRequests);
        sandbox.get("/v0/bank/available").await.ok();
        assert_eq!(sandbox.handle.verdict(0).verdict, Outcome::NoRequests, "no body, nothing to judge");
        for _ in 0..3 {
            assert_eq!(post_sealed(&sandbox, BODY).await, 200);
        }
        let verdict = sandbox.handle.verdict(0);
        assert_eq!(verdict.verdict, Outcome::Passed, "{verdict:#?}");
        assert_eq!((verdict.requests, verdict.bodies, verdict.not_kept, verdict.last), (4, 3, 0, 4));
        let over_http = sandbox.manage(Method::GET, "/verdict").await.ok();
        assert_eq!(over_http, serde_json::to_value(&verdict).unwrap());
        assert_eq!(over_http["verdict"], "passed");
    }

    #[tokio::test]
    async fn only_requests_after_the_given_number_are_judged() {
        let sandbox = TestSandbox::start().await;
        sandbox.post(STATUS, &json!({})).await;
        assert_eq!(sandbox.handle.verdict(0).verdict, Outcome::Failed);
        let last = sandbox.handle.verdict(0).last;
        assert_eq!(sandbox.manage(Method::GET, &format!("/verdict?after={last}")).await.ok()["verdict"], "no requests");
        post_sealed(&sandbox, BODY).await;
        assert_eq!(sandbox.handle.verdict(last).verdict, Outcome::Passed);
        sandbox.handle.forget_received();
        assert_eq!(sandbox.handle.verdict(0).not_kept, 2);
    }

    #[tokio::test]
    async fn a_body_that_is_not_a_compact_jwe_is_not_sealed() {
        let json_form = r#"{"protected":"e30","ciphertext":"AA"}"#;
        for (body, detail) in
            [("{}", "plain JSON"), (json_form, "JSON form"), ("a.b.c", "JWS"), ("a b", "five base64url")]
        {
            let sandbox = TestSandbox::start().await;
            post_sealed(&sandbox, BODY).await;
            let request = sandbox.request(Method::POST, STATUS).header("content-type", "application/json");
            send(request.body(body)).await;
            assert_failed(&sandbox, &["sealed", "no_plaintext"], 2, detail);
        }
    }

    #[tokio::test]
    async fn a_compact_jwe_with_something_around_it_is_named_so_and_is_no_plaintext() {
        for (before, after) in [("", "\n"), ("\"", "\""), (" ", "")] {
            let sandbox = TestSandbox::start().await;
            let message = String::from_utf8(sandbox.seal(BODY).await).unwrap();
            let reply = sandbox.post_jose(STATUS, format!("{before}{message}{after}").into_bytes()).await;
            assert_eq!(reply.status, 400);
            assert_failed(&sandbox, &["sealed"], 1, "white space or quotation marks");
        }
        assert!(!Message::is_wrapped(b"a.b.c.d.e") && !Message::is_wrapped(b"\"\n") && !Message::is_wrapped(b""));
    }

    #[tokio::test]
    async fn a_sealed_body_must_be_labelled_as_one() {
        let sandbox = TestSandbox::start().await;
        let request = sandbox.request(Method::POST, STATUS).header("content-type", "application/json");
        send(request.body(sandbox.seal(BODY).await)).await;
        let check = check(&sandbox, "content_type");
        assert!(!check.passed && check.detail.contains("Content-Type application/json"), "{check:?}");
    }

    #[tokio::test]
    async fn one_refusal_after_a_hard_cut_is_no_fault_and_using_the_key_again_is() {
        let sandbox = TestSandbox::start().await;
        let old = [sandbox.seal(BODY).await, sandbox.seal(BODY).await];
        sandbox.handle.rotate(Rotation::HardCut).await.unwrap();
        let [first, second] = old;
        assert_eq!(sandbox.post_jose(STATUS, first).await.status, 400);
        assert_failed(&sandbox, &["recovered"], 1, "fetch the key set");
        post_sealed(&sandbox, BODY).await;
        assert_eq!(sandbox.handle.verdict(0).verdict, Outcome::Passed);
        assert!(check(&sandbox, "current_key").detail.contains("except 1"));
        assert!(check(&sandbox, "recovered").detail.contains("from all 1"));

        sandbox.control.advance(Duration::from_secs(2));
        sandbox.post_jose(STATUS, second).await;
        post_sealed(&sandbox, BODY).await;
        assert_failed(&sandbox, &["current_key"], 3, "had refused it before");
    }

    #[tokio::test]
    async fn a_key_of_another_run_is_unknown() {
        let (sandbox, other) = (TestSandbox::start().await, TestSandbox::start().await);
        sandbox.post_jose(STATUS, other.seal(BODY).await).await;
        assert_failed(&sandbox, &["current_key", "recovered"], 1, "no key of this sandbox");
    }

    #[tokio::test]
    async fn a_message_for_another_key_than_its_kid_cannot_be_opened() {
        let (sandbox, other) = (TestSandbox::start().await, TestSandbox::start().await);
        let mut jwk = other.jwks().await.ok()["keys"][0].clone();
        jwk["kid"] = json!(sandbox.handle.kids()[0]);
        let key = EncryptionKey::from_jwk(&jwk).unwrap();
        let message = seal(&Plaintext::json(BODY.to_vec().into()).unwrap(), &key).unwrap().into_bytes().unwrap();
        sandbox.post_jose(STATUS, message).await;
        assert_failed(&sandbox, &["readable"], 1, "another key than the one of its kid");
    }

    #[tokio::test]
    async fn a_token_may_be_refused_once_but_not_used_again() {
        let mut sandbox = TestSandbox::start().await;
        sandbox.handle.revoke_tokens();
        assert_eq!(post_sealed(&sandbox, BODY).await, 401);
        sandbox.control.advance(Duration::from_secs(2));
        assert!(check(&sandbox, "token").detail.contains("except 1"));
        assert_eq!(post_sealed(&sandbox, BODY).await, 401);
        assert_failed(&sandbox, &["token"], 2, "refused it before");
        let after = sandbox.handle.received_total();
        sandbox.renew_token().await;
        post_sealed(&sandbox, BODY).await;
        assert_eq!(sandbox.handle.verdict(after).verdict, Outcome::Passed);

        let request = sandbox.http.get(sandbox.handle.url() + "/v0/bank/available");
        send(request).await;
        let request = sandbox.http.get(sandbox.handle.url() + "/v0/bank/available").header("authorization", "Bearer x");
        send(request).await;
        let check = check(&sandbox, "token");
        assert_eq!(check.count, 3, "{check:?}");
    }

    #[tokio::test]
    async fn a_message_that_is_sent_twice_is_a_replay() {
        let sandbox = TestSandbox::start().await;
        let message = sandbox.seal(BODY).await;
        for _ in 0..2 {
            sandbox.post_jose(STATUS, message.clone()).await;
        }
        assert_failed(&sandbox, &["unique"], 2, "the same message as request 1");
    }

    #[tokio::test]
    async fn a_text_of_a_sealed_body_in_its_url_or_headers_is_plaintext() {
        let post = async |target: &str, name: &str, value: &str| {
            let sandbox = TestSandbox::start().await;
            let request = sandbox.request(Method::POST, target).header(name, value);
            let body =
                br#"{"credentials_token":"sandbox-credentials-1","kind":"application/pdf","path":"credentials"}"#;
            let request = request.header("content-type", "application/jose");
            send(request.body(sandbox.seal(body).await)).await;
            sandbox
        };
        let in_query = format!("{STATUS}?token=sandbox%2Dcredentials-1");
        for (target, name, value) in [
            (in_query.as_str(), "x-note", "nothing"),
            ("/v0/sandbox-credentials-1/status", "x-note", "nothing"),
            (STATUS, "x-token", "a sandbox-credentials-1"),
        ] {
            let sandbox = post(target, name, value).await;
            assert_failed(&sandbox, &["no_plaintext"], 1, "of the sealed body is also in");
        }
        let sandbox = post("/v0/bank/status?page=1", "accept", "application/pdf").await;
        assert!(check(&sandbox, "no_plaintext").passed);
    }

    #[tokio::test]
    async fn the_calls_of_the_second_provider_are_left_out() {
        let sandbox = TestSandbox::start_with(Options { require_sealed: true, ..Options::default() }).await;
        let request = sandbox.http.post(sandbox.handle.url() + "/v2/pay/sessions/initiate");
        send(request.header("content-type", "application/json").body("{}")).await;
        assert_eq!(sandbox.handle.received_total(), 1);
        assert_eq!(sandbox.handle.verdict(0).verdict, Outcome::NoRequests);
    }
}
