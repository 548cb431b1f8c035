//! The queue of ended requests, and the task that sends their spans.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::fetch::{Fetch, FetchTarget};
use super::{Config, FLUSH_LIMIT, spans};
use crate::clock::Clock;
use crate::failure_log::FailureLog;
use crate::fetch_counters::FailureReason;
use crate::gateway::access_log::{Observer, Record};
use crate::gateway::request::trace_context::{Sampler, TraceContext};

/// Why no spans can be exported. It has no value of a setting: a URL can contain a password.
#[derive(Debug, thiserror::Error)]
#[error("the export of spans cannot start: {0}")]
pub struct StartError(String);

impl From<ExporterBuildError> for StartError {
    fn from(error: ExporterBuildError) -> Self {
        let text = error.to_string();
        // A URL that cannot be parsed has no known host, so nothing of it is shown.
        let parts = text.split_once("invalid endpoint '");
        match parts.and_then(|(setting, rest)| Some((setting, rest.rsplit_once('\'')?.1))) {
            Some((setting, reason)) => Self(format!("{setting}invalid endpoint{reason}")),
            None => Self(text),
        }
    }
}

/// The export of spans. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Traces {
    sender: mpsc::UnboundedSender<Message>,
    counters: Arc<Counters>,
    max_queue: usize,
    sampler: Sampler,
}

#[derive(Debug)]
enum Message {
    Ended(Box<Record>),
    Fetched(Box<Fetch>),
    /// Send what is there, and answer.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Counters {
    /// The spans that are not sent yet. The channel is unbounded; `push` drops spans when this count reaches `max_queue`.
    waiting: AtomicUsize,
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl Traces {
    /// Starts the task that sends spans with `client`. It ends when all clones are dropped.
    ///
    /// # Errors
    /// If a variable of OpenTelemetry has no valid value.
    pub(crate) fn start(
        config: &Config,
        sampler: Sampler,
        client: reqwest::Client,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let builder = SpanExporter::builder().with_http().with_http_client(client);
        let builder = match &config.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let mut exporter = builder.build()?;
        exporter.set_resource(&resource());
        let (sender, receiver) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        let sending = Sending { receiver, exporter, counters: Arc::clone(&counters), config: config.clone(), clock };
        tokio::spawn(sending.run());
        Ok(Self { sender, counters, max_queue: config.max_queue, sampler })
    }

    /// Gets the record of each request that has ended.
    pub(crate) fn observer(&self) -> Observer {
        let traces = self.clone();
        Arc::new(move |record| {
            if record.trace.is_some_and(|trace| trace.is_exported) {
                traces.push(spans::count(record), || Message::Ended(Box::new(record.clone())));
            }
        })
    }

    /// Adds the span of a fetch that has just ended. The fetch is a trace of its own.
    pub(crate) fn fetched(&self, target: &Arc<FetchTarget>, took: Duration, failure: Option<FailureReason>) {
        let trace = TraceContext::of(&HeaderMap::new(), Some(self.sampler));
        if let Some(trace) = trace.filter(|trace| trace.is_exported) {
            let ended = SystemTime::now();
            let fetch = || Fetch { target: Arc::clone(target), trace, ended, took, failure };
            self.push(1, || Message::Fetched(Box::new(fetch())));
        }
    }

    pub(crate) fn metrics(&self) -> TraceMetrics {
        TraceMetrics(Arc::clone(&self.counters))
    }

    /// Waits until the spans of all requests that have ended are sent, but at most [`FLUSH_LIMIT`].
    pub(crate) async fn flush(&self) {
        let (sender, flushed) = oneshot::channel();
        let is_sent = self.sender.send(Message::Flush(sender)).is_ok();
        if !is_sent || tokio::time::timeout(FLUSH_LIMIT, flushed).await.is_err() {
            let spans = self.counters.waiting.load(Ordering::Relaxed);
            tracing::warn!(spans, "spans are lost, because the collector did not accept them in time");
        }
    }

    fn push(&self, spans: usize, message: impl FnOnce() -> Message) {
        let waiting = self.counters.waiting.fetch_add(spans, Ordering::Relaxed);
        // The task has ended only if it has panicked.
        if waiting + spans > self.max_queue || self.sender.send(message()).is_err() {
            self.counters.waiting.fetch_sub(spans, Ordering::Relaxed);
            self.counters.dropped.fetch_add(spans as u64, Ordering::Relaxed);
        }
    }
}

/// The task that sends spans.
struct Sending {
    receiver: mpsc::UnboundedReceiver<Message>,
    exporter: SpanExporter,
    counters: Arc<Counters>,
    config: Config,
    clock: Clock,
}

/// The kinds of failures that the log distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Timeout,
    Refused,
}

