//! The listener: HTTP/1.1 over TCP, as strict as hyper can be made.
//!
//! hyper's head deadline acts only where the builder has a timer; without one a caller that
//! dribbles its head holds a connection for ever. The same deadline ends idle connections. For
//! the other direction, an answer that nobody reads, see `stall.rs`.
//! `half_close` lets a caller shut down its sending side and still read its answer. There is
//! no HTTP/2 over plain TCP: no in-house client needs it, and each of its frame types is one
//! more thing to defend.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::drain::Drain;
use super::stack::Answer;
use super::stall::Impatient;
use super::{Deadlines, Listen};

/// hyper's buffer for a connection: about the most that the head of a request may take (hyper
/// looks at it between reads), and the piece in which bodies are read.
const BUFFER: usize = 64 * 1024;

/// After an accept that failed (out of file descriptors, most often): long enough not to spin,
/// short enough not to be noticed once a descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// For answers that say `draining` to get out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A bound listener that serves nobody yet.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    connections: Arc<Semaphore>,
    head: Duration,
    stall: Duration,
}

impl Listener {
    /// Binds; callers queue in the kernel until [`serve`](Self::serve).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(config: &Listen, deadlines: &Deadlines) -> io::Result<Self> {
        Ok(Self {
            tcp: TcpListener::bind(config.address).await?,
            connections: Arc::new(Semaphore::new(config.max_connections)),
            head: deadlines.head,
            stall: deadlines.stall,
        })
    }

    /// The address in use; with port 0 configured, the port the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `drain` closes the door, then lets requests in flight finish for at most
    /// `limit`.
    pub async fn serve<S>(self, service: S, drain: Drain, limit: Duration)
    where
        S: Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let graceful = GracefulShutdown::new();
        let abort = CancellationToken::new();
        // Also when this future is dropped: nobody is served by a gateway that is gone.
        let _abort_at_the_end = abort.clone().drop_guard();
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.head).half_close(true).max_buf_size(BUFFER);
        while let Some((stream, place)) = self.accept(&drain).await {
            let service = TowerToHyperService::new(service.clone());
            let connection =
                graceful.watch(builder.serve_connection(TokioIo::new(Impatient::new(stream, self.stall)), service));
            let abort = abort.clone();
            tokio::spawn(async move {
                tokio::select! {
                    // A connection's end is no news: its requests have their records.
                    _ = connection => {}
                    () = abort.cancelled() => {}
                }
                drop(place);
            });
        }
        drop(self.tcp);
        let finished = graceful.shutdown();
        tokio::pin!(finished);
        if tokio::time::timeout(limit, &mut finished).await.is_err() {
            drain.expire();
            // What does not get out by then is cut off by `abort`.
            let _ = tokio::time::timeout(LAST_WORDS, finished).await;
        }
    }

    /// The next connection and its place among them; none once the door is closed.
    async fn accept(&self, drain: &Drain) -> Option<(TcpStream, OwnedSemaphorePermit)> {
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

    async fn accept_one(&self) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        // A full house leaves callers in the kernel's queue instead of taking them in to wait.
        let place = Arc::clone(&self.connections).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.tcp.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, place))
    }
}
