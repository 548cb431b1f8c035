//! The listener: HTTP/1.1, and HTTP/2 beside it where it has TLS, as strict as hyper can be made.
//!
//! Everything that a caller can draw out happens in its connection's own task: a slow handshake
//! delays nobody else, has the head deadline, and holds one place among the connections.
//!
//! HTTP/1: hyper's head deadline acts only where the builder has a timer; without one a caller
//! that dribbles its head holds a connection for ever. The same deadline ends idle connections.
//! For the other direction, an answer that nobody reads, see `stall.rs`. `half_close` lets a
//! caller shut down its sending side and still read its answer.
//!
//! HTTP/2: only by ALPN. Over plain TCP there is none: no in-house client needs it, and each of
//! its frame types is one more thing to defend. `streams.rs` has its deadlines. hyper's own limits
//! on streams that a caller begins and resets at once (20 waiting to be accepted, 1024 reset for
//! the caller's errors; CVE-2023-44487) stand: no honest caller comes near them, and beyond them
//! the connection is closed. Its end needs no warning as HTTP/1's does: GOAWAY says exactly which
//! requests are taken.

pub(crate) mod drain;
pub(crate) mod peer;
pub(crate) mod socket;
pub(crate) mod streams;
pub(crate) mod tls;
pub(crate) mod write_timeout;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use crate::gateway::server::drain::Drain;
use crate::gateway::server::peer::Peer;
use crate::gateway::server::socket::{Address, Socket, Stream};
use crate::gateway::server::streams::{StreamExecutor, TrackedBody};
use crate::gateway::server::tls::{ServerTls, TlsError};
use crate::gateway::server::write_timeout::WriteTimeout;
use crate::gateway::stack::ResponseBody;
use crate::gateway::{Deadlines, Listen};

/// hyper's buffer for a connection: about the most that the head of a request may take (hyper
/// looks at it between reads), and the piece in which bodies are read.
const BUFFER: usize = 64 * 1024;

/// The same for the heads of HTTP/2, as its callers are told.
const HEADERS: u32 = 64 * 1024;

/// Requests at once on one HTTP/2 connection, the least that RFC 9113 section 6.5.2 recommends.
const STREAMS: u32 = 100;

/// What a caller may send on a connection before it is read, over all its streams: enough for
/// 250 MB/s within a data centre, little enough for each connection to have it.
const WINDOW: u32 = 256 * 1024;

/// HTTP/2 pings find a caller that is gone without a word; also how long it has to answer one.
const PING: Duration = Duration::from_secs(20);

/// For a caller to learn by our GOAWAY that it sends its next requests elsewhere: some round trips.
const GOAWAY: Duration = Duration::from_secs(2);

/// After an accept that failed (out of file descriptors, most often): long enough not to spin,
/// short enough not to be noticed once a descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// For answers that say `draining` to get out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// To a caller that speaks HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
      Content-Length: 38\r\n\r\nThis port speaks TLS: use https://...\n";

/// For such a caller to read that; and how much of its request is read first, so that the answer
/// is not lost in a reset.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 64 * 1024;

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be bound.
    #[error(transparent)]
    Bind(#[from] io::Error),
}

/// A bound listener that serves nobody yet.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    tls: Option<ServerTls>,
    connections: Arc<Semaphore>,
    head: Duration,
    write_timeout: Duration,
}

