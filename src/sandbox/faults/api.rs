//! Faults in the response to an API call, which leave the client in doubt.
//!
//! `unauthorized`, `bad_request`, `forbidden`, `too_many_requests` and `server_error` refuse a call before it has an
//! effect. With the other faults the call takes effect, and its response is lost or slow. A client that then repeats
//! the call performs it twice, and the recorded calls show both.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::sandbox::api_response::{ApiResponse, ErrorFormat, json_response};
use crate::sandbox::scripted_body::ScriptedBody;

/// Small enough that the shortest response body is sent in several pieces.
const PIECE_BYTES: usize = 8;

/// A fault in the response to an API call. Several can be armed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ApiFault {
    /// 401 for any token. The token stays valid.
    Unauthorized,
    /// 400 as for a body that cannot be opened, for any body.
    BadRequest,
    /// 403 as for a client without permission.
    Forbidden,
    /// 429 with `Retry-After`.
    TooManyRequests {
        /// The value of `Retry-After` in seconds.
        retry_after: u64,
    },
    /// 500 without an effect.
    ServerError,
    /// A TCP reset in place of the response.
    ResetBeforeHead,
    /// The head and half of the body, then a TCP reset.
    ResetInBody,
    /// The response head is delayed.
    SlowHead {
        /// The delay in milliseconds.
        delay_ms: u64,
    },
    /// The body is sent in pieces of 8 bytes.
    SlowBody {
        /// The pause before each piece, in milliseconds.
        pause_ms: u64,
    },
}

impl ApiFault {
    pub(super) fn samples() -> Vec<Self> {
        vec![
            Self::Unauthorized,
            Self::BadRequest,
            Self::Forbidden,
            Self::TooManyRequests { retry_after: 1 },
            Self::ServerError,
            Self::ResetBeforeHead,
            Self::ResetInBody,
            Self::SlowHead { delay_ms: 500 },
            Self::SlowBody { pause_ms: 100 },
        ]
    }

    /// The refusal of the first fault that has one, in the format of the path.
    pub(in crate::sandbox) fn refusal(faults: &[Self], format: ErrorFormat) -> Option<ApiResponse> {
        faults.iter().find_map(|fault| match fault {
            Self::Unauthorized => Some(format.unauthenticated()),
            Self::BadRequest => Some(format.undecryptable()),
            Self::Forbidden => Some(format.forbidden()),
            Self::TooManyRequests { .. } => Some(format.too_many_requests()),
            Self::ServerError => Some(format.internal()),
            Self::ResetBeforeHead | Self::ResetInBody | Self::SlowHead { .. } | Self::SlowBody { .. } => None,
        })
    }

