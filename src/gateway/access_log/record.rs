//! The record of one request: its data, and the handles that fill it in.
//!
//! The code that works on a request adds facts through a [`RecordHandle`]. The [`RecordGuard`] ends the record. Both
//! share one lock, which only this file takes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use http::header::USER_AGENT;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use rustls::ProtocolVersion;

use crate::clock::Clock;
use crate::gateway::access_log::attempts::Attempts;
use crate::gateway::access_log::phases::{Phase, Phases, Stopwatch};
use crate::gateway::access_log::{Observers, Outcome};
use crate::gateway::metrics::counters::{CallerCounters, UpstreamCounters};
use crate::gateway::request::request_id::RequestId;
use crate::gateway::request::trace_context::TraceContext;
use crate::gateway::response::key_check::KeyCheck;
use crate::gateway::response::refusal::{Code, Sent};
use crate::gateway::server::peer::Peer;
use crate::jose::Compact;
use crate::upstream::{ProviderPeer, SealTime};

/// The facts about a request that has ended.
#[derive(Clone, Debug)]
pub struct Record {
    /// The caller's `X-Request-Id`, or a new one.
    pub request_id: RequestId,
    /// The trace that the request belongs to. None if the caller sent no valid `traceparent`, and spans are not exported.
    pub trace: Option<TraceContext>,
    /// The method of the request.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The names of the query's parameters, without their values.
    pub query_keys: Vec<String>,
    /// The HTTP version of the request.
    pub version: Version,
    /// The caller's `User-Agent`.
    pub user_agent: Option<HeaderValue>,
    /// The address of the caller. None for a unix socket.
    pub client_address: Option<SocketAddr>,
    /// The TLS version of the caller's connection. None without TLS.
    pub tls: Option<ProtocolVersion>,
    /// The configured name of the caller, if it was identified.
    pub caller: Option<Arc<str>>,
    /// The configured name of the upstream, if one was chosen.
    pub upstream: Option<Arc<str>>,
    /// The status of the response. None if the caller disconnected before there was one.
    pub status: Option<StatusCode>,
    /// The code of the refusal, if the gateway refused the request.
    pub refusal: Option<Code>,
    /// Whether the gateway made the response and it is no refusal: a token, or the key set.
    pub answered_here: bool,
    /// When the request's head had arrived.
    pub started: SystemTime,
    /// The time from the end of the request's head to the end of the response.
    pub duration: Duration,
    /// What took this time.
    pub phases: Phases,
    /// The time spent waiting for the provider, all attempts together. None if nothing was sent.
    pub upstream_time: Option<Duration>,
    /// The `trace_id` in the body of the provider's error reply.
    pub provider_trace_id: Option<String>,
    /// The time spent sealing, all attempts together. None if the gateway sealed nothing.
    ///
    /// It overlaps with `upstream_time`, because sealing continues while the body is sent.
    pub seal_time: Option<Duration>,
    /// The length of the caller's body. 0 if it was not read to its end.
    pub bytes_in: usize,
    /// The length of the sealed message that was sent last.
    pub bytes_jwe: Option<u64>,
    /// The length of the response body as far as it was sent.
    pub bytes_out: u64,
    /// The key that the message was sealed with.
    pub kid: Option<String>,
    /// How often the request was sent to the provider.
    pub attempts: u32,
    /// Each of these attempts.
    pub sent: Attempts,
    /// The outcome of the last key check. None if there was none.
    pub key_check: Option<KeyCheck>,
    /// How long the reply waited for the key check. None if there was none.
    pub key_check_time: Option<Duration>,
    /// Whether the body was sealed again, because the provider no longer published the key.
    pub resealed: bool,
    /// Whether the request was sent again with a newer credential, because the provider refused the first.
    pub resent: bool,
    /// In how many places the request differs from the description of the API.
    pub findings: usize,
    /// How the request ended.
    pub outcome: Outcome,
}

