//! One API call: read, authenticate, open, dispatch, record, respond.
//!
//! As far as a client can tell, this is the provider's order: an invalid token is refused before the body is
//! opened, and an unreadable body before the path is examined. Every call is recorded before its response is
//! sent, refused calls included.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, request};
use hyper::body::Incoming;

use super::api_response::{ApiResponse, ErrorFormat};
use super::body::{self, BODY_DEADLINE, ContentError, MAX_BODY, RequestBody};
use super::faults::ApiFault;
use super::received::Received;
use super::scripted_body::ScriptedBody;
use super::state::{SandboxState, lock};
use super::{flinks, key_set, routes, token};

pub(super) async fn respond(
    state: Arc<SandboxState>,
    request: Request<Incoming>,
) -> io::Result<Response<ScriptedBody>> {
    match request.uri().path() {
        key_set::PATH => Ok(key_set::respond(&state, request.method(), request.headers())),
        token::PATH => Ok(token::respond(state, request, token::grant).await),
        flinks::TOKEN_PATH => Ok(token::respond(state, request, flinks::grant).await),
        flinks::AUTHORIZE_PATH => Ok(flinks::send_user_on(&state, &request)),
        _ => handle_call(&state, request).await,
    }
}

async fn handle_call(state: &Arc<SandboxState>, request: Request<Incoming>) -> io::Result<Response<ScriptedBody>> {
    let (head, body) = request.into_parts();
    let format = ErrorFormat::of(head.uri.path());
    let faults = state.faults.take_for_call(head.uri.path());
    let mut call = Received::from_head(&head, state.now());
    let response = match body::read(body, MAX_BODY, BODY_DEADLINE).await {
        Err(error) => error.to_response(format),
        Ok(wire) => {
            call.wire = wire.clone();
            call.standing = (!format.is_flinks()).then(|| state.standing(&head.headers, &wire));
            match ApiFault::refusal(&faults, format) {
                Some(refusal) => refusal,
                None => authenticate_and_process(state, head, wire, &mut call).await,
            }
        }
    };
    let document = Bytes::from(response.body.to_string());
    call.status = response.status;
    call.response = document.clone();
    lock(&state.received).push(call);
    ApiFault::deliver(&faults, response.status, document, &state.clock).await
}

async fn authenticate_and_process(
    state: &Arc<SandboxState>,
    head: request::Parts,
    wire: Bytes,
    call: &mut Received,
) -> ApiResponse {
    let format = ErrorFormat::of(head.uri.path());
    let refusal = match format {
        ErrorFormat::Flinks(_) => flinks::refusal(state, &head),
        ErrorFormat::V0 | ErrorFormat::Letters => {
            (!state.is_authenticated(&head.headers)).then(|| format.unauthenticated())
        }
    };
    if let Some(refusal) = refusal {
        return refusal;
    }
    // Opening costs an RSA operation, and a body can be 64 MiB of JSON.
    let worker_state = Arc::clone(state);
    let processed = tokio::task::spawn_blocking(move || open_and_dispatch(&worker_state, &head, &wire));
    match processed.await {
        Ok((content, response)) => {
            match content {
                Ok(content) => {
                    call.plaintext = content.plaintext;
                    call.opened = content.opened;
                }
                Err(ContentError::Sealed(error)) => call.unopened = Some(error),
                Err(ContentError::MediaType) => {}
            }
            response
        }
        Err(error) => {
            tracing::error!(%error, "sandbox: an API call could not be handled");
            format.internal()
        }
    }
}

fn open_and_dispatch(
    state: &SandboxState,
    head: &request::Parts,
    wire: &Bytes,
) -> (Result<RequestBody, ContentError>, ApiResponse) {
    let format = ErrorFormat::of(head.uri.path());
    if let ErrorFormat::Flinks(dialect) = format {
        return flinks::respond(state, head, wire, dialect);
    }
    let content = body::open(&head.headers, wire, &state.keys());
    let response = match &content {
        Err(error) => error.to_response(format),
        Ok(content) if state.require_sealed && is_plain(content) => format.must_be_sealed(),
        Ok(content) => match body::parse(&content.plaintext) {
            Err(_not_json) => format.not_json(),
            Ok(body) => state.with_api(|api, now| routes::dispatch(api, now, &head.method, &head.uri, &body)),
        },
    };
    (content, response)
}

