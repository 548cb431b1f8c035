//! The open connections: how many there may be, and which one is closed for a new one.
//!
//! At the limit, the connection that has been idle for longest is closed. Otherwise a client that opens connections
//! and sends nothing would keep all other callers out until `head` passes. A connection is idle while none of its
//! requests is in service, also before its first request and during the TLS handshake.
//!
//! The hard case is a request that arrives while its connection is chosen. One lock decides: either the request
//! begins first, and the connection is not idle; or the connection is chosen first, and the request is not processed.
//! If no connection is idle, the next response on each connection asks its caller to close it: by `Connection: close`,
//! or by GOAWAY in HTTP/2. A connection without a response in this time is not asked.
//!
//! One address may have only a part of the connections, so that other addresses can connect. At its own limit, an
//! address loses its own longest idle connection, or is refused. Loopback and unix sockets have no such limit.
//!
//! A chosen connection may still send the end of its last response, and counts as closing in the meantime. New
//! callers do not wait for it. [`MAX_CLOSING`] limits the closing connections, so that descriptors suffice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The maximum of connections that are closing, in addition to the open ones.
pub(super) const MAX_CLOSING: usize = 64;

/// The addresses that one client can be expected to have: one IPv4 address, or the 64 bits of an IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Network {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Network {
    /// The network of a peer. None for loopback, where all callers have the same address.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V4(address) => Some(Self::V4(address)),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Some(Self::V6([a, b, c, d]))
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6([a, b, c, d]) => write!(f, "{}/64", Ipv6Addr::new(*a, *b, *c, *d, 0, 0, 0, 0)),
        }
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    pub(super) all: usize,
    pub(super) per_network: usize,
}

/// The connections of a listener. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<ListenerState>);

#[derive(Debug)]
struct ListenerState {
    table: Mutex<Table>,
    /// A connection has become idle or has ended.
    changed: Notify,
}

#[derive(Debug)]
struct Table {
    limits: ConnectionLimits,
    /// The next number, for a connection or for its position among the idle ones.
    next: u64,
    open: HashMap<u64, Entry>,
    /// The idle connections, those that have been idle for longest first.
    idle: BTreeMap<u64, u64>,
    networks: HashMap<Network, NetworkState>,
    closing: usize,
    /// A new connection waits, and no open one is idle.
    is_waiting: bool,
    /// The log says that the limit is reached.
    is_reported: bool,
}

/// The connections of one network.
#[derive(Debug, Default)]
struct NetworkState {
    open: usize,
    /// The log says that its limit is reached.
    is_reported: bool,
}

#[derive(Debug)]
struct Entry {
    network: Option<Network>,
    exchanges: usize,
    /// The key in [`Table::idle`], while the connection is idle.
    position: u64,
    close: CancellationToken,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let table = Table {
            limits,
            next: 0,
            open: HashMap::new(),
            idle: BTreeMap::new(),
            networks: HashMap::new(),
            closing: 0,
            is_waiting: false,
            is_reported: false,
        };
        Self(Arc::new(ListenerState { table: Mutex::new(table), changed: Notify::new() }))
    }

    /// Changes the limits for new connections. Open ones stay, also beyond a lower limit.
    pub(super) fn limit(&self, limits: ConnectionLimits) {
        self.0.table().limits = limits;
        // A connection that waits may now enter.
        self.0.changed.notify_one();
    }

    /// Adds a connection. At the limit, closes an idle one first, or waits for one. `None` if the network is at its
    /// limit and none of its connections can be closed.
    pub(super) async fn enter(&self, network: Option<Network>) -> Option<Connection> {
        loop {
            match self.try_enter(network) {
                Entrance::Open(connection) => return Some(connection),
                Entrance::Refused => return None,
                Entrance::Full => self.0.changed.notified().await,
            }
        }
    }

    /// Closes the connection that has been idle for longest. False if none is idle.
    pub(super) fn close_longest_idle(&self) -> bool {
        self.0.table().close_longest_idle(|_| true)
    }

    fn try_enter(&self, network: Option<Network>) -> Entrance {
        let mut table = self.0.table();
        let ConnectionLimits { all, per_network } = table.limits;
        let mut is_reported = false;
        if let Some(network) = network
            && table.networks.get(&network).is_some_and(|state| state.open >= per_network)
        {
            table.report_network_limit(network, per_network);
            is_reported = true;
            if !table.close_longest_idle(|entry| entry.network == Some(network)) {
                return Entrance::Refused;
            }
        }
        if table.open.len() >= all {
            table.close_longest_idle(|_| true);
            table.report_limit(all);
        } else if table.open.len() < all - all / 8 {
            table.is_reported = false;
        }
        table.is_waiting = table.open.len() >= all;
        if table.is_waiting {
            return Entrance::Full;
        }
        let (id, close) = (table.number(), CancellationToken::new());
        table.open.insert(id, Entry { network, exchanges: 0, position: id, close: close.clone() });
        table.idle.insert(id, id);
        if let Some(network) = network {
            let state = table.networks.entry(network).or_default();
            state.open += 1;
            // If the limit is one, the closed connection was the last one, and the state is a new one.
            state.is_reported |= is_reported;
        }
        drop(table);
        Entrance::Open(Connection { listener: Arc::clone(&self.0), id, close, ask_to_close: Notify::new() })
    }
}

enum Entrance {
    Open(Connection),
    Full,
    Refused,
}

impl ListenerState {
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

