//! A connection to the provider, and when the gateway stops using it.
//!
//! hyper-util's pool has one idle timeout for all connections. It knows neither the idle timeout that a provider
//! announces (`Keep-Alive: timeout=5`) nor an age. But the pool never hands out a connection that is *poisoned*,
//! and requests in progress on it go on, also those of HTTP/2. So each connection carries an [`Age`], which every
//! reply brings back, and each attempt has a [`UsedConnection`] to poison it.
//!
//! Rejected: closing the socket. A request may already be on its way. Also rejected: a pool of our own. One flag
//! expresses all three conditions.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, Request, Response, Version};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection, capture_connection};
use hyper_util::rt::TokioIo;
use rustls::ProtocolVersion;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::turn::Turn;

/// How long before the provider closes an idle connection the gateway stops using it. It covers the way of the
/// request to the provider, and a provider that counts from the moment it wrote the response.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A connection, with TLS for https.
pub(super) struct ProviderStream {
    io: MaybeHttpsStream<TokioIo<TcpStream>>,
    age: Age,
    /// Until the first bytes of the provider.
    turn: Option<Turn>,
}

/// Until when a connection may be used, how many replies it has brought, and its other end. All clones belong to the
/// same connection.
#[derive(Clone, Debug)]
struct Age {
    end: Instant,
    replies: Arc<AtomicU64>,
    peer: Option<ProviderPeer>,
}

/// The other end of a connection to the provider. With a proxy, the address is the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderPeer {
    /// The IP address and the port.
    pub address: SocketAddr,
    /// The TLS version. None for http.
    pub tls: Option<ProtocolVersion>,
}

impl ProviderPeer {
    fn of(io: &MaybeHttpsStream<TokioIo<TcpStream>>) -> Option<Self> {
        let (stream, tls) = match io {
            MaybeHttpsStream::Http(stream) => (stream, None),
            MaybeHttpsStream::Https(stream) => {
                let (stream, session) = stream.inner().get_ref();
                (stream.inner(), session.protocol_version())
            }
        };
        // It fails if the provider has already closed the connection.
        Some(Self { address: stream.inner().peer_addr().ok()?, tls })
    }
}

impl ProviderStream {
    pub(super) fn new(io: MaybeHttpsStream<TokioIo<TcpStream>>, max_age: Duration) -> Self {
        let age = Age { end: Instant::now() + max_age, replies: Arc::default(), peer: ProviderPeer::of(&io) };
        Self { io, age, turn: None }
    }

    pub(super) fn with_turn(self, turn: Option<Turn>) -> Self {
        Self { turn, ..self }
    }
}

impl Connection for ProviderStream {
    fn connected(&self) -> Connected {
        self.io.connected().extra(self.age.clone())
    }
}

/// The connection that an attempt uses, once there is one.
#[derive(Clone, Debug)]
pub(super) struct UsedConnection(CaptureConnection);

impl UsedConnection {
    pub(super) fn of<B>(request: &mut Request<B>) -> Self {
        Self(capture_connection(request))
    }

    /// No further request uses this connection.
    pub(super) fn retire(&self) {
        if let Some(connection) = self.0.connection_metadata().as_ref() {
            connection.poison();
        }
    }

    /// Returns the other end of the connection. None while the attempt has no connection.
    pub(super) fn peer(&self) -> Option<ProviderPeer> {
        let mut extensions = http::Extensions::new();
        self.0.connection_metadata().as_ref()?.get_extras(&mut extensions);
        extensions.remove::<Age>()?.peer
    }

    /// Returns when the connection has been there for at least `limit`, and for at most one and a half times as long.
    pub(super) async fn held_for(&self, limit: Duration) {
        // Most attempts end before this. Then they cost one timer and no watch of the connection.
        tokio::time::sleep(limit / 2).await;
        self.0.clone().wait_for_connection_metadata().await;
        tokio::time::sleep(limit).await;
    }

    /// Retires the connection if it is too old, or before the provider closes it. Connections that are idle for
    /// longer than `pool_idle` are not used anyway. Returns the other end of the connection.
    pub(super) fn note_reply<B>(&self, reply: &mut Response<B>, pool_idle: Duration) -> Option<ProviderPeer> {
        let Age { end, replies, peer } = reply.extensions_mut().remove()?;
        let reply_number = replies.fetch_add(1, Ordering::Relaxed) + 1;
        let keep_alive = if reply.version() < Version::HTTP_2 { keep_alive(reply.headers()) } else { None };
        let usable = keep_alive.map(|timeout| timeout.saturating_sub(KEEP_ALIVE_MARGIN));
        if Instant::now() >= end || usable.is_some_and(|usable| usable.is_zero()) {
            self.retire();
            return peer;
        }
        if let Some(usable) = usable.filter(|usable| *usable < pool_idle) {
            let connection = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(usable).await;
                // After a newer reply its own timer counts.
                if replies.load(Ordering::Relaxed) == reply_number {
                    connection.retire();
                }
            });
        }
        peer
    }
}

/// The idle timeout that an HTTP/1.1 reply announces, in whole seconds: `Keep-Alive: timeout=5, max=100`.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let parameters = headers.get_all(KEEP_ALIVE).iter().filter_map(|value| value.to_str().ok());
    let seconds = parameters.flat_map(|value| value.split(',')).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().trim_matches('"').parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

impl Read for ProviderStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.turn = None;
        }
        read
    }
}

impl Write for ProviderStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_timeout_of_a_reply_is_read_from_its_keep_alive_header() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEEP_ALIVE, value.parse().unwrap());
            }
            keep_alive(&headers).map(|timeout| timeout.as_secs())
        };
        assert_eq!(read(&["timeout=5"]), Some(5));
        assert_eq!(read(&["max=100, Timeout = \"7\""]), Some(7));
        assert_eq!(read(&["max=100", "timeout=0"]), Some(0));
        for nothing in [&[][..], &["max=5"], &["timeout"], &["timeout=soon"], &["timeout=-1"]] {
            assert_eq!(read(nothing), None, "{nothing:?}");
        }
    }
}
