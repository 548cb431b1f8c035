//! The export of spans of requests and fetches to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! Promise: no request waits for the collector, or is slower if the collector is. The gateway makes no spans while it
//! works on a request. When a request has ended, its [`Record`](crate::gateway::access_log::Record) goes into a queue. So
//! does each fetch of a key set or a token. A task turns them into spans and sends them in batches. If the queue is full,
//! the spans are dropped and counted.
//!
//! The hard case is a collector that accepts connections and does not answer. Each batch then waits for `timeout`, and
//! the queue fills up. At the end of the process, the wait is at most 2 s.
//!
//! Only the standard variables of OpenTelemetry turn the export on. The crates of OpenTelemetry read some of them
//! themselves: those of the collector's address and headers, and those of the resource.
//!
//! Rejected: `tracing-opentelemetry`, which costs spans and their allocations on the path of each request. Also
//! rejected: the batch processor of the SDK, which needs a thread and a blocking client, and does not count what it drops.

#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod fetch;
#[cfg(feature = "otlp")]
mod spans;

use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "otlp")]
pub(crate) use export::{StartError, Traces};
#[cfg(feature = "otlp")]
pub(crate) use fetch::FetchTarget;

/// How long the end of the process waits for spans that are not sent yet.
#[cfg(feature = "otlp")]
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How spans are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The URL that spans are sent to. None: as the variables of OpenTelemetry say.
    pub endpoint: Option<String>,
    /// A PEM file of certificates to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// How many spans wait at most.
    pub max_queue: usize,
    /// How many spans are sent together at most. The spans of the last request in a batch may exceed it.
    pub max_batch: usize,
    /// How long a span waits for others.
    pub delay: Duration,
    /// Limit for sending one batch, with all attempts.
    pub timeout: Duration,
}

impl Default for Config {
    /// The defaults of OpenTelemetry's batch processor.
    fn default() -> Self {
        Self {
            endpoint: None,
            ca_file: None,
            max_queue: 2048,
            max_batch: 512,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }
}
