//! The export of spans, as far as the configuration asks for it and this build can do it.

#[cfg(feature = "otlp")]
use std::sync::Arc;

#[cfg(feature = "otlp")]
use http::Method;
use prometheus_client::registry::Registry;
#[cfg(feature = "otlp")]
use url::Url;

use super::BuildError;
use crate::clock::Clock;
use crate::config::{Config, Upstream};
#[cfg(feature = "otlp")]
use crate::config::{CredentialsConfig, KeysSource};
#[cfg(feature = "otlp")]
use crate::fetch_history::FetchObserver;
use crate::gateway::access_log::Observer;
use crate::status::UpstreamHistory;
#[cfg(feature = "otlp")]
use crate::traces::{FetchTarget, Traces};
#[cfg(feature = "otlp")]
use crate::upstream::Connector;

/// Exports the spans of requests, or does nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Export {
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
}

#[cfg(feature = "otlp")]
impl Export {
    /// Starts the export in the background.
    pub(super) fn start(config: &Config, clock: Clock) -> Result<Self, BuildError> {
        let sampler = config.gateway.sampler;
        let Some(config) = &config.traces else { return Ok(Self::default()) };
        let client = Connector::new(config.ca_file.as_deref()).and_then(|connector| connector.control_client());
        let client = client.map_err(BuildError::Collector)?;
        Ok(Self { traces: Some(Traces::start(config, sampler.unwrap_or_default(), client, clock)?) })
    }

    /// Follows the fetches for an upstream, and no longer those for the upstream of the same name before a reload.
    /// Files are not fetched, so their reads have no spans.
    pub(super) fn follow(&self, upstream: &Upstream, history: &UpstreamHistory) {
        let key_set = match &upstream.keys.source {
            KeysSource::Url(url) => self.observer("key_set", Method::GET, url, &upstream.name),
            KeysSource::File(_) => None,
        };
        history.keys.fetches.observe(key_set);
        let token = match &upstream.credentials {
            CredentialsConfig::ClientCredentials(credentials) => {
                self.observer("token", Method::POST, &credentials.url, &upstream.name)
            }
            CredentialsConfig::Static(_) | CredentialsConfig::None => None,
        };
        history.renewals.observe(token);
    }

    fn observer(&self, kind: &'static str, method: Method, url: &Url, upstream: &str) -> Option<FetchObserver> {
        let (traces, url) = (self.traces.clone()?, url.as_str().parse().ok()?);
        let target = Arc::new(FetchTarget { kind, method, url, upstream: upstream.to_owned() });
        Some(Arc::new(move |took, failure| traces.fetched(&target, took, failure)))
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
        Ok(Self::default())
    }

    pub(super) fn follow(&self, _: &Upstream, _: &UpstreamHistory) {}

    pub(super) fn attach(&self, _: &mut Vec<Observer>, _: &mut Registry) {}

    pub(super) async fn flush(&self) {}
}