impl Record {
    /// Whether the response was made by the gateway and not by the provider.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.refusal.is_some() || self.answered_here
    }

    fn begin<B>(request: &Request<B>, id: &RequestId, peer: &Peer, trace: Option<TraceContext>) -> Self {
        Self {
            request_id: id.clone(),
            trace,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query_keys: request.uri().query().map(query_keys).unwrap_or_default(),
            version: request.version(),
            user_agent: request.headers().get(USER_AGENT).cloned(),
            client_address: peer.address,
            tls: peer.tls,
            caller: None,
            upstream: None,
            status: None,
            refusal: None,
            answered_here: false,
            started: SystemTime::now(),
            duration: Duration::ZERO,
            phases: Phases::default(),
            upstream_time: None,
            provider_trace_id: None,
            seal_time: None,
            bytes_in: 0,
            bytes_jwe: None,
            bytes_out: 0,
            kid: None,
            attempts: 0,
            sent: Attempts::default(),
            key_check: None,
            key_check_time: None,
            resealed: false,
            resent: false,
            findings: 0,
            // A guard that is dropped early leaves this as it is.
            outcome: Outcome::CallerLeft,
        }
    }
}

/// Adds facts to the record of a request. Clones share the record.
#[derive(Clone, Debug)]
pub(crate) struct RecordHandle(Arc<Mutex<RecordState>>);

/// A record in progress, and what is measured for it.
#[derive(Debug)]
struct RecordState {
    record: Record,
    clock: Clock,
    stopwatch: Stopwatch,
    seal_time: Option<SealTime>,
    upstream: Option<Arc<UpstreamCounters>>,
    caller: Option<Arc<CallerCounters>>,
}

impl RecordHandle {
    pub(crate) fn begin<B>(
        request: &Request<B>,
        id: &RequestId,
        peer: &Peer,
        trace: Option<TraceContext>,
        clock: Clock,
    ) -> Self {
        let record = Record::begin(request, id, peer, trace);
        let stopwatch = Stopwatch::new(clock.now());
        let state = RecordState { record, clock, stopwatch, seal_time: None, upstream: None, caller: None };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn caller(&self, counters: &Arc<CallerCounters>) {
        let mut state = self.lock();
        state.record.caller = Some(Arc::clone(&counters.name));
        state.caller = Some(Arc::clone(counters));
    }

    pub(crate) fn upstream(&self, counters: &Arc<UpstreamCounters>) {
        let mut state = self.lock();
        state.record.upstream = Some(Arc::clone(&counters.name));
        state.upstream = Some(Arc::clone(counters));
    }

    /// The caller's body is about to be read.
    pub(crate) fn reading_body(&self) {
        self.lock().stopwatch.enter_first(Phase::Body);
    }

    /// The caller's body was read to its end.
    pub(crate) fn body(&self, length: usize) {
        let mut state = self.lock();
        state.record.bytes_in = length;
        state.leave_phase();
    }

    /// Returns the output of `waiting`. If it is not ready at once, the request is in `phase` until it is.
    pub(crate) async fn wait<T>(&self, phase: Phase, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await {
            return output;
        }
        self.enter(phase);
        let output = waiting.await;
        self.lock().leave_phase();
        output
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        let now = state.clock.now();
        state.stopwatch.enter(phase, now);
    }

    /// A sealed message is about to be sent.
    pub(crate) fn message(&self, message: &Compact) {
        let mut state = self.lock();
        state.record.bytes_jwe = Some(message.len());
        state.record.kid = message.kid().map(str::to_owned);
    }

    /// The counter for the time that the gateway spends sealing. Without a call the record has no seal time.
    #[must_use]
    pub(crate) fn seal_time(&self) -> SealTime {
        self.lock().seal_time.get_or_insert_default().clone()
    }

    /// All attempts will be sent to `url`, which has no query. Only needed if the spans of the request are exported.
    pub(crate) fn url(&self, url: Uri) {
        self.lock().record.sent.set_url(url);
    }

    /// The request is about to be sent to the provider. Returns the `traceparent` to send, if it belongs to a trace.
    pub(crate) fn sending(&self) -> Option<HeaderValue> {
        let mut state = self.lock();
        let trace = state.record.trace;
        let span = trace.map(|trace| trace.attempt());
        state.record.attempts += 1;
        state.record.sent.begin(span);
        let now = state.clock.now();
        state.stopwatch.enter(Phase::Provider, now);
        trace?.header(span?)
    }

    /// The provider replied, or the attempt failed. `provider` is the other end of the connection, if there was one, and
    /// `reply` the status and the HTTP version of the reply, if there was one.
    pub(crate) fn answered(&self, provider: Option<ProviderPeer>, reply: Option<(StatusCode, Version)>) {
        let mut state = self.lock();
        state.leave_phase();
        state.record.sent.end(provider, reply);
    }

    /// The `trace_id` of the provider's error reply.
    pub(crate) fn provider_trace_id(&self, id: String) {
        self.lock().record.provider_trace_id = Some(id);
    }

    /// The reply is about to wait for a key check.
    pub(crate) fn checking_key(&self) {
        self.enter(Phase::KeyCheck);
    }

    /// The key check has ended.
    pub(crate) fn key_checked(&self, outcome: KeyCheck) {
        let mut state = self.lock();
        state.record.key_check = Some(outcome);
        state.leave_phase();
    }

    /// The body is sealed again, because the provider refused the key.
    pub(crate) fn resealed(&self) {
        self.lock().record.resealed = true;
    }

    /// The request is sent again with a newer credential, because the provider refused the first.
    pub(crate) fn resent(&self) {
        self.lock().record.resent = true;
    }

    /// The request differs from the description of the API in so many places.
    pub(crate) fn findings(&self, number: usize) {
        self.lock().record.findings = number;
    }

    /// Whether the provider may have seen the request.
    #[must_use]
    pub(crate) fn sent(&self) -> Sent {
        if self.lock().record.attempts == 0 { Sent::Nothing } else { Sent::Perhaps }
    }

    /// The gateway made the response, and it is no refusal.
    pub(crate) fn answered_here(&self) {
        self.lock().record.answered_here = true;
    }

    pub(crate) fn refused(&self, code: Code) {
        self.lock().record.refusal = Some(code);
    }

    /// The provider's reply broke or fell silent.
    pub(crate) fn aborted(&self) {
        self.lock().record.outcome = Outcome::Aborted;
    }

    /// The record as far as it is filled in.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Record {
        self.lock().record.clone()
    }

