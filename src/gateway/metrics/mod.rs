//! The metrics of the gateway.
//!
//! [`counters`] has what is counted: requests, when their access records end, and the events of keys, credentials,
//! connections and callers. The counters belong to the process and outlive a reload of the configuration. Everything else
//! is read at the moment of a scrape from the parts that are in use. So no value is stored twice.
//!
//! Counting a request takes no lock and allocates nothing: [`http`] and [`series`] say how.
//!
//! Labels are bounded: upstreams, callers and files by the configuration, kids by the limit of 100 keys per set and to
//! [`MAX_KID`](upstreams::MAX_KID) bytes, and the labels of requests by [`series`]. No label holds a path or a header.
//! `docs/operations.md` lists every metric, and a test compares the two.

mod callers;
pub(crate) mod counters;
mod families;
mod files;
mod histogram;
mod http;
mod process;
mod saturation;
mod series;
mod upstreams;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use self::counters::Counters;
pub(crate) use self::process::ProcessMetrics;
use crate::gateway::callers::Callers;
use crate::gateway::permits::Permits;
use crate::gateway::route::Route;
use crate::gateway::server::connections::Connections;
use crate::gateway::server::tls::ServerTls;
use crate::upstream::Connector;

/// The parts that are in use now.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub routes: Vec<Route>,
    pub callers: Callers,
    /// In the order of `routes`.
    pub connectors: Vec<Connector>,
    pub tls: Option<ServerTls>,
    /// The permits of requests in flight.
    pub in_flight: Permits,
    pub connections: Connections,
}

/// Collects the metrics at each scrape.
pub(crate) struct MetricsCollector {
    counters: Counters,
    current: Box<dyn Fn() -> Current + Send + Sync>,
}

impl MetricsCollector {
    /// `current` is called at each scrape.
    #[must_use]
    pub(crate) fn new(counters: Counters, current: impl Fn() -> Current + Send + Sync + 'static) -> Self {
        Self { counters, current: Box::new(current) }
    }
}

impl fmt::Debug for MetricsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsCollector").finish_non_exhaustive()
    }
}

impl Collector for MetricsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let current = (self.current)();
        http::encode(&self.counters, &mut encoder)?;
        saturation::encode(&current, &mut encoder)?;
        upstreams::encode(&self.counters, &current.routes, &mut encoder)?;
        callers::encode(&self.counters, &current, &mut encoder)?;
        files::encode(&current, &mut encoder)
    }
}
