//! Faults in the response with the key set.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::sandbox::scripted_body::ScriptedBody;

/// Small enough that a key set is sent in dozens of pieces.
const DRIP_BYTES: usize = 16;

/// A fault in the response with the key set. If several are armed, the one armed first applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KeySetFault {
    /// 200 with a web page, as from a captive portal or a wrong host.
    Html,
    /// 200 with the first half of the document, declared as complete.
    HalfDocument,
    /// 200 that declares the length of the whole document and closes the connection after half of it.
    Truncated,
    /// 200 with the document in pieces of 16 bytes.
    SlowDrip {
        /// The pause before each piece, in milliseconds.
        pause_ms: u64,
    },
    /// 500.
    ServerError,
    /// 304 without an `ETag`, even if the request was not conditional. RFC 9110 section 15.4.5 allows 304
    /// only for conditional requests.
    NotModified,
    /// 302 to `/elsewhere/jwks.json` on the same host. A client that follows it is refused there with 401,
    /// and the request appears among the recorded calls.
    Redirect,
}

impl KeySetFault {
    pub(super) fn samples() -> Vec<Self> {
        vec![
            Self::Html,
            Self::HalfDocument,
            Self::Truncated,
            Self::SlowDrip { pause_ms: 100 },
            Self::ServerError,
            Self::NotModified,
            Self::Redirect,
        ]
    }

    /// Returns the response that replaces a 200 with `document`.
    pub(in crate::sandbox) fn to_response(&self, document: &Bytes, clock: &Clock) -> Response<ScriptedBody> {
        let json = "application/json";
        match self {
            Self::Html => {
                let page = "<!doctype html><title>Sandbox</title><p>This is not a key set.";
                typed(StatusCode::OK, "text/html", ScriptedBody::whole(page))
            }
            Self::HalfDocument => {
                let half = document.slice(..document.len() / 2);
                typed(StatusCode::OK, json, ScriptedBody::whole(half))
            }
            Self::Truncated => {
                let body = ScriptedBody::cut(document, io::ErrorKind::UnexpectedEof);
                typed(StatusCode::OK, json, body)
            }
            Self::SlowDrip { pause_ms } => {
                let pause = Duration::from_millis(*pause_ms);
                let body = ScriptedBody::in_pieces(clock.clone(), document, DRIP_BYTES, pause);
                typed(StatusCode::OK, json, body)
            }
            Self::ServerError => {
                let body = ScriptedBody::whole(r#"{"error":"Internal Error"}"#);
                typed(StatusCode::INTERNAL_SERVER_ERROR, json, body)
            }
            Self::NotModified => {
                let mut response = Response::new(ScriptedBody::whole(""));
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
            Self::Redirect => {
                let mut response = Response::new(ScriptedBody::whole(""));
                *response.status_mut() = StatusCode::FOUND;
                let elsewhere = HeaderValue::from_static("/elsewhere/jwks.json");
                response.headers_mut().insert(LOCATION, elsewhere);
                response
            }
        }
    }
}

fn typed(status: StatusCode, kind: &'static str, body: ScriptedBody) -> Response<ScriptedBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Fault;
    use crate::sandbox::testing::{TestResponse, TestSandbox, send};
    use serde_json::Value;

    async fn with(fault: KeySetFault) -> TestResponse {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm_times(Fault::KeySet(fault), 1);
        let reply = sandbox.jwks().await;
        assert_eq!(sandbox.jwks().await.ok()["keys"].as_array().unwrap().len(), 1);
        assert_eq!(sandbox.handle.jwks_fetches(), 2);
        reply
    }

    #[tokio::test]
    async fn html_replaces_the_set_with_a_web_page() {
        let reply = with(KeySetFault::Html).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "text/html"));
        assert!(reply.body.starts_with(b"<!doctype html>"));
    }

    #[tokio::test]
    async fn half_document_sends_half_as_if_it_were_complete() {
        let reply = with(KeySetFault::HalfDocument).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.starts_with(b"{\"keys\":["));
        assert!(serde_json::from_slice::<Value>(&reply.body).is_err());
    }

    #[tokio::test]
    async fn truncated_declares_more_than_it_sends() {
        let sandbox = TestSandbox::start().await;
        let whole = sandbox.jwks().await.body;
        sandbox.handle.arm(Fault::KeySet(KeySetFault::Truncated));
        let mut response = sandbox.http.get(sandbox.jwks_url()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.content_length(), Some(whole.len() as u64));
        let mut got = Vec::new();
        let end = loop {
            match response.chunk().await {
                Ok(Some(piece)) => got.extend_from_slice(&piece),
                end => break end,
            }
        };
        assert!(end.is_err());
        assert_eq!(got, whole[..whole.len() / 2]);
    }

    #[tokio::test]
    async fn slow_drip_sends_the_whole_set_slowly_by_the_clock() {
        let sandbox = TestSandbox::start().await;
        let whole = sandbox.jwks().await.body;
        let fault = KeySetFault::SlowDrip { pause_ms: 1000 };
        sandbox.handle.arm(Fault::KeySet(fault));
        let response = sandbox.http.get(sandbox.jwks_url()).send().await.unwrap();
        let second = Duration::from_secs(1);
        let (body, advanced) = sandbox.advance_clock_until(second, response.bytes()).await;
        assert_eq!(body.unwrap(), whole);
        let pieces = u32::try_from(whole.len().div_ceil(DRIP_BYTES)).unwrap();
        assert!(advanced >= second * pieces);
    }

    #[tokio::test]
    async fn server_error_responds_with_500() {
        assert_eq!(with(KeySetFault::ServerError).await.status, 500);
    }

    #[tokio::test]
    async fn not_modified_responds_with_304_to_an_unconditional_request() {
        let reply = with(KeySetFault::NotModified).await;
        assert_eq!(reply.status, 304);
        assert_eq!(reply.header("etag"), "");
    }

    #[tokio::test]
    async fn a_client_that_follows_the_redirect_appears_in_the_recorded_calls() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::KeySet(KeySetFault::Redirect));
        let reply = sandbox.jwks().await;
        assert_eq!(reply.status, 302);
        let elsewhere = sandbox.handle.url() + reply.header("location");
        assert_eq!(send(sandbox.http.get(elsewhere)).await.status, 401);
        assert_eq!(sandbox.handle.received()[0].target, "/elsewhere/jwks.json");
    }

    #[tokio::test]
    async fn the_fault_armed_first_applies() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::KeySet(KeySetFault::ServerError));
        sandbox.handle.arm(Fault::KeySet(KeySetFault::Html));
        assert_eq!(sandbox.jwks().await.status, 500);
    }
}
