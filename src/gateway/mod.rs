//! The callers' side, in the order in which a request meets it.
//!
//! | module | question it answers |
//! |---|---|
//! | [`server`] | who can connect, and for how long |
//! | [`stack`], [`middleware`] | what wraps a request |
//! | [`exchange`] | what is done to a request |
//! | [`callers`] | who may send what, and how fast |
//! | [`request`] | what of a request may be forwarded |
//! | [`route`], [`capacity`] | which upstream serves it, and how many requests at once |
//! | [`endpoints`] | what the gateway answers itself |
//! | [`response`] | how a reply, or a refusal, gets back to the caller |
//! | [`access_log`], [`metrics`] | what is recorded |

pub(crate) mod access_log;
pub(crate) mod callers;
pub(crate) mod capacity;
pub(crate) mod config;
pub(crate) mod endpoints;
pub(crate) mod exchange;
pub(crate) mod metrics;
pub(crate) mod middleware;
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
use request::admit::Admission;
use route::{Route, Routes};
use server::drain::Drain;
use server::socket::Address;
use server::tls::ServerTls;
use server::{ListenError, Listener};

use crate::clock::Clock;

/// The downstream side, bound and ready to serve.
#[derive(Debug)]
pub(crate) struct Gateway {
    listener: Listener,
    exchange: Exchange,
    config: Config,
    observers: Observers,
    drain: Drain,
    clock: Clock,
}

impl Gateway {
    /// Binds the listener, for `callers` to `providers`. `observers` are told of each request that is over.
    ///
    /// # Errors
    /// When the address cannot be bound, or the TLS files cannot be used.
    pub(crate) async fn bind(
        config: Config,
        callers: Callers,
        routes: Vec<Route>,
        observers: Vec<Observer>,
        drain: Drain,
        clock: Clock,
    ) -> Result<Self, ListenError> {
        let listener = Listener::bind(&config.listen, &config.deadlines).await?;
        let admission = Admission::new(callers, Routes::new(routes), config.deadlines.body);
        let exchange = Exchange::new(admission, clock.clone());
        Ok(Self { listener, exchange, config, observers: Observers::new(observers), drain, clock })
    }

    /// The address in use.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.listener.address()
    }

    /// The listener's TLS, if it has any: somebody must run its [`ServerTls::run_refresh`].
    #[must_use]
    pub(crate) fn tls(&self) -> Option<ServerTls> {
        self.listener.tls()
    }

    /// Serves until the drain it was bound with closes the door and what was in flight is done.
    pub(crate) async fn serve(self) {
        let Deadlines { exchange, drain, .. } = self.config.deadlines;
        let in_flight = self.config.limits.in_flight;
        let stack = stack::stack(self.exchange, in_flight, exchange, self.observers, self.drain.clone(), self.clock);
        self.listener.serve(stack, self.drain, drain).await;
    }
}
