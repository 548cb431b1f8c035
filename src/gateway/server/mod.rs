//! The listener: accepts connections, serves each in a task of its own, and shuts down in order.
//!
//! Everything that a caller can delay happens in the task of its connection. A slow handshake delays no other
//! caller, has the head deadline, and counts towards `max_connections`.

pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod descriptors;
pub(crate) mod drain;
pub(crate) mod hangup;
pub(crate) mod in_service;
pub(crate) mod peer;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod streams;
pub(crate) mod tls;
mod woken;
pub(crate) mod write_timeout;

use std::io;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept_errors::{ACCEPT_PAUSE, AcceptErrors, concerns_one_caller, lacks_resources};
use crate::gateway::server::connection::{ConnectionHandler, Timeouts};
use crate::gateway::server::connections::{Connection, ConnectionLimits, Connections, Network};
use crate::gateway::server::drain::Drain;
use crate::gateway::server::socket::{Address, Socket};
use crate::gateway::server::stream::Stream;
use crate::gateway::server::tls::{ServerTls, TlsError};
use crate::gateway::server::woken::when_woken;
use crate::gateway::stack::Stack;
use crate::gateway::{Deadlines, Listen};

/// How long the responses to requests that the drain deadline ended have to reach their callers.
const FINAL_RESPONSES: Duration = Duration::from_secs(1);

/// How long the connections that are still open after that have to end.
const LAST_RECORDS: Duration = Duration::from_millis(100);

/// Why the listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Bind(#[from] io::Error),
}

/// A bound listener. It accepts connections once [`serve`](Self::serve) is called.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    tls: Option<ServerTls>,
    connections: Connections,
    timeouts: Timeouts,
}

impl Listener {
    /// Binds the address. Callers wait in the kernel's queue until [`serve`](Self::serve) is called.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) async fn bind(config: &Listen, deadlines: &Deadlines) -> Result<Self, ListenError> {
        let tls = match config.tls.clone() {
            Some(files) => Some(ServerTls::load(files)?),
            None => None,
        };
        let socket = match &config.address {
            Address::Tcp(address) if config.reuse_port => Socket::bind_shared(*address)?,
            address => Socket::bind(address).await?,
        };
        Ok(Self {
            socket,
            tls,
            connections: Connections::new(ConnectionLimits {
                all: config.max_connections,
                per_network: config.connections_per_address,
            }),
            timeouts: Timeouts {
                head: deadlines.head,
                write: deadlines.stall,
                half_close_grace: deadlines.half_close_grace,
            },
        })
    }

    /// The address in use. If port 0 is configured, it has the port that the system chose.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.socket.address()
    }

    #[must_use]
    pub(crate) fn connections(&self) -> Connections {
        self.connections.clone()
    }

    #[must_use]
    pub(crate) fn tls(&self) -> Option<ServerTls> {
        self.tls.clone()
    }

    /// Serves until `drain` stops accepting. Then requests in flight have at most `drain_deadline` to finish.
    pub(crate) async fn serve(self, stack: Stack, drain: Drain, drain_deadline: Duration) {
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        // Connections also end when this future is dropped: a gateway that is gone serves no requests.
        let _abort_at_the_end = abort.clone().drop_guard();
        let handler = ConnectionHandler::new(self.timeouts, drain.clone());
        let mut errors = AcceptErrors::default();
        while let Some((stream, open)) = self.accept(&drain, &mut errors).await {
            let (handler, stack, tls, abort) = (handler.clone(), stack.clone(), self.tls.clone(), abort.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = handler.serve(stream, open, tls, stack) => {}
                    () = when_woken(abort.cancelled()) => {}
                }
            });
        }
        drop(self.socket);
        connections.close();
        if tokio::time::timeout(drain_deadline, connections.wait()).await.is_err() {
            drain.expire();
            let _ = tokio::time::timeout(FINAL_RESPONSES, connections.wait()).await;
            abort.cancel();
            // The connections end at their next poll. The records of their requests are then in the log.
            let _ = tokio::time::timeout(LAST_RECORDS, connections.wait()).await;
        }
    }

    /// The next connection. None once `drain` stops accepting.
    async fn accept(&self, drain: &Drain, errors: &mut AcceptErrors) -> Option<(Stream, Connection)> {
        loop {
            let accepted = tokio::select! {
                () = drain.closed() => return None,
                () = errors.quiet() => {
                    errors.report_end("callers");
                    continue;
                }
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => tokio::select! {
                    () = drain.closed() => return None,
                    // At the limit, further callers wait in the kernel's queue.
                    open = self.connections.enter(address.and_then(Network::of)) => match open {
                        Some(open) => return Some((stream, open)),
                        // The limit of the address. Closing tells the caller at once.
                        None => drop(stream),
                    },
                },
                Err(error) if concerns_one_caller(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    errors.report("callers", &error);
                    if lacks_resources(&error) {
                        // It has a descriptor that the next caller can use.
                        self.connections.close_longest_idle();
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
