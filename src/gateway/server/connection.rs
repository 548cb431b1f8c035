//! How one connection is served: TLS handshake, then HTTP/1.1 or HTTP/2, as strictly as hyper allows.
//!
//! HTTP/1: hyper applies its head deadline only if the builder has a timer. Without one, a caller that sends
//! its head byte by byte holds a connection for ever. The same deadline ends idle connections.
//! `write_timeout.rs` ends a connection on which the caller does not read the response. `half_close` lets a
//! caller shut down its sending side and still read the response; `hangup.rs` notices a caller that is gone.
//!
//! HTTP/2: only by ALPN. There is none over plain TCP: no in-house client needs it, and each of its frame
//! types must be defended. `streams.rs` has the deadlines of HTTP/2. hyper's own limits on streams that a
//! caller opens and resets at once are kept (20 waiting to be accepted, 1024 reset for the caller's errors;
//! CVE-2023-44487). No legitimate caller comes near them; beyond them hyper closes the connection. HTTP/2
//! needs no `Connection: close` before it ends: GOAWAY says exactly which requests were accepted.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;

use crate::gateway::endpoints::token;
use crate::gateway::request::context::Origin;
use crate::gateway::server::connections::Connection;
use crate::gateway::server::drain::Drain;
use crate::gateway::server::hangup::Hangup;
use crate::gateway::server::in_service;
use crate::gateway::server::peer::Peer;
use crate::gateway::server::stream::Stream;
use crate::gateway::server::streams::{StreamExecutor, TrackedBody};
use crate::gateway::server::tls::{self, ServerTls};
use crate::gateway::server::woken::when_woken;
use crate::gateway::server::write_timeout::WriteTimeout;
use crate::gateway::stack::CurrentStack;

/// hyper's read buffer for a connection. It limits the head of a request, roughly, because hyper checks the
/// size between reads. It is also the size of the pieces in which bodies are read.
const BUFFER: usize = 64 * 1024;

/// The limit for the header list of an HTTP/2 request. The gateway announces it to callers.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Concurrent requests on one HTTP/2 connection: the minimum that RFC 9113 section 6.5.2 recommends.
const MAX_STREAMS: u32 = 100;

/// How many bytes a caller may send on a connection before the gateway reads them, over all streams. Enough
/// for 250 MB/s within a data centre, and small enough for each connection to have it.
const WINDOW: u32 = 256 * 1024;

/// The interval of HTTP/2 pings, which detect a caller that is gone, and the time to answer one.
const PING: Duration = Duration::from_secs(20);

/// How long a caller has to receive the GOAWAY: some round trips. It then sends its next requests elsewhere.
const GOAWAY: Duration = Duration::from_secs(2);

/// How long a connection that is closed for another one may still send the end of its last response. Only callers
/// that read slowly need the time.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// The response to a caller that speaks HTTP without TLS on a TLS port.
const PLAIN_HTTP_RESPONSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
      Content-Length: 38\r\n\r\nThis port speaks TLS: use https://...\n";

/// The time for a caller without TLS to read the response.
const PLAIN_HTTP_TIMEOUT: Duration = Duration::from_secs(1);

/// How much of the request of a caller without TLS is read before the response. Unread bytes would cause a
/// reset, and the response would be lost.
const PLAIN_HTTP_BYTES: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For the TLS handshake, the head of a request, and an idle connection.
    pub(super) head: Duration,
    /// For the caller to accept the next bytes of a response.
    pub(super) write: Duration,
    /// For a request whose caller has closed its sending side.
    pub(super) half_close_grace: Duration,
}

/// Serves connections, each with the protocol that it speaks.
pub(super) struct ConnectionHandler {
    http1: http1::Builder,
    timeouts: Timeouts,
    tls: Option<ServerTls>,
    drain: Drain,
}

