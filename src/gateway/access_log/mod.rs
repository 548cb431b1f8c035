//! The access log: the record of each request, and its line in the log.
//!
//! The line is written when the last byte of the response has been handed over. It is also written when the request's
//! future or the response's body is dropped before that, so a caller that disconnects early is recorded too. `[log]` can
//! leave out lines: see [`selection`]. Other observers get every record.
//!
//! The line holds names and numbers: the names of the query parameters without their values, the length of the body
//! without its content. The path is logged as received, because the provider puts no secret into paths.
//! `docs/operations.md` lists every field.

pub(crate) mod attempts;
mod line;
mod outcome;
mod phases;
pub(crate) mod record;
mod selection;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

use crate::gateway::metrics::counters::{CallerCounters, Counters, UpstreamCounters};
pub use crate::gateway::response::key_check::KeyCheck;
pub use attempts::{Attempt, Attempts};
pub use outcome::Outcome;
pub use phases::{Phase, PhaseSpan, Phases};
pub use record::Record;
pub(crate) use record::{RecordGuard, RecordHandle};
pub use selection::{Access, Config, SampleRatio};

/// A function that gets the record of each request that has ended. It runs under the record's lock and on the thread that
/// serves requests, so it must not block.
pub type Observer = Arc<dyn Fn(&Record) + Send + Sync>;

/// What gets every record: the metrics, the log and the other observers. Clones share them.
#[derive(Clone)]
pub(crate) struct Observers(Arc<ObserversInner>);

struct ObserversInner {
    counters: Counters,
    observers: Vec<Observer>,
}

impl Observers {
    #[must_use]
    pub(crate) fn new(config: Config, others: Vec<Observer>, counters: Counters) -> Self {
        let log = Arc::new(move |record: &Record| line::write(record, config)) as Observer;
        let observers = std::iter::once(log).chain(others).collect();
        Self(Arc::new(ObserversInner { counters, observers }))
    }

    fn notify(&self, record: &Record, upstream: Option<&UpstreamCounters>, caller: Option<&CallerCounters>) {
        self.0.counters.add(record, upstream, caller);
        for observer in &self.0.observers {
            observer(record);
        }
    }
}

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Observers({})", self.0.observers.len())
    }
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
