//! The provider's reply on its way to the caller.
//!
//! It streams: nothing is buffered, and a slow caller slows the provider down. A reply that
//! breaks off, or falls silent, breaks the caller's connection off too; a clean end would pass
//! half an answer for a whole one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::gateway::access_log::RecordHandle;
use crate::gateway::callers::CallerPermit;
use crate::gateway::request::headers::{self, TransferCoding};
use crate::gateway::response::key_hint::{JWE_KEY_HINT, KeyHint};
use crate::gateway::response::refusal::{PROXY_STATUS, PSEUDONYM, Refusal};

/// How much of a reply that will not be relayed is read, to keep its connection usable.
const DROPPED: usize = 64 * 1024;

/// How long that may take; past it a new connection is cheaper.
const DROPPED_TIME: Duration = Duration::from_millis(250);

/// Turns the provider's reply into the caller's.
///
/// # Errors
/// `upstream_protocol` for a switch of protocols, which nobody asked for, and for a transfer
/// coding that we would have to undo.
pub(crate) fn relay(
    reply: Response<Incoming>,
    hint: Option<KeyHint>,
    idle: Duration,
    record: RecordHandle,
    caller_permit: Option<CallerPermit>,
) -> Result<Response<Relayed>, Refusal> {
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::UpstreamUpgrade);
    }
    let (mut head, body) = reply.into_parts();
    // RFC 9112 section 6.3: chunks overrule a length, and hyper has taken the chunks off.
    match headers::transfer_coding(&head.headers) {
        TransferCoding::None => {}
        TransferCoding::Chunked => drop(head.headers.remove(CONTENT_LENGTH)),
        TransferCoding::Other => return Err(Refusal::UpstreamEncoding),
    }
    headers::to_caller(&mut head.headers);
    head.headers.append(PROXY_STATUS, received(head.status));
    if let Some(hint) = hint {
        head.headers.insert(JWE_KEY_HINT, hint.header());
    }
    // The two sides' versions are each connection's own affair.
    head.version = http::Version::HTTP_11;
    Ok(Response::from_parts(head, Relayed { body, idle, silence: None, record, _caller_permit: caller_permit }))
}

/// Reads a reply that is not relayed to its end, if that is near: its connection can then
/// carry the next attempt.
pub(crate) async fn drop_reply(reply: Response<Incoming>) {
    let rest = Limited::new(reply.into_body(), DROPPED).collect();
    // Too long or too slow only means that the connection is not kept.
    let _ = tokio::time::timeout(DROPPED_TIME, rest).await;
}

/// RFC 9209 section 2.1.4: says that the status is the provider's.
fn received(status: StatusCode) -> HeaderValue {
    HeaderValue::try_from(format!("{PSEUDONYM}; received-status={}", status.as_u16()))
        .unwrap_or_else(|_| HeaderValue::from_static(PSEUDONYM))
}

/// A reply's body, with a limit on its silences.
#[derive(Debug)]
pub(crate) struct Relayed {
    body: Incoming,
    idle: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    record: RecordHandle,
    /// Given back when the answer has been handed over, or given up.
    _caller_permit: Option<CallerPermit>,
}

/// Why a reply ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    /// The provider's connection broke, or its framing.
    #[error("the reply broke off")]
    Upstream(#[from] hyper::Error),
    /// The provider fell silent.
    #[error("the reply fell silent")]
    Idle,
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence = None;
            if matches!(frame, Some(Err(_))) {
                self.record.aborted();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(ReplyError::Upstream)));
        }
        let idle = self.idle;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(silence.as_mut().poll(cx));
        self.record.aborted();
        Poll::Ready(Some(Err(ReplyError::Idle)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
