//! The outcome of the last reload, and the metrics of reloads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::reload::{ReloadError, ReloadReport};

/// Why a reload began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The start of the process.
    Start,
    /// A signal, a request at the admin listener, or an embedding program.
    Request,
    /// The configuration file has changed.
    File,
}

/// The last reload that changed something, was requested, or failed.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When it ended.
    pub at: SystemTime,
    /// Why it began.
    pub trigger: Trigger,
    /// What it did, or why it did nothing.
    pub outcome: Result<ReloadReport, ReloadError>,
}

#[derive(Debug)]
pub(super) struct ReloadState {
    last: ArcSwap<LastReload>,
    /// When a configuration was last put into use.
    last_success: ArcSwap<SystemTime>,
    ok: AtomicU64,
    failed: AtomicU64,
}

impl Default for ReloadState {
    /// The state after the start.
    fn default() -> Self {
        let at = SystemTime::now();
        let last = LastReload { at, trigger: Trigger::Start, outcome: Ok(ReloadReport::default()) };
        Self {
            last: ArcSwap::from_pointee(last),
            last_success: ArcSwap::from_pointee(at),
            ok: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }
}

impl ReloadState {
    pub(super) fn last(&self) -> Arc<LastReload> {
        self.last.load_full()
    }

    pub(super) fn record(&self, trigger: Trigger, outcome: Result<ReloadReport, ReloadError>) {
        let at = SystemTime::now();
        match outcome {
            Ok(_) => {
                self.last_success.store(Arc::new(at));
                self.ok.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
        }
        self.last.store(Arc::new(LastReload { at, trigger, outcome }));
    }
}

/// The metrics of reloads.
#[derive(Debug)]
pub(super) struct ReloadMetrics(pub(super) Arc<ReloadState>);

impl Collector for ReloadMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(state) = self;
        const RELOADS: &str = "Reloads of the configuration, by result";
        let mut reloads =
            encoder.encode_descriptor("jwe_gateway_config_reloads", RELOADS, None, MetricType::Counter)?;
        for (result, count) in [("ok", &state.ok), ("failed", &state.failed)] {
            let labels = [("result", result)];
            ConstCounter::new(count.load(Ordering::Relaxed)).encode(reloads.encode_family(&labels)?)?;
        }
        let name = "jwe_gateway_config_last_reload_successful";
        let help = "1 if the last reload put its configuration into use, or if there was none";
        let successful = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(state.last().outcome.is_ok())).encode(successful)?;
        let name = "jwe_gateway_config_last_reload_success_timestamp_seconds";
        let help = "When the configuration in use was read";
        let timestamp = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let since = state.last_success.load().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        ConstGauge::new(since.as_secs_f64()).encode(timestamp)
    }
}
