//! The metrics of the gateway.
//!
//! [`counters`] has what is counted: requests, when their access records end, and the events of keys, credentials,
//! connections and callers. The counters belong to the process and outlive a reload of the configuration. Everything else
//! is read at the moment of a scrape from the parts that are in use. So no value is stored twice.
//!
//! Counting a request takes no lock and allocates nothing: [`http`] and [`series`] say how.
//!
//! Labels are bounded: upstreams and callers by all configurations since the start, also by refused ones, and files by the
//! configuration in use. Kids are bounded by the limit of 100 keys per set and to [`MAX_KID`](upstreams::MAX_KID) bytes, and
//! the labels of requests by [`series`]. No label holds a path or a header.
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
use crate::gateway::generation::Current;

/// Collects the metrics of the configuration in use at each scrape.
#[derive(Debug)]
pub(crate) struct MetricsCollector {
    counters: Counters,
    current: Current,
}

impl MetricsCollector {
    #[must_use]
    pub(crate) fn new(counters: Counters, current: Current) -> Self {
        Self { counters, current }
    }
}

impl Collector for MetricsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self { counters, current } = self;
        let generation = current.generation();
        http::encode(counters, &mut encoder)?;
        saturation::encode(&generation.routes, [current.in_flight(), current.open_connections()], &mut encoder)?;
        upstreams::encode(counters, &generation.routes, &mut encoder)?;
        callers::encode(counters, &generation.callers, &mut encoder)?;
        files::encode(&generation, &mut encoder)
    }
}
