//! Processes requests, from the accepted connection to the relayed response.
//!
//! The modules, in the order in which a request meets them:
//!
//! | module | what it does |
//! |---|---|
//! | [`server`] | accepts connections, TLS, HTTP, and the orderly shutdown |
//! | [`stack`] | wraps each request; start reading here |
//! | [`exchange`] | processes one request: admit, choose key, seal, add credential, send, relay |
//! | [`request`] | checks a request and decides which parts of it are forwarded |
//! | [`callers`] | authenticates callers and applies their rules and limits |
//! | [`route`] | holds one configured upstream with its keys, credential and capacity |
//! | [`capacity`] | limits the requests and the buffered bytes of each upstream |
//! | [`permits`] | limits how much of something is in use, and says how much is |
//! | [`endpoints`] | answers token requests and key-set requests itself |
//! | [`response`] | relays the provider's reply, and turns a refusal into a response |
//! | [`access_log`] | records each request |
//! | [`metrics`] | collects the metrics of all parts |
//!
//! [`config`] has the settings of the listener, the limits and the deadlines, with their defaults.

pub(crate) mod access_log;
pub(crate) mod callers;
pub(crate) mod capacity;
pub(crate) mod config;
pub(crate) mod endpoints;
pub(crate) mod exchange;
pub(crate) mod metrics;
pub(crate) mod permits;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod route;
pub(crate) mod server;
pub(crate) mod stack;

use std::io;

use access_log::{Observer, Observers};
use callers::Callers;
pub(crate) use config::{Config, Deadlines, Limits, Listen};
use exchange::Exchange;
use metrics::counters::Counters;
use permits::Permits;
use request::admit::Admission;
use route::{Route, Routes};
use server::connections::Connections;
use server::drain::Drain;
use server::socket::Address;
use server::tls::ServerTls;
use server::{ListenError, Listener};
use stack::Stack;

use crate::clock::Clock;

/// A gateway whose listener is bound. It serves requests once [`serve`](Self::serve) is called.
#[derive(Debug)]
pub(crate) struct Gateway {
    listener: Listener,
    exchange: Exchange,
    config: Config,
    observers: Observers,
    in_flight: Permits,
    drain: Drain,
    clock: Clock,
}

impl Gateway {
    /// Binds the listener. `counters` and `observers` receive the record of each finished request.
    ///
    /// # Errors
    /// If the address cannot be bound, or the TLS files cannot be used.
    pub(crate) async fn bind(
        config: Config,
        callers: Callers,
        routes: Vec<Route>,
        observers: Vec<Observer>,
        counters: Counters,
        drain: Drain,
        clock: Clock,
    ) -> Result<Self, ListenError> {
        let listener = Listener::bind(&config.listen, &config.deadlines).await?;
        let admission = Admission::new(callers, Routes::new(routes), config.deadlines.body);
        let exchange = Exchange::new(admission, clock.clone());
        let observers = Observers::new(config.access_log, observers, counters);
        let in_flight = Permits::new(config.limits.in_flight);
        Ok(Self { listener, exchange, config, observers, in_flight, drain, clock })
    }

    /// The address in use. If port 0 is configured, it has the port that the system chose.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.listener.address()
    }

    /// The listener's TLS, if it has any. The caller must run [`ServerTls::run_refresh`].
    #[must_use]
    pub(crate) fn tls(&self) -> Option<ServerTls> {
        self.listener.tls()
    }

    /// The connections of callers.
    #[must_use]
    pub(crate) fn connections(&self) -> Connections {
        self.listener.connections()
    }

    /// The permits of requests in flight.
    #[must_use]
    pub(crate) fn in_flight(&self) -> Permits {
        self.in_flight.clone()
    }

    /// Serves until the drain stops accepting and the requests in flight are finished.
    pub(crate) async fn serve(self) {
        let Self { listener, exchange, config, observers, in_flight, drain, clock } = self;
        let Deadlines { exchange: exchange_deadline, drain: drain_deadline, .. } = config.deadlines;
        let stack = Stack::new(exchange, in_flight, exchange_deadline, observers, drain.clone(), clock);
        listener.serve(stack, drain, drain_deadline).await;
    }
}
