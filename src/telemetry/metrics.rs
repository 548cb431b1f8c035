//! The metrics of the log.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::LOG;

/// The number of log lines that were dropped since the start.
#[must_use]
pub(crate) fn lines_dropped() -> u64 {
    LOG.get().map_or(0, |log| log.queue.dropped())
}

/// The metrics of the log of this process. All are 0 if it has none.
#[derive(Debug)]
pub(crate) struct LogMetrics;

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let log = LOG.get();
        for (name, help, value) in [
            (
                "jwe_gateway_log_lines_dropped",
                "Log lines that were dropped, because too many were not written yet",
                log.map_or(0, |log| log.queue.dropped()),
            ),
            (
                "jwe_gateway_log_write_errors",
                "Writes to the log that failed",
                log.map_or(0, |log| log.queue.write_errors()),
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}
