//! What wraps a request: the steps around the exchange, outermost first.
//!
//! Read [`Stack::respond`], then `limited`, then `timed`. Each of these functions calls the next one. `timed`
//! calls [`Exchange::run`], which processes the request. The comments say why a step has its position.
//!
//! Outer steps observe and respond. Inner steps return a [`Refusal`] if they refuse a request.
//!
//! Rejected: one tower layer for each step. On stable Rust each layer needs a boxed future, and each box moves the
//! future of everything inside it. That was a tenth of the instructions outside cryptography.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::gateway::access_log::{Observers, RecordGuard, Recorded};
use crate::gateway::exchange::{Exchange, Reply, own};
use crate::gateway::request::body;
use crate::gateway::request::context::{Context, Origin};
use crate::gateway::request::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::request::trace_context::{Sampler, TraceContext};
use crate::gateway::response::refusal::{Limit, Refusal};
use crate::gateway::server::drain::Drain;

/// The body of a response. Its end completes the access record.
pub(crate) type ResponseBody = Recorded<Reply>;

/// Answers every request of one configuration. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Stack(Arc<Steps>);

#[derive(Debug)]
struct Steps {
    exchange: Exchange,
    in_flight: InFlight,
    max_in_flight: usize,
    deadline: Duration,
    sampler: Option<Sampler>,
    observers: Observers,
    drain: Drain,
    clock: Clock,
}

impl Stack {
    /// Puts the steps around `exchange`. A request is refused if `in_flight` counts `max_in_flight` others. It takes at
    /// most `deadline`. `sampler` is `Some` if spans are exported.
    pub(crate) fn new(
        exchange: Exchange,
        (in_flight, max_in_flight): (InFlight, usize),
        deadline: Duration,
        sampler: Option<Sampler>,
        observers: Observers,
        drain: Drain,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Steps { exchange, in_flight, max_in_flight, deadline, sampler, observers, drain, clock }))
    }

    /// Answers a request that came from `origin`: with the provider's reply, or with a response of the gateway's own.
    pub(crate) async fn respond(&self, request: Request<Incoming>, origin: &Origin) -> Response<ResponseBody> {
        let Steps { sampler, observers, drain, clock, .. } = &*self.0;
        // First, so that every log line and every response has the request id, refusals included.
        let id = RequestId::assign(request.headers());
        // Before everything that ends when the caller disconnects, so that the record is also written then.
        let trace = TraceContext::of(request.headers(), *sampler);
        let guard = RecordGuard::begin(&request, &id, &origin.peer, trace, clock.clone(), observers.clone());
        let record = guard.handle();
        let version = request.version();
        let method = request.method().clone();
        let expects_continue = body::expects_continue(request.headers());
        // Outside the limit and the deadline, because their refusals also need a response. No other code makes one.
        let mut response = match self.limited(request, &Context { id: &id, record, origin, trace }).await {
            Ok(response) => response,
            Err(refusal) => {
                record.refused(refusal.code());
                refusal.log(&record.snapshot());
                let mut response = own(refusal.respond(id.as_str()), &method);
                if expects_continue {
                    // The caller may still wait for 100 Continue with its body. The connection then cannot carry
                    // another request.
                    close_connection(response.headers_mut(), version);
                }
                response
            }
        };
        // Refusals also ask the caller to reconnect during a shutdown. It then connects to another replica.
        if drain.is_announced() {
            close_connection(response.headers_mut(), version);
        }
        response.headers_mut().insert(X_REQUEST_ID, id.header());
        guard.follow(response)
    }

    /// Refuses a request if the gateway has too many in flight. A request is in flight until the head of its
    /// response: a streaming body uses only its connection. A full gateway refuses at once; no request waits for a permit.
    ///
    /// A token request of the emulated endpoint takes no permit here, because its caller is not known before the body is
    /// read. Otherwise clients without a key could use up the permits. It is answered as soon as it is read.
    ///
    /// Rejected: tower's `load_shed` and `concurrency_limit`. They drop the request with its body unread, which
    /// breaks the next request of the caller on the same connection. They also replace the error type.
    async fn limited(&self, request: Request<Incoming>, context: &Context<'_>) -> Result<Response<Reply>, Refusal> {
        let Steps { exchange, in_flight, max_in_flight, .. } = &*self.0;
        if exchange.is_token_request(request.uri()) {
            return self.timed(request, context).await;
        }
        let Some(_counted) = in_flight.enter(*max_in_flight) else {
            if !body::expects_continue(request.headers()) {
                body::discard(request.into_body());
            }
            return Err(Refusal::Overloaded(Limit::InFlight));
        };
        self.timed(request, context).await
    }

    /// Ends an exchange at its deadline, or when the drain deadline of a shutdown passes. Inside the limit, so that a
    /// request that reaches its deadline returns its permit.
    async fn timed(&self, request: Request<Incoming>, context: &Context<'_>) -> Result<Response<Reply>, Refusal> {
        let Steps { exchange, deadline, drain, .. } = &*self.0;
        // The one box of the path. Unboxed, hyper would move the future of the whole path into its connection twice.
        let running = Box::pin(exchange.run(request, context));
        tokio::select! {
            result = running => result,
            () = tokio::time::sleep(*deadline) => Err(Refusal::ExchangeTimeout(context.record.sent())),
            () = drain.expired() => Err(Refusal::Draining(context.record.sent())),
        }
    }
}

/// The stack that the next request takes. A request keeps the one that it began with. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct CurrentStack(Arc<ArcSwap<Steps>>);

impl CurrentStack {
    #[must_use]
    pub(crate) fn new(stack: Stack) -> Self {
        Self(Arc::new(ArcSwap::new(stack.0)))
    }

    #[must_use]
    pub(crate) fn get(&self) -> Stack {
        Stack(self.0.load_full())
    }

    pub(crate) fn replace(&self, stack: Stack) {
        self.0.store(stack.0);
    }
}

/// The number of requests in flight, of all configurations since the start. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    /// The number of requests in flight.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a request until the guard is dropped. None if `max` others are in flight.
    fn enter(&self, max: usize) -> Option<InFlightGuard<'_>> {
        // A refused request is never counted. Otherwise refusals that run at once could refuse a request below the limit.
        let counted =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |others| (others < max).then_some(others + 1));
        counted.is_ok().then(|| InFlightGuard(&self.0))
    }
}

struct InFlightGuard<'a>(&'a AtomicUsize);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Asks the caller to close an HTTP/1 connection after this response. HTTP/2 has no such field (RFC 9113 section
/// 8.2.2) and does not need it: streams end one by one, and GOAWAY says which requests were accepted.
pub(crate) fn close_connection(headers: &mut HeaderMap, version: Version) {
    if version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
