//! Verbs for the recorded calls, and for the verdict on them.
//!
//! The log may hold 20,000 calls and 256 MiB. A list of all of them at once would take twice as much memory again, so
//! the list comes in pages, limited in calls and bytes.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Reply, Verb, VerbRequest, bad_request, duration, error_response, not_found, ok};
use crate::sandbox::api_response::ApiResponse;
use crate::sandbox::received::Received;
use crate::sandbox::scripted_body::ScriptedBody;
use crate::sandbox::state::{SandboxState, lock};

/// The most calls of a page, and the default.
const MAX_LIMIT: usize = 5000;
const LIMIT: usize = 1000;

/// The bytes of bodies after which a page ends. A page always has its first call.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// The longest wait for a call. Clients and proxies often give up after 30 or 60 seconds.
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(super) const VERBS: &[Verb] = &[
    Verb {
        method: "GET",
        path: "/received",
        query: "?after=N&limit=N&wait=DURATION",
        what: "the recorded requests, oldest first: those after number `after`, at most `limit` of them; if there are \
               none, wait so long for the next one",
        handler: |request| Box::pin(list(request)),
    },
    Verb {
        method: "GET",
        path: "/received/{number}/body",
        query: "",
        what: "the body of request {number} after opening, as bytes; `last` is the last request",
        handler: |request| Box::pin(body(request)),
    },
    Verb {
        method: "DELETE",
        path: "/received",
        query: "",
        what: "delete the recorded requests",
        handler: |request| Box::pin(forget(request)),
    },
    Verb {
        method: "GET",
        path: "/verdict",
        query: "?after=N",
        what: "whether the recorded requests are sealed as the provider needs it, check by check",
        handler: |request| Box::pin(verdict(request)),
    },
];

async fn body(request: VerbRequest) -> Reply {
    let log = lock(&request.state.received);
    let call = match request.segment.as_str() {
        "last" => log.last(),
        number => number.parse().ok().and_then(|number| log.numbered(number)),
    };
    let plaintext = call.map(|call| call.plaintext.clone()).ok_or_else(not_found)?;
    let mut response = Response::new(ScriptedBody::whole(plaintext));
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    Ok(response)
}

async fn forget(request: VerbRequest) -> Reply {
    lock(&request.state.received).clear();
    ok(json!({ "forgotten": true }))
}

async fn verdict(request: VerbRequest) -> Reply {
    let after = request.number("after", 0, u64::MAX)?;
    let state = request.state;
    blocking(move || serde_json::to_vec(&state.verdict(after)).unwrap_or_default()).await
}

/// Lists a page of the recorded calls.
async fn list(request: VerbRequest) -> Reply {
    let after = request.number("after", 0, u64::MAX)?;
    let limit = request.number("limit", LIMIT as u64, MAX_LIMIT as u64)?.max(1);
    let wait = request.parameter("wait").map_or(Ok(Duration::ZERO), |wait| duration(&wait))?;
    if wait > MAX_WAIT {
        return Err(bad_request("wait is at most 30s"));
    }
    let state = request.state;
    state.wait_for_call(after, wait).await;
    let page = Page::of(&state, after, usize::try_from(limit).unwrap_or(MAX_LIMIT));
    blocking(move || page.to_json()).await
}

/// Runs `encode` outside the async worker threads. Encoding and hashing a page may take a second.
async fn blocking(encode: impl FnOnce() -> Vec<u8> + Send + 'static) -> Reply {
    let encoded = tokio::task::spawn_blocking(encode).await.map_err(|error| {
        tracing::error!(%error, "sandbox: the recorded requests could not be examined");
        error_response(StatusCode::INTERNAL_SERVER_ERROR, "the recorded requests could not be examined")
    })?;
    let mut response = Response::new(ScriptedBody::whole(encoded));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Some consecutive calls of the log.
struct Page {
    total: u64,
    kept: usize,
    after: u64,
    /// Whether the log has later calls.
    more: bool,
    calls: Vec<Arc<Received>>,
}

impl Page {
    fn of(state: &SandboxState, after: u64, limit: usize) -> Self {
        let log = lock(&state.received);
        let rest = log.after(after);
        let available = rest.len();
        let mut bytes = 0;
        let fits = |call: &&Arc<Received>| {
            let is_first = bytes == 0;
            bytes += 1 + call.wire.len() + call.plaintext.len() + call.response.len();
            is_first || bytes <= MAX_PAGE_BYTES
        };
        let calls: Vec<_> = rest.take(limit).take_while(fits).cloned().collect();
        Self { total: log.total(), kept: log.kept(), after, more: calls.len() < available, calls }
    }

    fn to_json(&self) -> Vec<u8> {
        let next_after = self.calls.last().map_or(self.after, |call| call.number);
        let Self { total, kept, more, .. } = self;
        let mut json =
            format!(r#"{{"total":{total},"kept":{kept},"more":{more},"next_after":{next_after},"requests":["#)
                .into_bytes();
        for (index, call) in self.calls.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            write_entry(call, &mut json);
        }
        json.extend_from_slice(b"]}");
        json
    }
}

/// One call, without its `Authorization`.
#[derive(Serialize)]
struct Entry<'a> {
    number: u64,
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, std::borrow::Cow<'a, str>)>,
    authorization: bool,
    status: u16,
    wire_bytes: usize,
    kid: Option<&'a str>,
    protected_header: Option<&'a str>,
    parts: Option<[usize; 5]>,
    unopened: Option<String>,
    plaintext_bytes: usize,
    plaintext_sha256: String,
    plaintext_base64: String,
}

