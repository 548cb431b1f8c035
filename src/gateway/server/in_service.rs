//! Marks each request as in service, and ends it when its caller is gone.
//!
//! While a request is in service, its connection is not idle (see `connections.rs`), and the caller is watched (see
//! `hangup.rs`). A request is in service until the end of its response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;

use crate::gateway::server::connections::{Connection, ExchangeGuard};
use crate::gateway::server::hangup::Hangup;
use crate::gateway::stack::close_connection;

/// Why a request was not served to its end. hyper then ends the connection, or the stream in HTTP/2.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotServed {
    /// In HTTP/2, hyper resets the stream with the reason of the source. `REFUSED_STREAM` tells the caller that the
    /// request was not processed and can be sent again (RFC 9113 section 8.7).
    #[error("the connection is closed, because a new connection needs its permit")]
    Closing(#[source] h2::Error),
    #[error("the caller closed its side of the connection and did not wait for the response")]
    CallerGone,
}

/// Returns the service of one connection. `respond` makes the responses. With `hangup`, a request ends when its caller
/// is gone.
pub(super) fn service<R, F, B>(
    respond: R,
    connection: Arc<Connection>,
    hangup: Option<Hangup>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<InService<B>>,
    Error = NotServed,
    Future: Future<Output = Result<Response<InService<B>>, NotServed>> + Send,
>
where
    R: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>> + Send,
    B: Body + Unpin,
{
    service_fn(move |request: Request<Incoming>| {
        let version = request.version();
        let (connection, hangup) = (Arc::clone(&connection), hangup.clone());
        let responding = respond(request);
        async move {
            let exchange =
                Connection::begin(&connection).ok_or_else(|| NotServed::Closing(h2::Reason::REFUSED_STREAM.into()))?;
            let gone = async {
                match &hangup {
                    Some(hangup) => hangup.grace_ended().await,
                    None => std::future::pending().await,
                }
            };
            let mut response = tokio::select! {
                biased;
                response = responding => response,
                () = gone => return Err(NotServed::CallerGone),
            };
            // Another caller waits for a connection, and none is idle. This way no request can be lost. HTTP/2 has
            // no such field, and its connection sends GOAWAY.
            if connection.is_wanted() {
                close_connection(response.headers_mut(), version);
                connection.ask_to_close();
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

#[cfg(test)]
mod tests {
    use std::error::Error;

    use bytes::Bytes;
    use http_body_util::{Empty, Full};
    use hyper::{client, server};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;
    use crate::gateway::server::connections::{ConnectionLimits, Connections};

    #[tokio::test]
    async fn an_http2_request_on_a_closing_connection_is_refused_as_not_processed() {
        let connections = Connections::new(ConnectionLimits { all: 1, per_network: 1 });
        let closing = Arc::new(connections.enter(None).await.unwrap());
        let _new = connections.enter(None).await.unwrap();
        let respond = |_| async { Response::new(Full::<Bytes>::default()) };
        let (caller, gateway) = tokio::io::duplex(64 * 1024);
        let serving = server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(gateway), service(respond, closing, None));
        tokio::spawn(serving);
        let caller = client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(caller));
        let (mut requests, connection) = caller.await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://gateway/").body(Empty::<Bytes>::new()).unwrap();
        let error = requests.send_request(request).await.unwrap_err();
        let reset = error.source().and_then(|source| source.downcast_ref::<h2::Error>()).unwrap();
        assert!(reset.is_reset() && reset.is_remote(), "{reset}");
        assert_eq!(reset.reason(), Some(h2::Reason::REFUSED_STREAM));
    }
}