    /// Applies `faults` to the response with this JSON document: delays it, slows it down or breaks it off.
    pub(in crate::sandbox) async fn deliver(
        faults: &[Self],
        status: StatusCode,
        document: Bytes,
        clock: &Clock,
    ) -> io::Result<Response<ScriptedBody>> {
        let mut response = json_response(status, document.clone());
        for fault in faults {
            match fault {
                Self::Unauthorized | Self::BadRequest | Self::Forbidden | Self::ServerError => {}
                Self::TooManyRequests { retry_after } => {
                    if response.status() == StatusCode::TOO_MANY_REQUESTS {
                        response.headers_mut().insert(RETRY_AFTER, (*retry_after).into());
                    }
                }
                Self::ResetBeforeHead => return Err(io::ErrorKind::ConnectionReset.into()),
                Self::ResetInBody => {
                    *response.body_mut() = ScriptedBody::cut(&document, io::ErrorKind::ConnectionReset)
                }
                Self::SlowHead { delay_ms } => {
                    clock.sleep(Duration::from_millis(*delay_ms)).await;
                }
                Self::SlowBody { pause_ms } => {
                    let pause = Duration::from_millis(*pause_ms);
                    *response.body_mut() = ScriptedBody::in_pieces(clock.clone(), &document, PIECE_BYTES, pause);
                }
            }
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Fault;
    use crate::sandbox::testing::{TestResponse, TestSandbox};
    use http::Method;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const STATUS: &str = "/v0/bank/credentials/status";
    const SEARCH: &str = "/letters/v1/search-letters";

    fn first() -> Value {
        json!({ "credentials_token": "sandbox-credentials-1" })
    }

    /// Calls once with `fault` armed, then again without it, which must succeed.
    async fn once(sandbox: &TestSandbox, fault: ApiFault, target: &str, body: Value) -> TestResponse {
        sandbox.handle.arm_times(Fault::Api(fault), 1);
        let reply = sandbox.post(target, &body).await;
        sandbox.post(target, &body).await.ok();
        reply
    }

    /// Deletes credentials over a raw connection. Returns what the connection delivered and how it ended.
    /// Whether the credentials still exist shows whether the call took effect.
    async fn delete(sandbox: &TestSandbox) -> (String, io::Result<usize>) {
        let address = sandbox.handle.url().replace("http://", "");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = sandbox.request(Method::DELETE, "/v0/bank/credentials").build().unwrap();
        let token = request.headers()["authorization"].to_str().unwrap();
        let body = first().to_string();
        let head = format!(
            "DELETE /v0/bank/credentials HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let end = stream.read_to_end(&mut read).await;
        (String::from_utf8(read).unwrap(), end)
    }

    #[tokio::test]
    async fn a_valid_token_is_refused_once_in_the_error_format_of_the_path() {
        let sandbox = TestSandbox::start().await;
        let reply = once(&sandbox, ApiFault::Unauthorized, STATUS, first()).await;
        assert_eq!(reply.status, 401);
        let reply = once(&sandbox, ApiFault::Unauthorized, SEARCH, json!({ "query": {} })).await;
        assert_eq!(reply.status, 401);
        assert_eq!(reply.json()["error"]["code"], "UNAUTHENTICATED");
    }

    #[tokio::test]
    async fn a_valid_body_is_refused_once_without_effect() {
        let sandbox = TestSandbox::start().await;
        let fault = Fault::Api(ApiFault::BadRequest);
        sandbox.handle.arm_times(fault, 1);
        let path = "/v0/bank/credentials";
        let reply = sandbox.call(Method::DELETE, path, &first()).await;
        assert_eq!(reply.status, 400);
        assert_eq!(sandbox.handle.received()[0].status, 400);
        sandbox.post(STATUS, &first()).await.ok();
        let reply = once(&sandbox, ApiFault::BadRequest, SEARCH, json!({ "query": {} })).await;
        assert_eq!(reply.json()["error"]["code"], "VALIDATION_ERROR");
    }

    #[tokio::test]
    async fn a_call_is_refused_with_403_429_or_500_in_the_error_format_of_the_path_without_effect() {
        let sandbox = TestSandbox::start().await;
        for (fault, status, text, code) in [
            (ApiFault::Forbidden, 403, "You are not authorized to perform this action", "UNAUTHORIZED"),
            (ApiFault::TooManyRequests { retry_after: 7 }, 429, "Too Many Requests", "TOO_MANY_REQUESTS"),
            (ApiFault::ServerError, 500, "Internal Error", "INTERNAL_ERROR"),
        ] {
            let reply = once(&sandbox, fault.clone(), STATUS, first()).await;
            assert_eq!((reply.status.as_u16(), reply.json()), (status, json!({ "error": text })));
            assert_eq!(reply.header("retry-after"), if status == 429 { "7" } else { "" });
            let reply = once(&sandbox, fault.clone(), SEARCH, json!({ "query": {} })).await;
            assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (status, &json!(code)));
            sandbox.handle.arm_times(Fault::Api(fault), 1);
            assert_eq!(sandbox.call(Method::DELETE, "/v0/bank/credentials", &first()).await.status, status);
            sandbox.post(STATUS, &first()).await.ok();
        }
    }

    #[tokio::test]
    async fn a_fault_can_be_armed_for_one_path() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm_at(SEARCH, ApiFault::Forbidden, Some(1)).unwrap();
        sandbox.post(STATUS, &first()).await.ok();
        assert_eq!(sandbox.post(SEARCH, &json!({ "query": {} })).await.status, 403);
        sandbox.post(SEARCH, &json!({ "query": {} })).await.ok();
        assert!(sandbox.handle.arm_at("no-slash", ApiFault::Forbidden, None).unwrap_err().contains("no-slash"));
    }

    #[tokio::test]
    async fn a_reset_before_the_head_follows_a_call_that_took_effect() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm_times(Fault::Api(ApiFault::ResetBeforeHead), 1);
        let (read, end) = delete(&sandbox).await;
        assert_eq!(read, "");
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(sandbox.handle.received()[0].status, 200);
        assert_eq!(sandbox.post(STATUS, &first()).await.status, 400);
    }

    #[tokio::test]
    async fn a_reset_in_the_body_follows_half_of_the_body() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm_times(Fault::Api(ApiFault::ResetInBody), 1);
        let (read, end) = delete(&sandbox).await;
        let whole = json!({ "message": "Successfully deleted" }).to_string();
        let (head, body) = read.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"));
        assert!(head.contains(&format!("content-length: {}", whole.len())));
        assert_eq!(body, &whole[..whole.len() / 2]);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_slow_head_is_delayed_by_the_clock_after_the_call_took_effect() {
        let sandbox = TestSandbox::start().await;
        let fault = ApiFault::SlowHead { delay_ms: 60_000 };
        sandbox.handle.arm(Fault::Api(fault));
        let body = first();
        let request = sandbox.post(STATUS, &body);
        let (reply, advanced) = sandbox.advance_clock_until(Duration::from_secs(1), request).await;
        reply.ok();
        assert!(advanced >= Duration::from_secs(60));
        assert_eq!(sandbox.handle.received().len(), 1);
    }

    #[tokio::test]
    async fn a_slow_body_is_sent_by_the_clock_after_an_immediate_head() {
        let sandbox = TestSandbox::start().await;
        sandbox.handle.arm(Fault::Api(ApiFault::SlowBody { pause_ms: 1000 }));
        let request = sandbox.request(Method::GET, "/v0/platform/link");
        // The head arrives although the clock does not advance.
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let second = Duration::from_secs(1);
        let (body, advanced) = sandbox.advance_clock_until(second, response.bytes()).await;
        let body = body.unwrap();
        serde_json::from_slice::<Value>(&body).unwrap();
        let pieces = u32::try_from(body.len().div_ceil(PIECE_BYTES)).unwrap();
        assert!(advanced >= second * pieces);
    }
}
