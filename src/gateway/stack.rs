//! What wraps a request: the layers of the gateway, outermost first.
//!
//! Read [`stack`] from top to bottom. A request passes the layers in this order, its response in the opposite
//! order. The comment at each layer says why it has its position. The layers themselves follow below.
//! [`Exchange::run`] is the innermost part: it processes the request.
//!
//! Outer layers observe and respond. Inner layers return a [`Refusal`] if they refuse a request.

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
use crate::gateway::access_log::{Observers, RecordGuard, RecordHandle, Recorded};
use crate::gateway::exchange::{Exchange, Reply, own};
use crate::gateway::middleware::{Middleware, Next, layer};
use crate::gateway::request::body;
use crate::gateway::request::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::response::refusal::{Limit, Refusal};
use crate::gateway::server::drain::Drain;

/// The body of a response. Its end completes the access record.
pub(crate) type ResponseBody = Recorded<Reply>;

/// The complete stack: it has a response to every request.
pub(crate) trait Stack:
    Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Stack for S where
    S: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Puts the layers around `exchange`. At most `in_flight` requests are in flight, each for at most `deadline`.
pub(crate) fn stack(
    exchange: Exchange,
    in_flight: usize,
    deadline: Duration,
    observers: Observers,
    drain: Drain,
    clock: Clock,
) -> impl Stack {
    ServiceBuilder::new()
        // Outermost, so that every log line and every response has the request id, refusals included.
        .layer(layer(AssignRequestId))
        // Outside the refusals, so that they also ask the caller to reconnect during a shutdown.
        .layer(layer(AnnounceShutdown { drain: drain.clone() }))
        // Outside the refusals, so that the record has their status. Outside everything that is dropped when
        // the caller disconnects, so that the record is also written then.
        .layer(layer(WriteAccessRecord { clock, observers }))
        // Outside the limit and the deadline, because their refusals also need a response.
        .layer(layer(RespondToRefusals))
        // Outside the deadline, because a full gateway refuses at once and no request waits for a permit.
        .layer(layer(LimitInFlight {
            permits: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))),
            exchange: exchange.clone(),
        }))
        // Inside the limit, so that a request that reaches its deadline returns its permit.
        .layer(layer(SetDeadline { deadline, drain }))
        .service(service_fn(move |request| {
            let exchange = exchange.clone();
            async move { exchange.run(request).await }
        }))
}

/// Gives the request an id and repeats it in the response.
#[derive(Clone)]
struct AssignRequestId;

impl<N, B> Middleware<N> for AssignRequestId
where
    N: Next<Response = Response<B>, Error = Infallible>,
    B: 'static,
{
    type Response = Response<B>;
    type Error = Infallible;

    async fn run(self, mut request: Request<Incoming>, next: N) -> Result<Response<B>, Infallible> {
        let id = RequestId::assign(request.headers());
        request.extensions_mut().insert(id.clone());
        let mut response = next.oneshot(request).await?;
        response.headers_mut().insert(X_REQUEST_ID, id.header());
        Ok(response)
    }
}

/// Asks callers to close their connection once a shutdown is announced. They then connect to another replica.
#[derive(Clone)]
struct AnnounceShutdown {
    drain: Drain,
}

impl<N, B> Middleware<N> for AnnounceShutdown
where
    N: Next<Response = Response<B>, Error = Infallible>,
    B: 'static,
{
    type Response = Response<B>;
    type Error = Infallible;

    async fn run(self, request: Request<Incoming>, next: N) -> Result<Response<B>, Infallible> {
        let version = request.version();
        let mut response = next.oneshot(request).await?;
        if self.drain.is_announced() {
            close_connection(response.headers_mut(), version);
        }
        Ok(response)
    }
}

/// Writes one access record for each request, also if the caller disconnects.
#[derive(Clone)]
struct WriteAccessRecord {
    clock: Clock,
    observers: Observers,
}

impl<N, B> Middleware<N> for WriteAccessRecord
where
    N: Next<Response = Response<B>, Error = Infallible>,
    B: Body + 'static,
{
    type Response = Response<Recorded<B>>;
    type Error = Infallible;

    async fn run(self, mut request: Request<Incoming>, next: N) -> Result<Response<Recorded<B>>, Infallible> {
        let record = RecordGuard::begin(&mut request, self.clock, self.observers);
        Ok(record.follow(next.oneshot(request).await?))
    }
}

/// Turns a [`Refusal`] into its HTTP response. No other code does this.
#[derive(Clone)]
struct RespondToRefusals;

impl<N> Middleware<N> for RespondToRefusals
where
    N: Next<Response = Response<Reply>, Error = Refusal>,
{
    type Response = Response<Reply>;
    type Error = Infallible;

    async fn run(self, request: Request<Incoming>, next: N) -> Result<Response<Reply>, Infallible> {
        let id = RequestId::of(request.extensions());
        let record = RecordHandle::of(&request);
        let expects_continue = body::expects_continue(request.headers());
        let (version, method) = (request.version(), request.method().clone());
        Ok(match next.oneshot(request).await {
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
        })
    }
}

/// Refuses a request if the gateway has too many in flight. A request is in flight until the head of its
/// response: a streaming body uses only its connection.
///
/// A token request of the emulated endpoint takes no permit here, because its caller is not known before the body is
/// read. Otherwise clients without a key could use up the permits. It is answered as soon as it is read.
///
/// Rejected: tower's `load_shed` and `concurrency_limit`. They drop the request with its body unread, which
/// breaks the next request of the caller on the same connection. They also replace the error type.
#[derive(Clone)]
struct LimitInFlight {
    permits: Arc<Semaphore>,
    exchange: Exchange,
}

impl<N> Middleware<N> for LimitInFlight
where
    N: Next<Response = Response<Reply>, Error = Refusal>,
{
    type Response = Response<Reply>;
    type Error = Refusal;

    async fn run(self, request: Request<Incoming>, next: N) -> Result<Response<Reply>, Refusal> {
        if self.exchange.is_token_request(request.uri()) {
            return next.oneshot(request).await;
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            if !body::expects_continue(request.headers()) {
                body::discard(request.into_body());
            }
            return Err(Refusal::Overloaded(Limit::InFlight));
        };
        next.oneshot(request).await
    }
}

/// Ends an exchange at its deadline, or when the drain deadline of a shutdown passes.
#[derive(Clone)]
struct SetDeadline {
    deadline: Duration,
    drain: Drain,
}

impl<N> Middleware<N> for SetDeadline
where
    N: Next<Response = Response<Reply>, Error = Refusal>,
{
    type Response = Response<Reply>;
    type Error = Refusal;

    async fn run(self, request: Request<Incoming>, next: N) -> Result<Response<Reply>, Refusal> {
        let record = RecordHandle::of(&request);
        tokio::select! {
            result = next.oneshot(request) => result,
            () = tokio::time::sleep(self.deadline) => Err(Refusal::ExchangeTimeout(record.sent())),
            () = self.drain.expired() => Err(Refusal::Draining(record.sent())),
        }
    }
}

/// Asks the caller to close an HTTP/1 connection after this response. HTTP/2 has no such field (RFC 9113 section
/// 8.2.2) and does not need it: streams end one by one, and GOAWAY says which requests were accepted.
pub(crate) fn close_connection(headers: &mut HeaderMap, version: Version) {
    if version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