    /// Closes the idle connection that `matches` and that has been idle for longest. False if there is none.
    fn close_longest_idle(&mut self, matches: impl Fn(&Entry) -> bool) -> bool {
        if self.closing >= MAX_CLOSING {
            return false;
        }
        let found = self.idle.values().find(|id| self.open.get(*id).is_some_and(&matches)).copied();
        let Some(entry) = found.and_then(|id| self.remove(id)) else { return false };
        self.idle.remove(&entry.position);
        entry.close.cancel();
        self.closing += 1;
        true
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.open.remove(&id)?;
        if let Some(network) = entry.network
            && let Some(state) = self.networks.get_mut(&network)
        {
            state.open -= 1;
            if state.open == 0 {
                self.networks.remove(&network);
            }
        }
        Some(entry)
    }

    fn report_network_limit(&mut self, network: Network, limit: usize) {
        let state = self.networks.entry(network).or_default();
        if !std::mem::replace(&mut state.is_reported, true) {
            let network = network.to_string();
            tracing::warn!(network, limit, "an address has as many connections as connections_per_address allows");
        }
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
    listener: Arc<ListenerState>,
    id: u64,
    close: CancellationToken,
    ask_to_close: Notify,
}

impl Connection {
    /// Begins a request. None if the connection is closing.
    pub(super) fn begin(connection: &Arc<Self>) -> Option<ExchangeGuard> {
        let mut table = connection.listener.table();
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
        self.listener.table().is_waiting
    }

    pub(super) fn ask_to_close(&self) {
        self.ask_to_close.notify_one();
    }

    /// Returns once the caller is to be asked to close the connection.
    pub(super) async fn asked_to_close(&self) {
        self.ask_to_close.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.listener.table();
        match table.remove(self.id) {
            Some(entry) => drop(table.idle.remove(&entry.position)),
            None => table.closing -= 1,
        }
        drop(table);
        self.listener.changed.notify_one();
    }
}

/// A request in service. While there is one, its connection is not idle.
#[derive(Debug)]
pub(super) struct ExchangeGuard(Arc<Connection>);

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        let Connection { listener, id, .. } = &*self.0;
        let mut table = listener.table();
        let position = table.number();
        // A connection with a request in service is never closing.
        let Some(entry) = table.open.get_mut(id) else { return };
        entry.exchanges -= 1;
        if entry.exchanges == 0 {
            entry.position = position;
            table.idle.insert(position, *id);
            drop(table);
            listener.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn connections(limit: usize) -> Connections {
        Connections::new(ConnectionLimits { all: limit, per_network: limit })
    }

    fn enter(connections: &Connections) -> Option<Arc<Connection>> {
        connections.enter(None).now_or_never().flatten().map(Arc::new)
    }

    fn is_closing(connection: &Connection) -> bool {
        connection.closing().now_or_never().is_some()
    }

    #[test]
    fn at_the_limit_the_connection_that_is_idle_for_longest_is_closed() {
        let connections = connections(2);
        let (first, second) = (enter(&connections).unwrap(), enter(&connections).unwrap());
        drop(Connection::begin(&first));
        let third = enter(&connections).unwrap();
        assert_eq!([&first, &second, &third].map(|connection| is_closing(connection)), [false, true, false]);
        assert!(Connection::begin(&second).is_none(), "a closing connection begins no request");
    }

    #[test]
    fn a_connection_with_a_request_in_service_is_not_closed() {
        let connections = connections(1);
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
        let connections = connections(1);
        let mut open: Vec<_> = (0..=MAX_CLOSING).map(|_| enter(&connections).unwrap()).collect();
        assert!(enter(&connections).is_none());
        open.remove(0);
        assert!(enter(&connections).is_some());
    }

    #[tokio::test]
    async fn a_new_connection_waits_until_another_one_is_idle_or_ends() {
        let connections = connections(1);
        let busy = enter(&connections).unwrap();
        let exchange = Connection::begin(&busy);
        let ((), second) = tokio::join!(async { drop(exchange) }, connections.enter(None));
        let second = Arc::new(second.unwrap());
        let _exchange = Connection::begin(&second).unwrap();
        drop(busy);
        assert!(enter(&connections).is_none(), "a connection that was closing frees no permit a second time");
    }

    #[test]
    fn an_address_at_its_limit_loses_its_own_idle_connection_or_is_refused() {
        let connections = Connections::new(ConnectionLimits { all: 10, per_network: 2 });
        let enter = |address: &str| {
            let network = Network::of(address.parse().unwrap());
            connections.enter(network).now_or_never().unwrap().map(Arc::new)
        };
        let other = enter("192.0.2.1").unwrap();
        let (first, second) = (enter("192.0.2.2").unwrap(), enter("192.0.2.2").unwrap());
        let third = enter("192.0.2.2").unwrap();
        assert!(is_closing(&first) && !is_closing(&other), "the other address was idle for longer");
        let exchanges = [Connection::begin(&second), Connection::begin(&third)];
        assert!(enter("192.0.2.2").is_none());
        assert!(enter("192.0.2.1").is_some() && !is_closing(&other));
        drop((second, exchanges));
        assert!(enter("192.0.2.2").is_some());
    }

    #[test]
    fn an_address_with_a_limit_of_one_connection_is_reported_once() {
        let connections = Connections::new(ConnectionLimits { all: 10, per_network: 1 });
        let network = Network::of("192.0.2.1".parse().unwrap());
        let is_reported = || connections.0.table().networks[&network.unwrap()].is_reported;
        let enter = || connections.enter(network).now_or_never().flatten().unwrap();
        let first = enter();
        assert!(!is_reported());
        let second = enter();
        assert!(is_reported());
        drop(first);
        assert!(is_reported());
        drop(second);
        let _third = enter();
        assert!(!is_reported(), "the address had no connection in the meantime");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one_address_and_loopback_has_no_limit() {
        let network = |address: &str| Network::of(address.parse().unwrap());
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_eq!(network("2001:db8:0:1::1").unwrap().to_string(), "2001:db8:0:1::/64");
        for loopback in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(network(loopback), None, "{loopback}");
        }
    }
}
