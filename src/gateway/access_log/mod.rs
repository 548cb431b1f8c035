//! The access record: one line for each request, written in one place.
//!
//! It is written when the last byte of the answer has been handed over, or when the request's
//! future or the answer's body is dropped before that: a caller who leaves is recorded too.
//! Whoever works on a request adds what it learns to the request's [`RecordHandle`].
//!
//! It holds names and numbers. Of the query only the keys are kept, of the body only its
//! length; a path is logged as it is, since the provider puts no secret there.

pub(crate) mod handle;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;
use crate::gateway::access_log::handle::RecordHandle;
use crate::gateway::request::request_id::RequestId;
use crate::gateway::response::refusal::Code;

/// Everything that is known of a request once it is over.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its name.
    pub request_id: RequestId,
    /// The W3C trace it belongs to, when the caller sent a `traceparent`.
    pub trace_id: Option<String>,
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// The names of its query's parameters.
    pub query_keys: Vec<String>,
    /// Whose it is, by the configured name, when callers are told apart.
    pub caller: Option<Arc<str>>,
    /// The upstream it went to.
    pub upstream: Option<Arc<str>>,
    /// The answer's status; none when the caller left before there was one.
    pub status: Option<StatusCode>,
    /// The row of the table, when the answer is a refusal of ours.
    pub refusal: Option<Code>,
    /// Whether the answer is ours and no refusal: a token, the key set.
    pub answered_here: bool,
    /// From the end of the request's head to the end of the answer.
    pub duration: Duration,
    /// Of that, waiting for the provider.
    pub upstream_time: Duration,
    /// Of that, sealing; overlaps with the provider's, as chunks are sealed while they are sent.
    pub seal_time: Duration,
    /// Length of the caller's body.
    pub bytes_in: usize,
    /// Length of the message that was sent, if one was.
    pub bytes_jwe: Option<u64>,
    /// Length of the answer's body.
    pub bytes_out: u64,
    /// The key the message was sealed with.
    pub kid: Option<String>,
    /// How often the request was sent to the provider.
    pub attempts: u32,
    /// Whether it was sealed again, because the provider no longer published the key.
    pub resealed: bool,
    /// Whether it was sent again with another token, because the provider refused the first.
    pub resent: bool,
    /// How it ended.
    pub outcome: Outcome,
}

impl Record {
    /// Whether the answer is ours, and not the provider's.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.refusal.is_some() || self.answered_here
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was handed over whole.
    Complete,
    /// It ended before: the caller left, or did not read on, or we were out of time.
    CallerLeft,
    /// The provider's reply broke off, and so did the answer.
    Aborted,
}

impl Outcome {
    /// As it stands in a log line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CallerLeft => "caller_left",
            Self::Aborted => "aborted",
        }
    }
}

/// Someone who is told of each request that is over.
pub type Observer = Arc<dyn Fn(&Record) + Send + Sync>;