    fn lock(&self) -> MutexGuard<'_, RecordState> {
        // A poisoned lock only means that another thread panicked between two facts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordState {
    /// Ends the phase that the request is in, if it is in one.
    fn leave_phase(&mut self) {
        if self.stopwatch.is_in_phase() {
            let now = self.clock.now();
            self.record.phases.extend(self.stopwatch.leave(now));
        }
    }

    /// Fills in the times of a request that has ended.
    fn end(&mut self) {
        let Self { record, clock, stopwatch, seal_time, .. } = self;
        let now = clock.now();
        // The caller disconnected, or a deadline passed, in the middle of a phase.
        record.phases.extend(stopwatch.leave(now));
        if record.status.is_some() && !record.is_own() {
            record.phases.push(stopwatch.since_last_end(Phase::Relay, now));
        }
        if let Some((since, total)) = seal_time.as_ref().and_then(SealTime::spent) {
            record.phases.push(stopwatch.span(Phase::Seal, since, total));
        }
        record.duration = stopwatch.elapsed(now);
        record.upstream_time = record.phases.total(Phase::Provider);
        record.seal_time = record.phases.total(Phase::Seal);
        record.key_check_time = record.phases.total(Phase::KeyCheck);
    }
}

/// Hands the record to the observers when it is dropped, for any reason.
#[derive(Debug)]
pub(crate) struct RecordGuard {
    handle: RecordHandle,
    observers: Observers,
    is_complete: bool,
}

impl RecordGuard {
    /// Begins the record of `request`.
    pub(crate) fn begin<B>(
        request: &Request<B>,
        id: &RequestId,
        peer: &Peer,
        trace: Option<TraceContext>,
        clock: Clock,
        observers: Observers,
    ) -> Self {
        Self { handle: RecordHandle::begin(request, id, peer, trace, clock), observers, is_complete: false }
    }

    /// Adds facts to the record.
    pub(crate) fn handle(&self) -> &RecordHandle {
        &self.handle
    }

    pub(super) fn status(&self, status: StatusCode) {
        self.handle.lock().record.status = Some(status);
    }

    pub(super) fn bytes_out(&self, length: usize) {
        self.handle.lock().record.bytes_out += length as u64;
    }

    /// Whether the response was handed over to its end.
    pub(super) fn set_complete(&mut self, is_complete: bool) {
        self.is_complete = is_complete;
    }
}

impl Drop for RecordGuard {
    fn drop(&mut self) {
        // Locked while the observers run: the request has ended, so no other code needs the lock.
        let mut state = self.handle.lock();
        state.end();
        if self.is_complete {
            state.record.outcome = Outcome::Complete;
        }
        self.observers.notify(&state.record, state.upstream.as_deref(), state.caller.as_deref());
    }
}

/// Text without `=` is left out: it may be a value without a name.
fn query_keys(query: &str) -> Vec<String> {
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned()).collect()
}
