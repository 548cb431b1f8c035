//! What the connection does around each of its requests: it watches the caller (see `hangup.rs`).

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tower::{Service, ServiceExt};

use crate::gateway::server::hangup::Hangup;

/// Why a request was not served to its end. hyper then ends the connection.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum NotServed {
    #[error("the caller closed its side of the connection and did not wait for the response")]
    CallerGone,
}

/// The service of one connection. A request ends when its caller is gone, unless its response has begun.
pub(super) fn service<S, B>(
    stack: S,
    hangup: Hangup,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<B>,
    Error = NotServed,
    Future: Future<Output = Result<Response<B>, NotServed>> + Send,
>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: http_body::Body + Send + 'static,
{
    service_fn(move |request| {
        let (stack, hangup) = (stack.clone(), hangup.clone());
        async move {
            tokio::select! {
                biased;
                Ok(response) = stack.oneshot(request) => Ok(response),
                () = hangup.grace_ended() => Err(NotServed::CallerGone),
            }
        }
    })
}