/// Appends one call as JSON. `body` has the plaintext as it was received: numbers and the order of members stay.
fn write_entry(call: &Received, json: &mut Vec<u8>) {
    // Bytes that are not UTF-8 are shown as the replacement character.
    let headers = call.headers.iter().filter(|(name, _)| *name != AUTHORIZATION);
    let headers = headers.map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    let entry = Entry {
        number: call.number,
        method: call.method.as_str(),
        target: &call.target,
        headers,
        authorization: call.headers.contains_key(AUTHORIZATION),
        status: call.status.as_u16(),
        wire_bytes: call.wire.len(),
        kid: call.kid(),
        protected_header: call.opened.as_ref().map(|opened| opened.header.as_str()),
        parts: call.opened.as_ref().map(|opened| opened.parts),
        unopened: call.unopened.as_ref().map(ToString::to_string),
        plaintext_bytes: call.plaintext.len(),
        plaintext_sha256: hex(digest::digest(&digest::SHA256, &call.plaintext).as_ref()),
        plaintext_base64: STANDARD.encode(&call.plaintext),
    };
    // Writing texts and numbers to memory does not fail.
    if serde_json::to_writer(&mut *json, &entry).is_err() {
        return;
    }
    if serde_json::from_slice::<Value>(&call.plaintext).is_ok() && json.pop().is_some() {
        json.extend_from_slice(b",\"body\":");
        json.extend_from_slice(&call.plaintext);
        json.push(b'}');
    }
}

