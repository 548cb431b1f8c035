//! The open connections: how many there may be, and which one is closed for a new one.
//!
//! At the limit, the connection that has been idle for longest is closed. Otherwise a client that opens connections
//! and sends nothing would keep all other callers out until `head` passes. A connection is idle while none of its
//! requests is in service, also before its first request and during the TLS handshake.
//!
//! The hard case is a request that arrives while its connection is chosen. One lock decides: either the request
//! begins first, and the connection is not idle; or the connection is chosen first, and the request is not processed.
//! If no connection is idle, each caller is asked to close its connection after its current response.
//!
//! A chosen connection may still send the end of its last response, and counts as closing in the meantime. New
//! callers do not wait for it. [`MAX_CLOSING`] limits the closing connections, so that descriptors suffice.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The maximum of connections that are closing, in addition to the open ones.
pub(super) const MAX_CLOSING: usize = 64;

/// The connections of a listener. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    table: Mutex<Table>,
    /// A connection has become idle or has ended.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// The next number, for a connection or for its position among the idle ones.
    next: u64,
    open: HashMap<u64, Entry>,
    /// The idle connections, those that have been idle for longest first.
    idle: BTreeMap<u64, u64>,
    closing: usize,
    /// A new connection waits, and no open one is idle.
    is_waiting: bool,
    /// The log says that the limit is reached.
    is_reported: bool,
}

#[derive(Debug)]
struct Entry {
    exchanges: usize,
    /// The key in [`Table::idle`], while the connection is idle.
    position: u64,
    close: CancellationToken,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, table: Mutex::default(), changed: Notify::new() }))
    }

    /// Adds a connection. At the limit, closes an idle one first, or waits for one.
    pub(super) async fn enter(&self) -> Connection {
        loop {
            if let Some(connection) = self.try_enter() {
                return connection;
            }
            self.0.changed.notified().await;
        }
    }

    /// Closes the connection that has been idle for longest. False if none is idle.
    pub(super) fn close_longest_idle(&self) -> bool {
        self.0.table().close_longest_idle()
    }

    fn try_enter(&self) -> Option<Connection> {
        let limit = self.0.limit;
        let mut table = self.0.table();
        if table.open.len() >= limit {
            table.close_longest_idle();
            table.report_limit(limit);
        } else if table.open.len() < limit - limit / 8 {
            table.is_reported = false;
        }
        table.is_waiting = table.open.len() >= limit;
        if table.is_waiting {
            return None;
        }
        let (id, close) = (table.number(), CancellationToken::new());
        table.open.insert(id, Entry { exchanges: 0, position: id, close: close.clone() });
        table.idle.insert(id, id);
        drop(table);
        Some(Connection { shared: Arc::clone(&self.0), id, close })
    }
}

impl Shared {
    /// The table is whole even if the lock is poisoned: no panic can leave a change half done.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn close_longest_idle(&mut self) -> bool {
        if self.closing >= MAX_CLOSING {
            return false;
        }
        let Some((_, id)) = self.idle.pop_first() else { return false };
        if let Some(entry) = self.open.remove(&id) {
            entry.close.cancel();
            self.closing += 1;
        }
        true
    }

    fn report_limit(&mut self, limit: usize) {
        if !std::mem::replace(&mut self.is_reported, true) {
            tracing::warn!(
                limit,
                "the limit of connections is reached: for each new one, the connection that is idle for longest is closed"
            );
        }
    }
}

/// An open connection. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    id: u64,
    close: CancellationToken,
}

impl Connection {
    /// Begins a request. None if the connection is closing.
    pub(super) fn begin(connection: &Arc<Self>) -> Option<ExchangeGuard> {
        let mut table = connection.shared.table();
        let entry = table.open.get_mut(&connection.id)?;
        entry.exchanges += 1;
        let position = entry.position;
        table.idle.remove(&position);
        Some(ExchangeGuard(Arc::clone(connection)))
    }

    /// Returns once the connection is to be closed for another one.
    pub(super) async fn closing(&self) {
        self.close.cancelled().await;
    }

    /// Whether a new connection waits, and no open one is idle.
    pub(super) fn is_wanted(&self) -> bool {
        self.shared.table().is_waiting
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        match table.open.remove(&self.id) {
            Some(entry) => drop(table.idle.remove(&entry.position)),
            None => table.closing -= 1,
        }
        drop(table);
        self.shared.changed.notify_one();
    }
}

/// A request in service. While there is one, its connection is not idle.
#[derive(Debug)]
pub(super) struct ExchangeGuard(Arc<Connection>);

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        let Connection { shared, id, .. } = &*self.0;
        let mut table = shared.table();
        let position = table.number();
        // A connection with a request in service is never closing.
        let Some(entry) = table.open.get_mut(id) else { return };
        entry.exchanges -= 1;
        if entry.exchanges == 0 {
            entry.position = position;
            table.idle.insert(position, *id);
            drop(table);
            shared.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn enter(connections: &Connections) -> Option<Arc<Connection>> {
        connections.enter().now_or_never().map(Arc::new)
    }

    fn is_closing(connection: &Connection) -> bool {
        connection.closing().now_or_never().is_some()
    }

    #[test]
    fn at_the_limit_the_connection_that_is_idle_for_longest_is_closed() {
        let connections = Connections::new(2);
        let (first, second) = (enter(&connections).unwrap(), enter(&connections).unwrap());
        drop(Connection::begin(&first));
        let third = enter(&connections).unwrap();
        assert_eq!([&first, &second, &third].map(|connection| is_closing(connection)), [false, true, false]);
        assert!(Connection::begin(&second).is_none(), "a closing connection begins no request");
    }

    #[test]
    fn a_connection_with_a_request_in_service_is_not_closed() {
        let connections = Connections::new(1);
        let busy = enter(&connections).unwrap();
        let exchanges = [Connection::begin(&busy).unwrap(), Connection::begin(&busy).unwrap()];
        assert!(enter(&connections).is_none());
        assert!(busy.is_wanted() && !is_closing(&busy));
        drop(exchanges);
        assert!(enter(&connections).is_some());
        assert!(is_closing(&busy) && !busy.is_wanted());
    }

    #[test]
    fn connections_that_are_closing_are_limited_too() {
        let connections = Connections::new(1);
        let mut open: Vec<_> = (0..=MAX_CLOSING).map(|_| enter(&connections).unwrap()).collect();
        assert!(enter(&connections).is_none());
        open.remove(0);
        assert!(enter(&connections).is_some());
    }

    #[tokio::test]
    async fn a_new_connection_waits_until_another_one_is_idle_or_ends() {
        let connections = Connections::new(1);
        let busy = enter(&connections).unwrap();
        let exchange = Connection::begin(&busy);
        let ((), second) = tokio::join!(async { drop(exchange) }, connections.enter());
        let second = Arc::new(second);
        let _exchange = Connection::begin(&second).unwrap();
        drop(busy);
        assert!(enter(&connections).is_none(), "a connection that was closing frees no permit a second time");
    }
}
