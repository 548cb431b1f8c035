//! A generation: what one configuration makes of the gateway. A reload replaces it while requests are in flight.
//!
//! Promise: a request is processed from its start to its end by one generation. It takes the current [`Stack`] when its
//! head has arrived and keeps it, so a reload neither fails a request nor mixes two configurations in one.
//!
//! What must outlive a generation belongs to [`Current`]: the count of requests in flight, the open connections, the
//! observers, and the shutdown.
//!
//! The hard case is a limit that a reload lowers: requests of the former generation still use it. The counts and the
//! permits are therefore shared by all generations, and a lower limit refuses new requests until enough have ended.
//!
//! A connection takes its parts (TLS, deadlines) once, and each request takes its stack. The two are replaced one after
//! the other. So a connection that is accepted at this moment can have the new TLS, and a first request with the former
//! stack.
//!
//! Rejected: one swap for everything that a generation has. With one swap, each request would also load the parts that
//! only a connection needs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::gateway::Config;
use crate::gateway::access_log::{Observer, Observers};
use crate::gateway::callers::Callers;
use crate::gateway::exchange::Exchange;
use crate::gateway::metrics::counters::Counters;
use crate::gateway::permits::Usage;
use crate::gateway::request::admit::Admission;
use crate::gateway::request::via::GatewayId;
use crate::gateway::route::{Route, Routes};
use crate::gateway::server::ConnectionPolicy;
use crate::gateway::server::drain::Drain;
use crate::gateway::server::tls::ServerTls;
use crate::gateway::stack::{CurrentStack, InFlight, Stack};
use crate::upstream::Connector;

/// The parts that one configuration makes.
#[derive(Debug)]
pub(crate) struct Generation {
    /// The settings in use. The limits are those that the limit of file descriptors allows.
    pub config: Config,
    pub routes: Vec<Route>,
    /// The connector of each route.
    pub connectors: Vec<Connector>,
    pub callers: Callers,
    /// The listener's TLS, if it has any.
    pub tls: Option<ServerTls>,
}

/// The generation in use, and what outlives it. Clones share both.
#[derive(Clone)]
pub(crate) struct Current(Arc<Inner>);

struct Inner {
    generation: ArcSwap<Generation>,
    stack: CurrentStack,
    connections: ConnectionPolicy,
    lasting: Lasting,
}

/// What outlives a generation.
struct Lasting {
    observers: Vec<Observer>,
    counters: Counters,
    drain: Drain,
    clock: Clock,
    in_flight: InFlight,
    id: GatewayId,
}

impl Current {
    /// Starts with `first`. `counters` and `observers` receive the record of each finished request.
    #[must_use]
    pub(crate) fn new(
        first: Generation,
        observers: Vec<Observer>,
        counters: Counters,
        drain: Drain,
        clock: Clock,
    ) -> Self {
        let (in_flight, id) = (InFlight::default(), GatewayId::random());
        let lasting = Lasting { observers, counters, drain: drain.clone(), clock, in_flight, id };
        Self(Arc::new(Inner {
            stack: CurrentStack::new(lasting.stack_of(&first)),
            connections: ConnectionPolicy::new(&first.config, first.tls.clone(), drain),
            generation: ArcSwap::from_pointee(first),
            lasting,
        }))
    }

    /// The generation in use. It may be replaced at any time, so a task must not keep it.
    #[must_use]
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.0.generation.load_full()
    }

    /// The requests in flight, of all generations, and their limit.
    #[must_use]
    pub(crate) fn in_flight(&self) -> Usage {
        Usage { used: self.0.lasting.in_flight.count(), limit: self.generation().config.limits.in_flight }
    }

    /// The open connections of callers, and their limit.
    #[must_use]
    pub(crate) fn open_connections(&self) -> Usage {
        self.0.connections.usage()
    }

    /// Puts `next` into use. Requests that begin after this call are processed by it. The callers of this function must
    /// not run at the same time.
    pub(crate) fn replace(&self, next: Generation) {
        let Inner { generation, stack, connections, lasting } = &*self.0;
        connections.replace(&next.config, next.tls.clone());
        stack.replace(lasting.stack_of(&next));
        generation.store(Arc::new(next));
    }

    #[must_use]
    pub(super) fn stack(&self) -> CurrentStack {
        self.0.stack.clone()
    }

    #[must_use]
    pub(super) fn connections(&self) -> ConnectionPolicy {
        self.0.connections.clone()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Current").field(&self.generation()).finish()
    }
}

impl Lasting {
    fn stack_of(&self, generation: &Generation) -> Stack {
        let Self { observers, counters, drain, clock, in_flight, id } = self;
        let Generation { config, routes, callers, .. } = generation;
        let admission = Admission::new(callers.clone(), Routes::new(routes.clone()), config.deadlines.body, id.clone());
        Stack::new(
            Exchange::new(admission, clock.clone()),
            (in_flight.clone(), config.limits.in_flight),
            config.deadlines.exchange,
            config.sampler,
            Observers::new(config.access_log, observers.clone(), counters.clone()),
            drain.clone(),
            clock.clone(),
        )
    }
}
