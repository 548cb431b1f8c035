//! What wraps a request, outermost first: the table of contents of the gateway.
//!
//! tower's `ServiceBuilder` reads top-down. Each layer's line says why it stands where it
//! stands; what is *done to* a request is one function, [`Exchange::run`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::clock::Clock;
use crate::gateway::access_log::handle::RecordHandle;
use crate::gateway::access_log::{Observers, RecordGuard, Recorded};
use crate::gateway::exchange::{Exchange, Reply, own};
use crate::gateway::middleware::{Middleware, layer};
use crate::gateway::request::body;
use crate::gateway::request::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::response::refusal::{Limit, Refusal};
use crate::gateway::server::drain::Drain;

/// The body of an answer, which is on record.
pub(crate) type ResponseBody = Recorded<Reply>;

/// Puts the layers around `exchange`.
pub(crate) fn stack(
    exchange: Exchange,
    in_flight: usize,
    time: Duration,
    observers: Observers,
    drain: Drain,
    clock: Clock,
) -> impl Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    ServiceBuilder::new()
        // First: every later line, log or refusal names it. And outermost, so that each answer,
        // refusals too, tells callers when to go elsewhere.
        .layer(layer(Identify { drain: drain.clone() }))
        // One record for each request: above the refusals, so that it sees their status, and
        // around everything that can be dropped when a caller leaves.
        .layer(layer(KeepRecord { clock, observers }))
        // Above the limit, so that being turned away is answered politely too.
        .layer(layer(AnswerRefusals))
        // Full means 503 now, not a queue nobody sees. A place is held up to the reply's head; a body
        // that streams holds no more than its connection.
        .layer(layer(Shed { places: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))) }))
        // Inside the limit: a place in flight is freed when time is up.
        .layer(layer(Deadline { time, drain }))
        .service(service_fn(move |request| {
            let exchange = exchange.clone();
            async move { exchange.run(request).await }
        }))
}

/// Names the request, and tells callers when to go elsewhere.
#[derive(Clone)]
struct Identify {
    drain: Drain,
}

impl<S, B> Middleware<S> for Identify
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = Infallible;

    async fn run(self, mut request: Request<Incoming>, next: S) -> Result<Response<B>, Infallible> {
        let id = RequestId::assign(request.headers());
        let version = request.version();
        request.extensions_mut().insert(id.clone());
        let mut response = next.oneshot(request).await?;
        response.headers_mut().insert(X_REQUEST_ID, id.header());
        if self.drain.is_announced() {
            close(response.headers_mut(), version);
        }
        Ok(response)
    }
}

/// Writes the access record, whatever becomes of the request.
#[derive(Clone)]
struct KeepRecord {
    clock: Clock,
    observers: Observers,
}

impl<S, B> Middleware<S> for KeepRecord
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Send + 'static,
    B: Body + 'static,
{
    type Response = Response<Recorded<B>>;
    type Error = Infallible;

    async fn run(self, mut request: Request<Incoming>, next: S) -> Result<Response<Recorded<B>>, Infallible> {
        let record = RecordGuard::begin(&mut request, self.clock, self.observers);
        Ok(record.follow(next.oneshot(request).await?))
    }
}

/// Turns a [`Refusal`] into its row of the table: the one place where that happens.
#[derive(Clone)]
struct AnswerRefusals;

impl<S> Middleware<S> for AnswerRefusals
where
    S: Service<Request<Incoming>, Response = Response<Reply>, Error = Refusal, Future: Send> + Send + 'static,
{
    type Response = Response<Reply>;
    type Error = Infallible;

    async fn run(self, request: Request<Incoming>, next: S) -> Result<Self::Response, Infallible> {
        let id = RequestId::of(request.extensions());
        let record = RecordHandle::of(&request);
        // Its body may never have been asked for; then the connection cannot be used again.
        let waits = body::expects_continue(request.headers());
        let (version, method) = (request.version(), request.method().clone());
        Ok(match next.oneshot(request).await {
            Ok(reply) => reply,
            Err(refusal) => {
                record.refused(refusal.code());
                refusal.log(id.as_str());
                let mut response = own(refusal.respond(id.as_str()), &method);
                if waits {
                    close(response.headers_mut(), version);
                }
                response
            }
        })
    }
}

/// Turns a request away when all places are taken.
///
/// Rejected: tower's `load_shed` and `concurrency_limit`. They drop the request with its body unread, which
/// breaks the connection under the caller's next one; and they widen the error.
#[derive(Clone)]
struct Shed {
    places: Arc<Semaphore>,
}

impl<S> Middleware<S> for Shed
where
    S: Service<Request<Incoming>, Response = Response<Reply>, Error = Refusal, Future: Send> + Send + 'static,
{
    type Response = Response<Reply>;
    type Error = Refusal;

    async fn run(self, request: Request<Incoming>, next: S) -> Result<Response<Reply>, Refusal> {
        let Ok(_place) = self.places.try_acquire() else {
            if !body::expects_continue(request.headers()) {
                body::discard(request.into_body());
            }
            return Err(Refusal::Overloaded(Limit::InFlight));
        };
        next.oneshot(request).await
    }
}

/// Ends an exchange that takes too long, or that the gateway's own end overtakes.
#[derive(Clone)]
struct Deadline {
    time: Duration,
    drain: Drain,
}

impl<S> Middleware<S> for Deadline
where
    S: Service<Request<Incoming>, Response = Response<Reply>, Error = Refusal, Future: Send> + Send + 'static,
{
    type Response = Response<Reply>;
    type Error = Refusal;

    async fn run(self, request: Request<Incoming>, next: S) -> Result<Response<Reply>, Refusal> {
        let record = RecordHandle::of(&request);
        tokio::select! {
            answer = next.oneshot(request) => answer,
            () = tokio::time::sleep(self.time) => Err(Refusal::ExchangeTimeout(record.sent())),
            () = self.drain.expired() => Err(Refusal::Draining(record.sent())),
        }
    }
}

/// Ends an HTTP/1 connection with this answer. HTTP/2 has no such header (RFC 9113 section 8.2.2),
/// and no need of it: streams end one by one, and GOAWAY says what was taken.
fn close(headers: &mut HeaderMap, version: Version) {
    if version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