impl VerbRequest {
    /// The whole number in the query parameter `name`, at most `max`.
    fn number(&self, name: &str, default: u64, max: u64) -> Result<u64, ApiResponse> {
        let Some(text) = self.parameter(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| *number <= max);
        number.ok_or_else(|| {
            let limit = if max == u64::MAX { String::new() } else { format!(", at most {max}") };
            bad_request(&format!("{name} must be a whole number{limit}"))
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::TestSandbox;
    use http::Method;

    #[tokio::test]
    async fn received_calls_are_listed_without_their_token_and_can_be_fetched_and_deleted() {
        let sandbox = TestSandbox::start().await;
        let sealed = br#"{"credentials_token":"sandbox-credentials-1"}"#;
        let message = sandbox.seal(sealed).await;
        let path = "/v0/bank/credentials/status?trace=1";
        sandbox.post_jose(path, message.clone()).await.ok();
        sandbox.post("/v0/bank/credentials/list", &json!({"second": true})).await.ok();

        let reply = sandbox.manage(Method::GET, "/received").await;
        assert!(!String::from_utf8_lossy(&reply.body).contains("Bearer"));
        let list = reply.ok();
        assert_eq!((&list["total"], &list["kept"]), (&json!(2), &json!(2)));
        let call = &list["requests"][0];
        assert_eq!(call["number"], 1);
        assert_eq!(call["method"], "POST");
        assert_eq!(call["target"], path);
        assert_eq!(call["status"], 200);
        assert_eq!(call["authorization"], true);
        assert_eq!(call["wire_bytes"], message.len());
        assert_eq!(call["plaintext_bytes"], sealed.len());
        assert_eq!(STANDARD.decode(call["plaintext_base64"].as_str().unwrap()).unwrap(), sealed);
        let hash = hex(digest::digest(&digest::SHA256, sealed).as_ref());
        assert_eq!(call["plaintext_sha256"], hash);
        let header: Value = serde_json::from_str(call["protected_header"].as_str().unwrap()).unwrap();
        assert_eq!(header["kid"], call["kid"]);
        let headers = call["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["content-type", "application/jose"])));

        let body = async |number| sandbox.manage(Method::GET, &format!("/received/{number}/body")).await;
        let first = body("1").await;
        assert_eq!(first.header("content-type"), "application/octet-stream");
        assert_eq!(first.body, sealed);
        assert_eq!(body("last").await.body, br#"{"second":true}"#);

        assert_eq!(sandbox.manage(Method::DELETE, "/received").await.status, 200);
        let list = sandbox.manage(Method::GET, "/received").await.ok();
        assert_eq!(list, json!({ "total": 2, "kept": 0, "more": false, "next_after": 0, "requests": [] }));
        assert_eq!(sandbox.handle.received_total(), 2);
    }

    #[tokio::test]
    async fn a_body_is_json_in_the_list_exactly_as_it_was_received() {
        let sandbox = TestSandbox::start().await;
        let body = br#" {"z":1.10, "big":12345678901234567890123, "a":"\u00e9" }"#;
        sandbox.post_jose("/v0/bank/credentials/list", sandbox.seal(body).await).await;
        sandbox.get("/v0/bank/available").await.ok();
        let request = sandbox.request(Method::POST, "/v0/bank/credentials/list");
        crate::sandbox::testing::send(request.header("content-type", "application/json").body("{")).await;

        let reply = sandbox.manage(Method::GET, "/received").await;
        assert_eq!(reply.header("content-type"), "application/json");
        let text = String::from_utf8(reply.body.clone()).unwrap();
        assert!(text.contains(&format!("\"body\":{}}}", std::str::from_utf8(body).unwrap())), "{text}");
        let list = reply.ok();
        assert_eq!(list["requests"][0]["body"]["a"], "é");
        for (index, base64) in [(1, ""), (2, "ew==")] {
            let entry = &list["requests"][index];
            assert!(entry.get("body").is_none(), "{entry}");
            assert_eq!(entry["plaintext_base64"], base64);
        }
    }

    #[tokio::test]
    async fn the_list_comes_in_pages() {
        let sandbox = TestSandbox::start().await;
        for _ in 0..5 {
            sandbox.get("/v0/bank/available").await.ok();
        }
        let page = async |query: &str| {
            let page = sandbox.manage(Method::GET, &format!("/received{query}")).await.ok();
            let numbers: Vec<_> =
                page["requests"].as_array().unwrap().iter().map(|call| call["number"].clone()).collect();
            (numbers, page["more"].as_bool().unwrap(), page["next_after"].as_u64().unwrap())
        };
        let numbers = |range: std::ops::RangeInclusive<u64>| range.map(Value::from).collect::<Vec<_>>();
        assert_eq!(page("?limit=2").await, (numbers(1..=2), true, 2));
        assert_eq!(page("?limit=2&after=2").await, (numbers(3..=4), true, 4));
        assert_eq!(page("?limit=2&after=4").await, (numbers(5..=5), false, 5));
        assert_eq!(page("?after=5").await, (Vec::new(), false, 5));
        assert_eq!(page("?after=99").await, (Vec::new(), false, 99));
        assert_eq!(page("").await, (numbers(1..=5), false, 5));
        for wrong in ["limit=-1", "limit=5001", "after=x", "wait=2", "wait=soon", "wait=31s"] {
            let reply = sandbox.manage(Method::GET, &format!("/received?{wrong}")).await;
            let name = wrong.split('=').next().unwrap();
            assert_eq!(reply.status, 400, "{wrong}");
            assert!(reply.json()["error"].as_str().unwrap().contains(name), "{wrong}: {}", reply.json());
        }
    }

    #[tokio::test]
    async fn a_page_ends_before_it_is_too_large_but_has_at_least_one_call() {
        let sandbox = TestSandbox::start().await;
        for length in [MAX_PAGE_BYTES, 10, 10] {
            let body = json!({ "text": "x".repeat(length) });
            sandbox.post("/v0/bank/credentials/list", &body).await;
        }
        let first = sandbox.manage(Method::GET, "/received").await.ok();
        assert_eq!((first["requests"].as_array().unwrap().len(), &first["more"]), (1, &json!(true)));
        let rest = sandbox.manage(Method::GET, "/received?after=1").await.ok();
        assert_eq!((rest["requests"].as_array().unwrap().len(), &rest["more"]), (2, &json!(false)));
    }

    #[tokio::test]
    async fn a_list_with_a_wait_returns_as_soon_as_there_is_a_newer_call() {
        let sandbox = TestSandbox::start().await;
        sandbox.get("/v0/bank/available").await.ok();
        // There is one already.
        let list = sandbox.manage(Method::GET, "/received?wait=30s").await.ok();
        assert_eq!(list["requests"].as_array().unwrap().len(), 1);
        // There is none yet. A deleted call does not count.
        sandbox.manage(Method::DELETE, "/received").await.ok();
        let waiting = sandbox.manage(Method::GET, "/received?wait=30s");
        let (list, _) = tokio::join!(waiting, sandbox.get("/v0/bank/available"));
        assert_eq!(list.ok()["requests"][0]["number"], 2);
        // There is none in time.
        let list = sandbox.manage(Method::GET, "/received?after=2&wait=1ms").await.ok();
        assert_eq!(list["requests"], json!([]));
    }
}
