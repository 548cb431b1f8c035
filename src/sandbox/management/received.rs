//! Verbs for the recorded calls.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::{Reply, Verb, VerbRequest, error_response, not_found, ok};
use crate::sandbox::received::Received;
use crate::sandbox::scripted_body::ScriptedBody;
use crate::sandbox::state::{SandboxState, lock};

pub(super) const VERBS: &[Verb] = &[
    Verb {
        method: "GET",
        path: "/received",
        query: "",
        what: "the recorded requests, oldest first",
        handler: |request| Box::pin(async move { list(&request.state).await }),
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

/// Lists the recorded calls, oldest first, without their `Authorization`.
///
/// Encoding and hashing a full log takes about a second, so it runs outside the async worker threads.
async fn list(state: &Arc<SandboxState>) -> Reply {
    let (calls, total) = {
        let log = lock(&state.received);
        (log.calls(), log.total())
    };
    let listed = tokio::task::spawn_blocking(move || {
        json!({
            "total": total,
            "kept": calls.len(),
            "requests": calls.iter().map(call_as_json).collect::<Vec<_>>(),
        })
    });
    listed.await.map_or_else(
        |error| {
            tracing::error!(%error, "sandbox: the recorded requests could not be listed");
            Err(error_response(StatusCode::INTERNAL_SERVER_ERROR, "the recorded requests could not be listed"))
        },
        ok,
    )
}

fn call_as_json(call: &Received) -> Value {
    // Bytes that are not UTF-8 are shown as the replacement character.
    let headers: Vec<_> = call
        .headers
        .iter()
        .filter(|(name, _)| *name != AUTHORIZATION)
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let hash = digest::digest(&digest::SHA256, &call.plaintext);
    json!({
        "number": call.number,
        "method": call.method.as_str(),
        "target": call.target,
        "headers": headers,
        "authorization": call.headers.contains_key(AUTHORIZATION),
        "status": call.status.as_u16(),
        "wire_bytes": call.wire.len(),
        "kid": call.kid(),
        "protected_header": call.opened.as_ref().map(|opened| &opened.header),
        "parts": call.opened.as_ref().map(|opened| opened.parts),
        "unopened": call.unopened.as_ref().map(ToString::to_string),
        "plaintext_bytes": call.plaintext.len(),
        "plaintext_sha256": hex(hash.as_ref()),
        "plaintext_base64": STANDARD.encode(&call.plaintext),
    })
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
        assert_eq!(list, json!({ "total": 2, "kept": 0, "requests": [] }));
        assert_eq!(sandbox.handle.received_total(), 2);
    }
}