impl ConnectionHandler {
    pub(super) fn new(timeouts: Timeouts, tls: Option<ServerTls>, drain: Drain) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(timeouts.head).half_close(true).max_buf_size(BUFFER);
        Self { http1, timeouts, tls, drain }
    }

    /// Serves one connection until it ends.
    pub(super) async fn serve(
        &self,
        stream: Stream,
        address: Option<SocketAddr>,
        open: Connection,
        stack: CurrentStack,
    ) {
        let open = Arc::new(open);
        let origin = |peer: Peer| Arc::new(Origin { peer: peer.at(address), token_budget: token::connection_budget() });
        let hangup = Hangup::of(&stream, self.timeouts.half_close_grace);
        let Some(tls) = &self.tls else {
            let stream = WriteTimeout::new(stream, self.timeouts.write);
            return self.http1(stream, open, hangup, stack, origin(Peer::default()), None).await;
        };
        let handshake = tokio::select! {
            handshake = tokio::time::timeout(self.timeouts.head, self.handshake(stream, tls)) => handshake,
            // No request has begun, so nothing is lost.
            () = self.drain.closed() => return,
            () = open.closing() => return,
        };
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        };
        let (_, session) = stream.get_ref();
        let peer = tls::peer(session.peer_certificates());
        let origin = origin(peer.over(session.protocol_version()));
        let expiry = tls::expiry(session.peer_certificates());
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        if is_http2 {
            self.http2(stream, open, stack, origin, expiry).await;
        } else {
            self.http1(stream, open, hangup, stack, origin, expiry).await;
        }
    }

    async fn handshake(&self, stream: Stream, tls: &ServerTls) -> io::Result<TlsStream<WriteTimeout<Stream>>> {
        // A TLS handshake begins with byte 22, an HTTP request with the method in capital letters.
        if stream.peek().await?.is_some_and(|first| first.is_ascii_uppercase()) {
            let _ = tokio::time::timeout(PLAIN_HTTP_TIMEOUT, answer_plain_http(stream)).await;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the caller speaks HTTP without TLS"));
        }
        tls.acceptor().accept(WriteTimeout::new(stream, self.timeouts.write)).await
    }

    /// Accepts requests until the gateway drains, or the caller's certificate expires at `expiry`.
    async fn http1<T>(
        &self,
        stream: T,
        open: Arc<Connection>,
        hangup: Hangup,
        stack: CurrentStack,
        origin: Arc<Origin>,
        expiry: Option<SystemTime>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let respond = move |request| {
            let (stack, origin) = (stack.get(), Arc::clone(&origin));
            async move { stack.respond(request, &origin).await }
        };
        let service = in_service::service(respond, Arc::clone(&open), Some(hangup.clone()));
        let connection = self.http1.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let to_be_closed = when_woken(async {
            tokio::select! {
                () = self.drain.closed() => {}
                () = passed(expiry) => {}
                () = open.closing() => {}
            }
        });
        let served = async {
            tokio::select! {
                // The result is not logged: each request has its access record.
                _ = connection.as_mut() => return,
                () = to_be_closed => {}
            }
            GracefulConnection::graceful_shutdown(connection.as_mut());
            tokio::select! {
                _ = connection => {}
                () = closed_for_another(&open) => {}
            }
        };
        tokio::select! {
            () = served => {}
            () = when_woken(hangup.reset()) => {}
        }
    }

    /// The same for HTTP/2. The connection also ends when it is idle for `head`.
    async fn http2<T>(
        &self,
        stream: T,
        open: Arc<Connection>,
        stack: CurrentStack,
        origin: Arc<Origin>,
        expiry: Option<SystemTime>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let streams = StreamExecutor::new(self.timeouts.write);
        let mut builder = http2::Builder::new(streams.clone());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buf_size(BUFFER)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let respond = move |request| {
            let (stack, origin) = (stack.get(), Arc::clone(&origin));
            async move { stack.respond(request, &origin).await.map(TrackedBody::new) }
        };
        let service = in_service::service(respond, Arc::clone(&open), None);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let last_round_trips = GOAWAY.min(self.timeouts.head / 2);
        let to_be_closed = when_woken(async {
            tokio::select! {
                () = self.drain.closed() => false,
                () = passed(expiry) => false,
                () = open.closing() => false,
                () = open.asked_to_close() => false,
                () = streams.idle(self.timeouts.head - last_round_trips) => true,
            }
        });
        let was_idle = tokio::select! {
            _ = connection.as_mut() => return,
            was_idle = to_be_closed => was_idle,
        };
        GracefulConnection::graceful_shutdown(connection.as_mut());
        let unanswered = async {
            if was_idle {
                tokio::select! {
                    () = tokio::time::sleep(last_round_trips) => return,
                    // The caller sent a request before it received the GOAWAY.
                    () = streams.opened() => {}
                }
            }
            // Requests that were under way when the GOAWAY was sent are accepted (RFC 9113 section 6.8).
            tokio::time::sleep(GOAWAY).await;
            streams.close();
            // The end of a response may still be in a buffer, and its caller may read slowly.
            streams.idle(self.timeouts.write).await;
        };
        tokio::select! {
            _ = connection.as_mut() => {}
            // The caller does not close the connection in answer to the GOAWAY, or never spoke HTTP/2.
            () = unanswered => {}
            () = closed_for_another(&open) => {}
        }
    }
}

/// Serves one HTTP/1.1 connection without a listener. All limits in time are `deadline`.
#[cfg(any(test, fuzzing))]
pub(crate) async fn serve_alone(stream: tokio::net::UnixStream, stack: CurrentStack, deadline: Duration) {
    use crate::gateway::server::connections::{ConnectionLimits, Connections};
    let Some(open) = Connections::new(ConnectionLimits { all: 1, per_network: 1 }).enter(None).await else { return };
    let timeouts = Timeouts { head: deadline, write: deadline, half_close_grace: deadline };
    let handler = ConnectionHandler::new(timeouts, None, Drain::default());
    handler.serve(Stream::Unix(Arc::new(stream)), None, open, stack).await;
}

/// Returns once the connection is to be closed for another one, and has had the time to send its last bytes.
async fn closed_for_another(open: &Connection) {
    open.closing().await;
    tokio::time::sleep(LAST_BYTES).await;
}

/// Returns at `moment`, or never if there is none. A connection must not outlive the certificate that
/// authenticated it. A caller with a renewed certificate connects again.
async fn passed(moment: Option<SystemTime>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.duration_since(SystemTime::now()).unwrap_or_default()).await,
        None => std::future::pending().await,
    }
}

/// Tells a browser or curl what to do. A bare TLS error would not.
async fn answer_plain_http(mut stream: Stream) -> io::Result<()> {
    stream.write_all(PLAIN_HTTP_RESPONSE).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(PLAIN_HTTP_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_to_plain_http_has_the_length_that_it_announces() {
        let text = std::str::from_utf8(PLAIN_HTTP_RESPONSE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
