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
pub(crate) mod streams;
pub(crate) mod tls;
mod woken;
pub(crate) mod write_timeout;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept_errors::{ACCEPT_PAUSE, AcceptErrors, concerns_one_caller, lacks_resources};
use crate::gateway::permits::Usage;
use crate::gateway::server::connection::{ConnectionHandler, Timeouts};
use crate::gateway::server::connections::{Connection, ConnectionLimits, Connections, Network};
use crate::gateway::server::drain::Drain;
use crate::gateway::server::tls::ServerTls;
use crate::gateway::server::woken::when_woken;
use crate::gateway::stack::CurrentStack;
use crate::gateway::{Config, Listen};
use crate::socket::{Address, InheritedSocket, Socket, Stream};

/// How long the responses to requests that the drain deadline ended have to reach their callers.
const FINAL_RESPONSES: Duration = Duration::from_secs(1);

/// How long the connections that are still open after that have to end.
const LAST_RECORDS: Duration = Duration::from_millis(100);

/// How new connections are served: their limits, deadlines and TLS. An open connection keeps what it began with. Clones
/// share it.
#[derive(Clone)]
pub(crate) struct ConnectionPolicy {
    connections: Connections,
    handler: Arc<ArcSwap<ConnectionHandler>>,
    drain: Drain,
}

impl ConnectionPolicy {
    pub(crate) fn new(config: &Config, tls: Option<ServerTls>, drain: Drain) -> Self {
        let handler = ConnectionHandler::new(Timeouts::of(config), tls, drain.clone());
        let connections = Connections::new(ConnectionLimits::of(&config.listen));
        Self { connections, handler: Arc::new(ArcSwap::from_pointee(handler)), drain }
    }

    pub(crate) fn replace(&self, config: &Config, tls: Option<ServerTls>) {
        self.connections.limit(ConnectionLimits::of(&config.listen));
        self.handler.store(Arc::new(ConnectionHandler::new(Timeouts::of(config), tls, self.drain.clone())));
    }

    /// The open connections, and their limit.
    pub(super) fn usage(&self) -> Usage {
        self.connections.usage()
    }
}

impl fmt::Debug for ConnectionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPolicy").finish_non_exhaustive()
    }
}

impl ConnectionLimits {
    fn of(config: &Listen) -> Self {
        Self { all: config.max_connections, per_network: config.connections_per_address }
    }
}

impl Timeouts {
    fn of(config: &Config) -> Self {
        let deadlines = &config.deadlines;
        Self { head: deadlines.head, write: deadlines.stall, half_close_grace: deadlines.half_close_grace }
    }
}

/// A bound listener. It accepts connections once [`serve`](Self::serve) is called.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    policy: ConnectionPolicy,
}

impl Listener {
    /// Binds the address, or takes over a socket that is bound to it. Callers wait in the kernel's queue until
    /// [`serve`](Self::serve) is called.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub(crate) async fn bind(
        config: &Listen,
        inherited: Option<InheritedSocket>,
        policy: ConnectionPolicy,
    ) -> io::Result<Self> {
        let socket = match (inherited, &config.address) {
            (Some(inherited), _) => Socket::adopt(inherited)?,
            (None, Address::Tcp(address)) if config.reuse_port => Socket::bind_shared(*address)?,
            (None, address) => Socket::bind(address).await?,
        };
        Ok(Self { socket, policy })
    }

    /// The address in use. If port 0 is configured, it has the port that the system chose.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.socket.address()
    }

    /// Serves until the gateway drains. Then requests in flight have at most `drain_deadline` to finish, as it is then.
    pub(crate) async fn serve(self, stack: CurrentStack, drain_deadline: impl Fn() -> Duration) {
        let drain = self.policy.drain.clone();
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        // Connections also end when this future is dropped: a gateway that is gone serves no requests.
        let _abort_at_the_end = abort.clone().drop_guard();
        let mut errors = AcceptErrors::default();
        while let Some((stream, address, open)) = self.accept(&drain, &mut errors).await {
            let (handler, stack, abort) = (self.policy.handler.load_full(), stack.clone(), abort.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = handler.serve(stream, address, open, stack) => {}
                    () = when_woken(abort.cancelled()) => {}
                }
            });
        }
        drop(self.socket);
        connections.close();
        if tokio::time::timeout(drain_deadline(), connections.wait()).await.is_err() {
            drain.expire();
            let _ = tokio::time::timeout(FINAL_RESPONSES, connections.wait()).await;
            abort.cancel();
            // The connections end at their next poll. The records of their requests are then in the log.
            let _ = tokio::time::timeout(LAST_RECORDS, connections.wait()).await;
        }
    }

    /// The next connection, with the caller's address. None once `drain` stops accepting.
    async fn accept(
        &self,
        drain: &Drain,
        errors: &mut AcceptErrors,
    ) -> Option<(Stream, Option<SocketAddr>, Connection)> {
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
                    open = self.policy.connections.enter(address.and_then(|address| Network::of(address.ip()))) => match open {
                        Some(open) => return Some((stream, address, open)),
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
                        self.policy.connections.close_longest_idle();
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