/// Whether a body was sent, and not sealed.
fn is_plain(content: &RequestBody) -> bool {
    content.opened.is_none() && !content.plaintext.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Options;
    use crate::sandbox::testing::{TestResponse, TestSandbox, send};
    use http::Method;
    use http::header::{AUTHORIZATION, CONTENT_TYPE};
    use serde_json::{Value, json};

    const LIST: &str = "/v0/bank/credentials/list";
    const STATUS: &str = "/v0/bank/credentials/status";
    const SEARCH: &str = "/letters/v1/search-letters";

    fn letters_code(reply: &TestResponse) -> String {
        let body = reply.json();
        assert_eq!(body["success"], false);
        assert_eq!(body["trace_id"].as_str().unwrap().len(), 32);
        body["error"]["code"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_missing_or_wrong_token_is_refused_in_the_error_format_of_the_path() {
        let sandbox = TestSandbox::start().await;
        let without = |target| sandbox.http.post(sandbox.handle.url() + target);
        for wrong in [None, Some("Bearer made-up"), Some("Basic x"), Some("Bearer ")] {
            let post = async |target| match wrong {
                None => send(without(target)).await,
                Some(value) => send(without(target).header(AUTHORIZATION, value)).await,
            };
            let reply = post(LIST).await;
            assert_eq!(reply.status, 401, "{wrong:?}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            assert!(reply.json()["error"].is_string());
            let reply = post(SEARCH).await;
            assert_eq!(reply.status, 401);
            assert_eq!(letters_code(&reply), "UNAUTHENTICATED");
        }
        assert_eq!(sandbox.handle.received().len(), 8, "refused calls are recorded");
    }

    #[tokio::test]
    async fn a_sealed_body_and_a_plain_body_are_both_recorded_byte_for_byte() {
        let sandbox = TestSandbox::start().await;
        // Spaces, member order, an escaped letter and a trailing zero must survive unchanged.
        let body = br#" { "credentials_token" :"sandbox-credentials-1", "z":1.10, "a":"\u00e9" } "#;
        let message = sandbox.seal(body).await;
        sandbox.post_jose(STATUS, message.clone()).await.ok();
        let plain = sandbox.request(Method::POST, STATUS);
        let plain = plain.header(CONTENT_TYPE, "application/json; charset=utf-8");
        send(plain.header("x-note", "kept").body(body.to_vec())).await;

        let [sealed, plain] = <[Received; 2]>::try_from(sandbox.handle.received()).unwrap();
        assert_eq!((sealed.number, plain.number), (1, 2));
        assert_eq!(sealed.plaintext, &body[..]);
        assert_eq!(sealed.wire, message);
        let opened = sealed.opened.unwrap();
        let header: Value = serde_json::from_str(&opened.header).unwrap();
        assert_eq!(header["alg"], "RSA-OAEP-256");
        assert_eq!(header["kid"], json!(opened.kid));
        assert_eq!(opened.parts.iter().sum::<usize>() + 4, message.len());

        assert_eq!(plain.plaintext, &body[..]);
        assert_eq!(plain.wire, &body[..]);
        assert!(plain.opened.is_none() && plain.unopened.is_none());
        assert_eq!(plain.target, STATUS);
        assert_eq!(plain.headers["x-note"], "kept");
        assert!(plain.headers[AUTHORIZATION].is_sensitive());
    }

    #[tokio::test]
    async fn a_message_with_any_part_changed_is_refused_in_the_error_format_of_the_path() {
        let sandbox = TestSandbox::start().await;
        let message = sandbox.seal(b"{\"query\":{}}").await;
        let mut starts = vec![0];
        starts.extend(message.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at + 1));
        assert_eq!(starts.len(), 5);
        for start in starts {
            let mut tampered = message.clone();
            tampered[start] = if tampered[start] == b'A' { b'B' } else { b'A' };
            let reply = sandbox.post_jose(SEARCH, tampered.clone()).await;
            assert_eq!((reply.status.as_u16(), letters_code(&reply)), (400, "VALIDATION_ERROR".to_owned()));
            let reply = sandbox.post_jose(LIST, tampered).await;
            assert_eq!(reply.status, 400);
            assert!(reply.json()["error"].is_string());
        }
        let received = sandbox.handle.received();
        assert_eq!(received.len(), 10);
        for call in received {
            assert!(call.unopened.is_some() && call.opened.is_none() && call.plaintext.is_empty());
            assert_eq!(call.status, 400);
        }
        assert_eq!(sandbox.post_jose(SEARCH, message).await.status, 200);
    }

    #[tokio::test]
    async fn a_body_that_is_not_a_jwe_or_not_json_is_refused() {
        let sandbox = TestSandbox::start().await;
        for message in [&b""[..], b"{}", b"a.b.c.d", b"....", b"\xff\xfe"] {
            assert_eq!(sandbox.post_jose(LIST, message.to_vec()).await.status, 400);
        }
        for text in ["{", "\u{feff}{}", "nothing", &"[".repeat(100_000)] {
            for target in [LIST, SEARCH] {
                let request = sandbox.request(Method::POST, target);
                let request = request.header(CONTENT_TYPE, "application/json");
                assert_eq!(send(request.body(text.to_owned())).await.status, 400);
            }
        }
        for kind in ["text/plain", "application/jwe"] {
            let request = sandbox.request(Method::POST, LIST).header(CONTENT_TYPE, kind);
            assert_eq!(send(request.body("{}")).await.status, 415);
            let request = sandbox.request(Method::POST, SEARCH).header(CONTENT_TYPE, kind);
            let reply = send(request.body("{}")).await;
            assert_eq!(letters_code(&reply), "UNSUPPORTED_MEDIA_TYPE");
        }
    }

    #[tokio::test]
    async fn a_plain_body_is_refused_and_recorded_if_bodies_must_be_sealed() {
        let options = Options { require_sealed: true, ..Options::default() };
        let sandbox = TestSandbox::start_with(options).await;
        let body = json!({ "query": {}, "credentials_token": "sandbox-credentials-1" });
        let reply = sandbox.post(STATUS, &body).await;
        let told = reply.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(reply.status, 415);
        for advice in ["not sealed", "/.well-known/jwks.json", "application/jose"] {
            assert!(told.contains(advice), "{told}");
        }
        let reply = sandbox.post(SEARCH, &body).await;
        assert_eq!((reply.status.as_u16(), letters_code(&reply)), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()));
        assert_eq!(reply.json()["error"]["message"], told);
        for call in sandbox.handle.received() {
            assert!(call.status == 415 && call.opened.is_none() && call.plaintext == body.to_string());
        }
        let message = sandbox.seal(body.to_string().as_bytes()).await;
        sandbox.post_jose(STATUS, message.clone()).await.ok();
        sandbox.post_jose(SEARCH, message).await.ok();
        sandbox.get("/v0/bank/available").await.ok();
        send(sandbox.request(Method::POST, LIST)).await.ok();
    }

    #[tokio::test]
    async fn a_sealed_letter_of_20_mib_is_accepted() {
        use base64::Engine;
        let mut document = b"%PDF-1.7\n".to_vec();
        document.resize(20 * 1024 * 1024, 0xa5);
        let data = base64::engine::general_purpose::STANDARD.encode(document);
        let body = json!({ "connector_id": "c", "data": data }).to_string();
        let sandbox = TestSandbox::start().await;
        let message = sandbox.seal(body.as_bytes()).await;
        sandbox.post_jose("/letters/v1/create-signed", message).await.ok();
        assert!(sandbox.handle.received()[0].plaintext == body);
    }
}