impl Listener {
    /// Binds; callers queue in the kernel until [`serve`](Self::serve).
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) async fn bind(config: &Listen, deadlines: &Deadlines) -> Result<Self, ListenError> {
        let tls = match config.tls.clone() {
            Some(files) => Some(ServerTls::load(files)?),
            None => None,
        };
        Ok(Self {
            socket: Socket::bind(&config.address).await?,
            tls,
            connections: Arc::new(Semaphore::new(config.max_connections)),
            head: deadlines.head,
            write_timeout: deadlines.stall,
        })
    }

    /// The address in use; with port 0 configured, the port the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.socket.address()
    }

    /// Its TLS, if it has any.
    #[must_use]
    pub(crate) fn tls(&self) -> Option<ServerTls> {
        self.tls.clone()
    }

    /// Serves until `drain` closes the door, then lets requests in flight finish for at most
    /// `limit`.
    pub(crate) async fn serve<S>(self, service: S, drain: Drain, limit: Duration)
    where
        S: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        // Also when this future is dropped: nobody is served by a gateway that is gone.
        let _abort_at_the_end = abort.clone().drop_guard();
        let protocols = Protocols::new(self.head, self.write_timeout, drain.clone());
        while let Some((stream, permit)) = self.accept(&drain).await {
            let service = service.clone();
            let protocols = protocols.clone();
            let tls = self.tls.clone();
            let abort = abort.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = protocols.serve(stream, tls, service) => {}
                    () = abort.cancelled() => {}
                }
                drop(permit);
            });
        }
        drop(self.socket);
        connections.close();
        if tokio::time::timeout(limit, connections.wait()).await.is_err() {
            drain.expire();
            // What does not get out by then is cut off by `abort`.
            let _ = tokio::time::timeout(LAST_WORDS, connections.wait()).await;
        }
    }

    /// The next connection and its place among them; none once the door is closed.
    async fn accept(&self, drain: &Drain) -> Option<(Stream, OwnedSemaphorePermit)> {
        loop {
            let accepted = tokio::select! {
                () = drain.closed() => return None,
                accepted = self.accept_one() => accepted,
            };
            match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept_one(&self) -> io::Result<(Stream, OwnedSemaphorePermit)> {
        // A full house leaves callers in the kernel's queue instead of taking them in to wait.
        let permit = Arc::clone(&self.connections).acquire_owned().await.map_err(io::Error::other)?;
        Ok((self.socket.accept().await?, permit))
    }
}

/// How a connection is served, whichever way it speaks.
#[derive(Clone)]
struct Protocols {
    http1: http1::Builder,
    head: Duration,
    write_timeout: Duration,
    drain: Drain,
}

impl Protocols {
    fn new(head: Duration, write_timeout: Duration, drain: Drain) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(head).half_close(true).max_buf_size(BUFFER);
        Self { http1, head, write_timeout, drain }
    }

    /// Serves one connection to its end.
    async fn serve<S>(self, stream: Stream, tls: Option<ServerTls>, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let Some(tls) = tls else {
            return self.http1(WriteTimeout::new(stream, self.write_timeout), service, None).await;
        };
        // No request has begun: a caller that is this far when the door closes goes elsewhere.
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(self.head, self.handshake(stream, &tls)) => shaken,
            () = self.drain.closed() => return,
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        };
        let (_, session) = stream.get_ref();
        let peer = tls::peer(session.peer_certificates());
        let end = tls::expiry(session.peer_certificates());
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let service = service.map_request(move |request| from(&peer, request));
        if is_http2 { self.http2(stream, service, end).await } else { self.http1(stream, service, end).await }
    }

    async fn handshake(&self, stream: Stream, tls: &ServerTls) -> io::Result<TlsStream<WriteTimeout<Stream>>> {
        // A record of TLS's handshake begins with 22, a request with its method.
        if stream.peek().await?.is_some_and(|first| first.is_ascii_uppercase()) {
            let _ = tokio::time::timeout(PARTING, speak_tls(stream)).await;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the caller speaks HTTP in clear"));
        }
        tls.acceptor().accept(WriteTimeout::new(stream, self.write_timeout)).await
    }

    /// Takes requests until the door closes, or the caller's certificate `end`s.
    async fn http1<T, S>(&self, stream: T, service: S, end: Option<SystemTime>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let connection = self.http1.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = pin!(connection);
        tokio::select! {
            // A connection's end is no news: its requests have their records.
            _ = connection.as_mut() => return,
            () = self.drain.closed() => {}
            () = passed(end) => {}
        }
        GracefulConnection::graceful_shutdown(connection.as_mut());
        let _ = connection.await;
    }

    /// The same.
    async fn http2<T, S>(&self, stream: T, service: S, end: Option<SystemTime>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let streams = StreamExecutor::new(self.write_timeout);
        let mut builder = http2::Builder::new(streams.clone());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADERS)
            .max_send_buf_size(BUFFER)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let service = service.map_response(|answer: Response<ResponseBody>| answer.map(TrackedBody::new));
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.drain.closed() => {}
            () = passed(end) => {}
            () = streams.idle(self.head) => {}
        }
        GracefulConnection::graceful_shutdown(connection.as_mut());
        let unanswered = async {
            // Requests that were on their way when the GOAWAY left are taken (RFC 9113 section 6.8).
            tokio::time::sleep(GOAWAY).await;
            streams.close();
            streams.idle(self.write_timeout).await;
        };
        tokio::select! {
            _ = connection.as_mut() => {}
            // It asks for nothing and does not answer our GOAWAY, or never began to speak.
            () = unanswered => {}
        }
    }
}

/// Returns once `moment` has come; never without one. A connection is not to outlive the certificate that
/// let it in: whoever has a new one connects anew.
async fn passed(moment: Option<SystemTime>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.duration_since(SystemTime::now()).unwrap_or_default()).await,
        None => std::future::pending().await,
    }
}

/// Says who sent `request`.
fn from(peer: &Peer, mut request: Request<Incoming>) -> Request<Incoming> {
    request.extensions_mut().insert(peer.clone());
    request
}

/// A browser's or curl's first error is more use when it says what to do.
async fn speak_tls(mut stream: Stream) -> io::Result<()> {
    stream.write_all(SPEAK_TLS).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(PARTING_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_in_clear_is_as_long_as_it_says() {
        let text = std::str::from_utf8(SPEAK_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
