//! The export of spans, as far as the configuration asks for it and this build can do it.

use prometheus_client::registry::Registry;

use super::BuildError;
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::access_log::Observer;
#[cfg(feature = "otlp")]
use crate::traces::Traces;
#[cfg(feature = "otlp")]
use crate::upstream::Connector;

/// Exports the spans of requests, or does nothing.
#[derive(Debug)]
pub(super) struct Export {
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
}

#[cfg(feature = "otlp")]
impl Export {
    /// Starts the export in the background.
    pub(super) fn start(config: &Config, clock: Clock) -> Result<Self, BuildError> {
        let Some(config) = &config.traces else { return Ok(Self { traces: None }) };
        let client = Connector::new(config.ca_file.as_deref()).and_then(|connector| connector.control_client());
        Ok(Self { traces: Some(Traces::start(config, client.map_err(BuildError::Collector)?, clock)?) })
    }

    /// Adds what the export needs to know about requests, and its metrics.
    pub(super) fn attach(&self, observers: &mut Vec<Observer>, metrics: &mut Registry) {
        if let Some(traces) = &self.traces {
            observers.push(traces.observer());
            metrics.register_collector(Box::new(traces.metrics()));
        }
    }

    /// Waits until all spans are sent, for a limited time.
    pub(super) async fn flush(&self) {
        if let Some(traces) = &self.traces {
            traces.flush().await;
        }
    }
}

/// The configuration asks for no export, because the reader of the configuration knows the build.
#[cfg(not(feature = "otlp"))]
#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the signatures are those with the feature otlp")]
impl Export {
    pub(super) fn start(_: &Config, _: Clock) -> Result<Self, BuildError> {
        Ok(Self {})
    }

    pub(super) fn attach(&self, _: &mut Vec<Observer>, _: &mut Registry) {}

    pub(super) async fn flush(&self) {}
}
