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
//! A request that changes something may take longer. It keeps its permit, but only after its token was checked. At most
//! [`MAX_WORKING`] such requests are in progress, so probes always have connections.
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
use tokio::sync::{Notify, Semaphore};
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

/// The limit for requests in progress that change something. Reloads run one after the other.
const MAX_WORKING: usize = 4;

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
    working: Arc<Semaphore>,
}

/// Called when it is dropped.
struct After(Option<Box<dyn FnOnce() + Send>>);

impl Work {
    /// From now on the connection has [`WORK_DEADLINE`], and no other connection takes its place. Only for requests that
    /// have the right to it. False if [`MAX_WORKING`] others are in progress.
    #[must_use]
    pub(super) fn begin(&self) -> bool {
        let Ok(permit) = Arc::clone(&self.working).try_acquire_owned() else { return false };
        // A caller that does not read its answer keeps the permit as long as its connection.
        self.afterwards(move || drop(permit));
        self.phase.store(WORKING, Ordering::Relaxed);
        true
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
    let (mut connections, mut errors) = (Connections::new(), AcceptErrors::default());
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

struct Connections {
    tasks: JoinSet<()>,
    /// The connections in the order of their arrival.
    open: VecDeque<Connection>,
    /// Notified by the task of a connection when it first looks for a request.
    looked: Arc<Notify>,
    /// The permits for requests that change something.
    working: Arc<Semaphore>,
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
    fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            open: VecDeque::new(),
            looked: Arc::default(),
            working: Arc::new(Semaphore::new(MAX_WORKING)),
        }
    }

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
            let (phase, looked, working) = (Arc::clone(&phase), Arc::clone(&self.looked), Arc::clone(&self.working));
            async move {
                // The runtime does not know yet whether bytes have arrived. It finds out before it continues here.
                tokio::task::yield_now().await;
                phase.store(IDLE, Ordering::Relaxed);
                looked.notify_one();
                if timeout(IDLE_DEADLINE, begins(&stream)).await == Ok(true) {
                    phase.store(ACTIVE, Ordering::Relaxed);
                    let work = Work { phase: Arc::clone(&phase), after: Arc::default(), working };
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
mod tests;
