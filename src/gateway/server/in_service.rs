//! Marks each request as in service, and ends it when its caller is gone.
//!
//! While a request is in service, its connection is not idle (see `connections.rs`), and the caller is watched (see
//! `hangup.rs`). A request is in service until the end of its response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tower::{Service, ServiceExt};

use crate::gateway::server::connections::{Connection, ExchangeGuard};
use crate::gateway::server::hangup::Hangup;
use crate::gateway::stack::close_connection;

/// Why a request was not served to its end. hyper then ends the connection, or the stream in HTTP/2.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum NotServed {
    #[error("the connection is closed, because a new connection needs its permit")]
    Closing,
    #[error("the caller closed its side of the connection and did not wait for the response")]
    CallerGone,
}

/// The service of one connection. With `hangup`, a request ends when its caller is gone.
pub(super) fn service<S, B>(
    stack: S,
    connection: Arc<Connection>,
    hangup: Option<Hangup>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<InService<B>>,
    Error = NotServed,
    Future: Future<Output = Result<Response<InService<B>>, NotServed>> + Send,
>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: Body + Unpin + Send + 'static,
{
    service_fn(move |request: Request<Incoming>| {
        let (stack, connection, hangup) = (stack.clone(), Arc::clone(&connection), hangup.clone());
        async move {
            let exchange = Connection::begin(&connection).ok_or(NotServed::Closing)?;
            let version = request.version();
            let gone = async {
                match &hangup {
                    Some(hangup) => hangup.grace_ended().await,
                    None => std::future::pending().await,
                }
            };
            let response = tokio::select! {
                biased;
                response = stack.oneshot(request) => response,
                () = gone => return Err(NotServed::CallerGone),
            };
            let Ok(mut response) = response;
            // Another caller waits for a connection, and none is idle. This way no request can be lost. HTTP/2 has
            // no such field; there GOAWAY does the same.
            if connection.is_wanted() {
                close_connection(response.headers_mut(), version);
            }
            Ok(response.map(|body| InService { body, _exchange: exchange }))
        }
    })
}

/// The body of a response. The request is in service until it is dropped.
#[derive(Debug)]
pub(super) struct InService<B> {
    body: B,
    _exchange: ExchangeGuard,
}

impl<B: Body + Unpin> Body for InService<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
