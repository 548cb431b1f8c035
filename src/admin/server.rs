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
//! A request that changes something may take longer. It keeps its permit, but only after its token was checked.
//!
//! The hard case is many new connections at once: some of them have sent a request that this process has not read yet.
//! A connection is not replaced before its task has looked for a request.
//!
//! Rejected: more permits. A client that can open 64 connections can open more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::accept_errors::{ACCEPT_PAUSE, AcceptErrors, concerns_one_caller};
use crate::socket::{Socket, Stream};

/// The limit for open connections. Health checks and scrapes need a few.
const MAX_CONNECTIONS: usize = 64;

/// The time limit for the first byte of a request.
const IDLE_DEADLINE: Duration = Duration::from_secs(5);

/// The time limit from the first byte of a request until the caller has taken the whole answer. A health check needs
/// milliseconds.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(5);

/// The time limit for a request that changes something and has the right to. A reload reads files and fetches key sets.
const WORK_DEADLINE: Duration = Duration::from_secs(60);

/// The response to a request.
pub(super) enum Answer {
    Now(Response<Full<Bytes>>),
    /// For a request that takes time. Such a connection is not replaced once [`Work::begin`] was called.
    Later(Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>),
}

/// What happens on a connection, for the code that answers its request.
#[derive(Clone, Debug)]
pub(super) struct Work {
    phase: Arc<AtomicU8>,
    after: Arc<Mutex<Vec<After>>>,
}

/// Called when it is dropped.
struct After(Option<Box<dyn FnOnce() + Send>>);

impl Work {
    /// From now on the connection has [`WORK_DEADLINE`], and no other connection takes its place. Only for requests that
    /// have the right to it.
    pub(super) fn begin(&self) {
        self.phase.store(WORKING, Ordering::Relaxed);
    }

    /// Calls `f` when the connection has ended. The answer has been sent by then, if the caller has read it in time.
    pub(super) fn afterwards(&self, f: impl FnOnce() + Send + 'static) {
        // The list is whole even if the lock is poisoned: its only change is one push.
        self.after.lock().unwrap_or_else(PoisonError::into_inner).push(After(Some(Box::new(f))));
    }
}

impl fmt::Debug for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("After(..)")
    }
}

impl Drop for After {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// Serves while it is polled. Dropping the future closes every connection.
pub(super) async fn serve<F>(listener: Socket, respond: F)
where
    F: Fn(Request<Incoming>, Work) -> Answer + Clone + Send + 'static,
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
/// A request with the right to take time is in progress.
const WORKING: u8 = 3;

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

    fn spawn<F>(&mut self, stream: Stream, respond: F)
    where
        F: Fn(Request<Incoming>, Work) -> Answer + Send + 'static,
    {
        let phase = Arc::new(AtomicU8::new(NEW));
        let task = {
            let (phase, looked) = (Arc::clone(&phase), Arc::clone(&self.looked));
            async move {
                // The runtime does not know yet whether bytes have arrived. It finds out before it continues here.
                tokio::task::yield_now().await;
                phase.store(IDLE, Ordering::Relaxed);
                looked.notify_one();
                if timeout(IDLE_DEADLINE, begins(&stream)).await == Ok(true) {
                    phase.store(ACTIVE, Ordering::Relaxed);
                    let work = Work { phase: Arc::clone(&phase), after: Arc::default() };
                    let mut exchange = pin!(exchange(stream, respond, work));
                    // A connection that breaks or exceeds the deadline is closed. No answer can be sent on it.
                    let in_time = timeout(EXCHANGE_DEADLINE, exchange.as_mut()).await;
                    if in_time.is_err() && phase.load(Ordering::Relaxed) == WORKING {
                        let _ = timeout(WORK_DEADLINE, exchange).await;
                    }
                }
            }
        };
        let task = self.tasks.spawn(task);
        self.open.push_back(Connection { task, phase });
    }
}

/// Waits for the first byte of a request. False if the caller leaves without one; at a unix socket it is not known.
async fn begins(stream: &Stream) -> bool {
    match stream {
        Stream::Tcp(_) => matches!(stream.peek().await, Ok(Some(_))),
        Stream::Unix(_) => stream.ready(Interest::READABLE).await.is_ok(),
    }
}

/// Answers one request.
async fn exchange<F>(stream: Stream, respond: F, work: Work) -> hyper::Result<()>
where
    F: Fn(Request<Incoming>, Work) -> Answer,
{
    let service = service_fn(move |request| {
        let answer = respond(request, work.clone());
        async move {
            Ok::<_, Infallible>(match answer {
                Answer::Now(response) => response,
                Answer::Later(response) => response.await,
            })
        }
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
    use tokio::net::TcpStream;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server with answers of `length` bytes.
    async fn start(length: usize) -> (SocketAddr, JoinSet<()>) {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Socket::bind(&any_port.into()).await.unwrap();
        let address = listener.address().unwrap().tcp().unwrap();
        let body = Bytes::from(vec![b'x'; length]);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, move |_, _| Answer::Now(Response::new(Full::from(body.clone())))));
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