impl Sending {
    async fn run(mut self) {
        let failures = FailureLog::new();
        while let Some(first) = self.receiver.recv().await {
            let (batch, flushed) = self.gather(first).await;
            if !batch.is_empty() {
                self.export(batch, &failures).await;
            }
            if let Some(flushed) = flushed {
                // The sender may have stopped waiting.
                let _ = flushed.send(());
            }
        }
    }

    /// Collects spans until there are enough, the first one has waited long enough, or a flush is requested.
    async fn gather(&mut self, first: Message) -> (Vec<SpanData>, Option<oneshot::Sender<()>>) {
        let mut batch = Vec::new();
        let deadline = Instant::now() + self.config.delay;
        let mut next = Some(first);
        loop {
            match next {
                Some(Message::Ended(record)) => spans::add(&mut batch, &record),
                Some(Message::Fetched(fetch)) => batch.push(fetch.span()),
                Some(Message::Flush(flushed)) => return (batch, Some(flushed)),
                None => return (batch, None),
            }
            if batch.len() >= self.config.max_batch {
                return (batch, None);
            }
            next = tokio::time::timeout_at(deadline, self.receiver.recv()).await.unwrap_or_default();
        }
    }

    async fn export(&self, batch: Vec<SpanData>, failures: &FailureLog<Failure, ()>) {
        let spans = batch.len();
        let exported = tokio::time::timeout(self.config.timeout, self.exporter.export(batch)).await;
        let counter = match &exported {
            Ok(Ok(())) => &self.counters.exported,
            _ => &self.counters.dropped,
        };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
        self.counters.waiting.fetch_sub(spans, Ordering::Relaxed);
        let (kind, error) = match exported {
            Ok(Ok(())) => {
                if let Some(since) = failures.succeeded() {
                    tracing::info!(%since, "the collector accepts spans again");
                }
                return;
            }
            Ok(Err(error)) => (Failure::Refused, error.to_string()),
            Err(_) => (Failure::Timeout, format!("no answer within {:?}", self.config.timeout)),
        };
        let failure = failures.failed(kind, (), self.clock.now());
        if failure.is_news {
            tracing::warn!(error, since = %failure.since, "the collector does not accept spans; they are dropped");
        }
    }
}

/// What all spans have in common: the attributes of `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and defaults.
fn resource() -> Resource {
    let detected = Resource::builder().build();
    let has = |key: &'static str| detected.get_ref(&Key::from_static_str(key)).is_some();
    let name = detected.get_ref(&Key::from_static_str("service.name")).map(|name| name.as_str().into_owned());
    let mut defaults = Vec::new();
    if name.is_none_or(|name| name.starts_with("unknown_service")) {
        defaults.push(KeyValue::new("service.name", "jwe-gateway"));
    }
    if !has("service.version") {
        defaults.push(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    if !has("service.instance.id") {
        defaults.push(KeyValue::new("service.instance.id", Uuid::new_v4().to_string()));
    }
    Resource::builder().with_attributes(defaults).build()
}

/// The metrics of the export.
#[derive(Debug)]
pub(crate) struct TraceMetrics(Arc<Counters>);

impl Collector for TraceMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, counter) in [
            ("jwe_gateway_trace_spans_exported", "Spans that the collector accepted", &self.0.exported),
            (
                "jwe_gateway_trace_spans_dropped",
                "Spans that were dropped, because the queue was full or the collector did not accept them",
                &self.0.dropped,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(counter.load(Ordering::Relaxed)).encode(metric)?;
        }
        Ok(())
    }
}
