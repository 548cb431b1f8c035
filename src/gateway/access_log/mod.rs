//! The access log: one line per request, written in one place.
//!
//! The line is written when the last byte of the response has been handed over. It is also written when the request's
//! future or the response's body is dropped before that, so a caller that disconnects early is recorded too.
//!
//! The line holds names and numbers: the names of the query parameters without their values, the length of the body
//! without its content. The path is logged as received, because the provider puts no secret into paths.
//! `docs/operations.md` lists every field.

pub(crate) mod record;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

pub use crate::gateway::response::key_check::KeyCheck;
pub use record::{Outcome, Record};
pub(crate) use record::{RecordGuard, RecordHandle};

/// A function that gets the record of each request that has ended.
pub type Observer = Arc<dyn Fn(&Record) + Send + Sync>;

/// The log and the other observers. Clones share them.
#[derive(Clone)]
pub(crate) struct Observers(Arc<[Observer]>);

impl Observers {
    #[must_use]
    pub(crate) fn new(others: Vec<Observer>) -> Self {
        Self(std::iter::once(Arc::new(log) as Observer).chain(others).collect())
    }

    fn notify(&self, record: &Record) {
        for observer in self.0.iter() {
            observer(record);
        }
    }
}

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}

/// Writes `record` as one line of the log. A field that is `None` is left out.
fn log(record: &Record) {
    tracing::info!(
        target: "jwe_gateway::access",
        request_id = record.request_id.as_str(),
        trace_id = record.trace_id,
        method = record.method.as_str(),
        path = record.path,
        query_keys = (!record.query_keys.is_empty()).then(|| record.query_keys.join(",")),
        caller = record.caller.as_deref(),
        upstream = record.upstream.as_deref(),
        status = record.status.map(|status| status.as_u16()),
        origin = record.status.map(|_| if record.is_own() { "gateway" } else { "upstream" }),
        error_code = record.refusal.map(|code| code.row().code),
        duration_ms = millis(record.duration),
        upstream_ms = record.upstream_time.map(millis),
        seal_us = record.seal_time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        bytes_in = record.bytes_in,
        bytes_jwe = record.bytes_jwe,
        bytes_out = record.bytes_out,
        kid = record.kid,
        attempts = record.attempts,
        key_check = record.key_check.map(KeyCheck::as_str),
        key_check_ms = record.key_check_time.map(millis),
        resealed = record.resealed.then_some(true),
        resent = record.resent.then_some(true),
        outcome = record.outcome.as_str(),
        "request"
    );
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A response body that ends the record of its request.
#[derive(Debug)]
pub(crate) struct Recorded<B: Body> {
    body: B,
    record: RecordGuard,
}

impl RecordGuard {
    /// Returns `response` with a body that owns the record. The record ends with the body.
    pub(crate) fn follow<B: Body>(self, response: Response<B>) -> Response<Recorded<B>> {
        self.status(response.status());
        response.map(|body| Recorded { body, record: self })
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Recorded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.record.bytes_out(frame.data_ref().map_or(0, Bytes::len));
                let is_complete = self.body.is_end_stream();
                self.record.set_complete(is_complete);
            }
            Some(Err(_)) => {}
            None => self.record.set_complete(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// hyper does not poll a body that is already at its end, so a response without a body ends here.
impl<B: Body> Drop for Recorded<B> {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.record.set_complete(true);
        }
    }
}