/// Writes `record` as one line of the log.
pub(crate) fn log(record: &Record) {
    tracing::info!(
        target: "jwe_gateway::access",
        request_id = record.request_id.as_str(),
        trace_id = record.trace_id,
        method = record.method.as_str(),
        path = record.path,
        query_keys = (!record.query_keys.is_empty()).then(|| record.query_keys.join(",")),
        caller = record.caller.as_deref(),
        route = record.upstream.as_deref(),
        status = record.status.map(|status| status.as_u16()),
        origin = record.status.map(|_| if record.is_own() { "gateway" } else { "upstream" }),
        error_code = record.refusal.map(|code| code.row().code),
        duration_ms = millis(record.duration),
        upstream_ms = millis(record.upstream_time),
        seal_us = u64::try_from(record.seal_time.as_micros()).unwrap_or(u64::MAX),
        bytes_in = record.bytes_in,
        bytes_jwe = record.bytes_jwe,
        bytes_out = record.bytes_out,
        kid = record.kid,
        attempts = record.attempts,
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

/// Writes the record when it is dropped, whatever the reason.
#[derive(Debug)]
pub(crate) struct RecordGuard {
    notes: RecordHandle,
    begun: Instant,
    clock: Clock,
    observers: Observers,
    complete: bool,
}

/// Who is told of each request that is over.
#[derive(Clone)]
pub(crate) struct Observers(Arc<[Observer]>);

impl Observers {
    /// The log, and `others`.
    #[must_use]
    pub(crate) fn new(others: Vec<Observer>) -> Self {
        Self(std::iter::once(Arc::new(log) as Observer).chain(others).collect())
    }
}

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}

impl RecordGuard {
    /// Begins the record of `request` and puts its notes where the rest of the stack finds them.
    pub(crate) fn begin<B>(request: &mut Request<B>, clock: Clock, observers: Observers) -> Self {
        let notes = RecordHandle::begin(request);
        request.extensions_mut().insert(notes.clone());
        Self { notes, begun: clock.now(), clock, observers, complete: false }
    }

    /// The answer's head is known; the record is written at the end of its body.
    pub(crate) fn follow<B: Body>(self, response: Response<B>) -> Response<Recorded<B>> {
        self.notes.known().record.status = Some(response.status());
        response.map(|body| Recorded { body, record: self })
    }
}

impl Drop for RecordGuard {
    fn drop(&mut self) {
        let record = {
            let mut known = self.notes.known();
            known.record.duration = self.clock.now() - self.begun;
            known.record.seal_time = known.seal_time.total();
            known.record.outcome = match (self.complete, known.broke_off) {
                (true, _) => Outcome::Complete,
                (false, true) => Outcome::Aborted,
                (false, false) => Outcome::CallerLeft,
            };
            known.record.clone()
        };
        for observer in self.observers.0.iter() {
            observer(&record);
        }
    }
}

/// An answer's body that knows whose it is.
#[derive(Debug)]
pub(crate) struct Recorded<B: Body> {
    body: B,
    record: RecordGuard,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Recorded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.record.notes.known().record.bytes_out += length as u64;
                self.record.complete = self.body.is_end_stream();
            }
            Some(Err(_)) => {}
            None => self.record.complete = true,
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

/// hyper does not poll a body that says it is over, so an answer without one ends here.
impl<B: Body> Drop for Recorded<B> {
    fn drop(&mut self) {
        self.record.complete |= self.body.is_end_stream();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::{BodyExt, Full};

    use super::*;

    fn answer(text: &'static str) -> Response<Full<Bytes>> {
        Response::new(Full::from(text))
    }

    fn observed(use_of: impl FnOnce(RecordGuard)) -> Record {
        let seen: Arc<Mutex<Vec<Record>>> = Arc::default();
        let observer: Observer = {
            let seen = Arc::clone(&seen);
            Arc::new(move |record| seen.lock().unwrap().push(record.clone()))
        };
        let mut request = Request::new(());
        *request.uri_mut() = "/v0/x?token=canary&b=2&canary".parse().unwrap();
        use_of(RecordGuard::begin(&mut request, Clock::system(), Observers::new(vec![observer])));
        let mut seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "one record for each request");
        seen.pop().unwrap()
    }

    #[test]
    fn a_caller_who_leaves_before_the_answer_is_recorded_too() {
        let record = observed(drop);
        assert_eq!((record.outcome, record.status), (Outcome::CallerLeft, None));
    }

    #[test]
    fn a_caller_who_leaves_within_the_answer_has_left() {
        let record = observed(|open| drop(open.follow(answer("answer"))));
        assert_eq!((record.outcome, record.status), (Outcome::CallerLeft, Some(StatusCode::OK)));
    }

    #[test]
    fn an_answer_handed_over_whole_is_complete() {
        let record = observed(|open| {
            let body = open.follow(answer("answer")).into_body();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(body.collect()).unwrap();
        });
        assert_eq!((record.outcome, record.bytes_out), (Outcome::Complete, 6));
        let record = observed(|open| drop(open.follow(answer(""))));
        assert_eq!((record.outcome, record.bytes_out), (Outcome::Complete, 0));
    }

    #[test]
    fn an_answer_is_ours_when_it_is_a_refusal_or_was_made_here() {
        let own = |note: fn(&RecordHandle)| {
            observed(|open| {
                note(&open.notes);
                drop(open.follow(answer("")));
            })
            .is_own()
        };
        assert!(own(|notes| notes.refused(Code::NoUpstream)) && own(RecordHandle::answered_here) && !own(|_| {}));
    }

    #[test]
    fn of_a_query_only_the_names_are_kept() {
        let record = observed(drop);
        assert_eq!(
            (record.path.as_str(), record.query_keys.as_slice()),
            ("/v0/x", ["token", "b"].map(String::from).as_slice())
        );
        assert!(!format!("{record:?}").contains("canary"));
    }
}
