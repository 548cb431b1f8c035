//! Accepts connections and answers one request on each.
//!
//! Promise: a probe is answered, however many connections others hold. A supervisor would otherwise restart a gateway
//! that works. No connection can therefore keep its permit:
//!
//! - Each answer ends its connection. A probe needs no more, and pipelined requests are not read.
//! - A connection has a deadline for its first byte, and one for the rest: head, answer, and the caller's reading.
//! - At [`MAX_CONNECTIONS`], a new connection replaces the one that has been idle longest. If none is idle, it replaces
//!   the oldest. So a scrape that is in progress is not ended by connections that send nothing.
//!
//! The hard case is many new connections at once: some of them have sent a request that this process has not read yet.
//! A connection is not replaced before its task has looked for a request.
//!
//! Rejected: more permits. A client that can open 64 connections can open more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::accept_errors::{ACCEPT_PAUSE, AcceptErrors, concerns_one_caller};

/// The limit for open connections. Health checks and scrapes need a few.
const MAX_CONNECTIONS: usize = 64;

/// The time limit for the first byte of a request.
const IDLE_DEADLINE: Duration = Duration::from_secs(5);

/// The time limit from the first byte of a request until the caller has taken the whole answer. A health check needs
/// milliseconds.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(5);

/// Serves while it is polled. Dropping the future closes every connection.
pub(super) async fn serve<F>(listener: TcpListener, respond: F)
where
    F: Fn(Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + 'static,
{
    let (mut connections, mut errors) = (Connections::default(), AcceptErrors::default());
    loop {
        let accepted = tokio::select! {
            () = errors.quiet() => {
                errors.report_end("admin");
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.close_excess().await;
                connections.spawn(stream, respond.clone());
            }
            Err(error) if concerns_one_caller(&error) => {}
            Err(error) => {
                errors.report("admin", &error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// The connections in the order of their arrival.
    open: VecDeque<Connection>,
    /// Notified by the task of a connection when it first looks for a request.
    looked: Arc<Notify>,
}

struct Connection {
    task: AbortHandle,
    phase: Arc<AtomicU8>,
}

/// The task has not run yet.
const NEW: u8 = 0;
/// No byte of a request has arrived.
const IDLE: u8 = 1;
/// A request has begun.
const ACTIVE: u8 = 2;

impl Connections {
    /// Returns when there are fewer connections than the limit. At the limit, this closes one.
    async fn close_excess(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|connection| !connection.task.is_finished());
        while self.tasks.len() >= MAX_CONNECTIONS {
            match self.most_dispensable() {
                Some(connection) => {
                    connection.abort();
                    // The task may end by itself at the same moment. In either case, one has ended.
                    self.tasks.join_next().await;
                }
                None => tokio::select! {
                    () = self.looked.notified() => {}
                    _ = self.tasks.join_next() => {}
                },
            }
        }
    }

    /// The connection that has been idle longest, or the oldest one if all have begun a request. None if it is not
    /// known yet which of the two holds.
    fn most_dispensable(&self) -> Option<AbortHandle> {
        let first = |phase| self.open.iter().find(|connection| connection.phase.load(Ordering::Relaxed) == phase);
        let found = match first(IDLE) {
            Some(idle) => Some(idle),
            None if first(NEW).is_some() => None,
            None => first(ACTIVE),
        };
        found.map(|connection| connection.task.clone())
    }

    fn spawn<F>(&mut self, stream: TcpStream, respond: F)
    where
        F: Fn(Request<Incoming>) -> Response<Full<Bytes>> + Send + 'static,
    {
        let phase = Arc::new(AtomicU8::new(NEW));
        let task = {
            let (phase, looked) = (Arc::clone(&phase), Arc::clone(&self.looked));
            async move {
                // The runtime does not know yet whether bytes have arrived. It finds out before it continues here.
                tokio::task::yield_now().await;
                phase.store(IDLE, Ordering::Relaxed);
                looked.notify_one();
                if let Ok(Ok(1)) = timeout(IDLE_DEADLINE, stream.peek(&mut [0])).await {
                    phase.store(ACTIVE, Ordering::Relaxed);
                    // A connection that breaks or exceeds the deadline is closed. No answer can be sent on it.
                    let _ = timeout(EXCHANGE_DEADLINE, exchange(stream, respond)).await;
                }
            }
        };
        let task = self.tasks.spawn(task);
        self.open.push_back(Connection { task, phase });
    }
}

/// Answers one request.
async fn exchange<F>(stream: TcpStream, respond: F) -> hyper::Result<()>
where
    F: Fn(Request<Incoming>) -> Response<Full<Bytes>>,
{
    let service = service_fn(move |request| {
        let response = respond(request);
        async move { Ok::<_, Infallible>(response) }
    });
    // The whole exchange has a deadline, so the head needs none.
    http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server with answers of `length` bytes.
    async fn start(length: usize) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let body = Bytes::from(vec![b'x'; length]);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, move |_| Response::new(Full::from(body.clone()))));
        (address, serving)
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn probe(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
        answer(&mut stream).await
    }

    #[tokio::test]
    async fn each_answer_ends_its_connection() {
        let (address, _serving) = start(2).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: g\r\n\r\nGET / HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
        let answer = answer(&mut stream).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1);
        assert!(answer.contains("connection: close"), "{answer}");
    }

    #[tokio::test]
    async fn a_probe_that_arrives_before_many_idle_connections_is_answered() {
        let (address, _serving) = start(2).await;
        // Blocking calls: the server runs only after all of them.
        let mut first = std::net::TcpStream::connect(address).unwrap();
        first.write_all(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n").unwrap();
        let _idle: Vec<_> = (0..MAX_CONNECTIONS + 20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        first.set_nonblocking(true).unwrap();
        let answer = answer(&mut TcpStream::from_std(first).unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }

    #[tokio::test]
    async fn idle_connections_do_not_end_an_exchange_that_has_begun() {
        let (address, _serving) = start(2).await;
        let mut begun = TcpStream::connect(address).await.unwrap();
        begun.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        probe(address).await;
        let mut idle = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        probe(address).await;
        begun.write_all(b"Host: g\r\n\r\n").await.unwrap();
        let answer = answer(&mut begun).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }

    #[tokio::test]
    async fn connections_that_read_no_answer_do_not_keep_a_probe_from_its_answer() {
        // More than the buffers of a connection hold.
        let (address, _serving) = start(16 * 1024 * 1024).await;
        let mut unread = Vec::new();
        for _ in 0..MAX_CONNECTIONS + 6 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&b"GET / HTTP/1.1\r\nHost: g\r\n\r\n".repeat(100)).await.unwrap();
            unread.push(stream);
        }
        assert!(probe(address).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_has_a_deadline() {
        let (address, _serving) = start(16 * 1024 * 1024).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        tokio::time::pause();
        tokio::time::sleep(EXCHANGE_DEADLINE).await;
        tokio::time::resume();
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the end of the connection");
        assert!(read.is_err() || answer.len() < 16 * 1024 * 1024, "the server closed the connection early");
    }
}
