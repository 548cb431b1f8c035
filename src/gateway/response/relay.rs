//! Relays the provider's reply to the caller.
//!
//! The reply is streamed and never buffered, so a slow caller slows the provider down. A key check reads at most
//! 16 KiB ahead. If the reply breaks or stops, the gateway breaks the caller's connection too. A clean end would make
//! half a response look complete.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use tokio::time::Sleep;

use crate::gateway::access_log::RecordHandle;
use crate::gateway::callers::CallerPermit;
use crate::gateway::capacity::ResponsePermit;
use crate::gateway::request::headers::{self, TransferCoding};
use crate::gateway::response::error_trace_id::ErrorBody;
use crate::gateway::response::key_hint::{JWE_KEY_HINT, KeyHint};
use crate::gateway::response::proxy_status;
use crate::gateway::response::refusal::{PROXY_STATUS, PSEUDONYM, Refusal};
use crate::gateway::response::reply_body::ReplyBody;
use crate::gateway::route::Route;

/// How many bytes of a reply that is not relayed are read, so that its connection can be reused.
const MAX_DROPPED: usize = 64 * 1024;

/// How long that may take. After this a new connection is cheaper.
const MAX_DROP_TIME: Duration = Duration::from_millis(250);

/// Turns the provider's reply into the caller's response. The fields in which callers recognise the gateway are removed
/// from head and trailers; an egress may keep its members of `Proxy-Status`.
///
/// `Jwe-Gateway-Key` of an egress is removed too. If this gateway sealed the message, it can seal again itself. If its
/// caller did, `hint` says the same, because the gateway has just asked the egress for the key set.
///
/// # Errors
/// `upstream_protocol` for status 101, because no other protocol was requested, and for a transfer coding other
/// than chunked, which the gateway would have to decode.
pub(crate) fn relay(
    reply: Response<ReplyBody>,
    hint: Option<KeyHint>,
    route: &Route,
    record: RecordHandle,
    permits: (ResponsePermit, Option<CallerPermit>),
) -> Result<Response<Relayed>, Refusal> {
    let (idle, is_egress) = (route.upstream.idle(), route.is_egress);
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::UpstreamUpgrade);
    }
    let (mut head, body) = reply.into_parts();
    // RFC 9112 section 6.3: chunked overrides Content-Length. hyper has already decoded the chunks.
    match headers::transfer_coding(&head.headers) {
        TransferCoding::None => {}
        TransferCoding::Chunked => drop(head.headers.remove(CONTENT_LENGTH)),
        TransferCoding::Other => return Err(Refusal::UpstreamEncoding),
    }
    let error_body = ErrorBody::of(head.status, &head.headers);
    headers::to_caller(&mut head.headers);
    remove_own_fields(&mut head.headers, is_egress);
    head.headers.append(PROXY_STATUS, received_status(head.status));
    if let Some(hint) = hint {
        head.headers.insert(JWE_KEY_HINT, hint.header());
    }
    // The HTTP version belongs to a connection. hyper sets the one of the caller's connection.
    head.version = http::Version::HTTP_11;
    let body = Relayed { body, idle, idle_timer: None, is_egress, error_body, record, _permits: permits };
    Ok(Response::from_parts(head, body))
}

fn remove_own_fields(headers: &mut HeaderMap, is_egress: bool) {
    headers.remove(JWE_KEY_HINT);
    if !is_egress {
        proxy_status::remove_own_members(headers);
    }
}

/// Reads a reply that is not relayed to its end, if the end is near. Then the connection can carry the next attempt.
pub(crate) async fn drop_reply(reply: Response<ReplyBody>) {
    let body = Limited::new(reply.into_body(), MAX_DROPPED).collect();
    // If the body is too long or too slow, the connection is closed and not reused.
    let _ = tokio::time::timeout(MAX_DROP_TIME, body).await;
}

/// RFC 9209 section 2.1.4: the status was made by the provider and not by the gateway.
pub(crate) fn received_status(status: StatusCode) -> HeaderValue {
    HeaderValue::try_from(format!("{PSEUDONYM}; received-status={}", status.as_u16()))
        .unwrap_or_else(|_| HeaderValue::from_static(PSEUDONYM))
}

/// The body of a reply. It fails if no data arrives for `idle`.
#[derive(Debug)]
pub(crate) struct Relayed {
    body: ReplyBody,
    idle: Duration,
    idle_timer: Option<Pin<Box<Sleep>>>,
    is_egress: bool,
    /// The body so far, if it may have a trace id.
    error_body: Option<ErrorBody>,
    record: RecordHandle,
    /// Freed when the response has ended or the caller has disconnected.
    _permits: (ResponsePermit, Option<CallerPermit>),
}

/// Why a reply is incomplete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    /// The connection or the framing broke.
    #[error("the provider's reply ended early or its framing is broken")]
    Upstream(#[from] hyper::Error),
    #[error("the provider sent no more data of its reply in time")]
    Idle,
}

impl Relayed {
    /// Records the trace id of an error reply when `frame` is the last one.
    fn read_trace_id(&mut self, frame: &Option<Result<Frame<Bytes>, hyper::Error>>) {
        let Some(mut copy) = self.error_body.take() else { return };
        let fits = match frame {
            Some(Ok(frame)) => frame.data_ref().is_none_or(|data| copy.push(data)),
            Some(Err(_)) => false,
            None => true,
        };
        let is_complete = frame.is_none() || self.body.is_end_stream();
        match fits {
            true if is_complete => copy.trace_id().into_iter().for_each(|id| self.record.provider_trace_id(id)),
            true => self.error_body = Some(copy),
            false => {}
        }
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.idle_timer = None;
            if matches!(frame, Some(Err(_))) {
                self.record.aborted();
            }
            self.read_trace_id(&frame);
            let is_egress = self.is_egress;
            let relayed = |mut frame: Frame<Bytes>| {
                if let Some(trailers) = frame.trailers_mut() {
                    remove_own_fields(trailers, is_egress);
                }
                frame
            };
            return Poll::Ready(frame.map(|frame| frame.map(relayed).map_err(ReplyError::Upstream)));
        }
        let idle = self.idle;
        let idle_timer = self.idle_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(idle_timer.as_mut().poll(cx));
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
