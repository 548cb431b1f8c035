//! Assembly: a configuration in, a running gateway out.

mod changes;
mod config_file;
mod export;
mod parts;
mod readiness;
mod reload;
mod reload_state;
mod route;
mod status;
mod tasks;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(test, fuzzing))]
pub(crate) use self::parts::route_alone;
pub use self::reload::{ReloadError, ReloadReport, Reloader};
pub use self::reload_state::{LastReload, Trigger};
pub use crate::gateway::access_log::{
    Attempt, Attempts, KeyCheck, Observer, Outcome, Phase, PhaseSpan, Phases, Record,
};
pub use crate::gateway::request::trace_context::{SpanId, TraceContext, TraceId};
pub use crate::gateway::response::refusal::{Code, Row};
pub use crate::upstream::{Connector, ProviderPeer};
use prometheus_client::registry::Registry;

use self::export::Export;
use self::parts::{Context, Prepared};
use self::reload_state::ReloadMetrics;
use self::tasks::{BackgroundTasks, TasksGuard};
use crate::admin::Admin;
use crate::clock::{Clock, Jitter};
use crate::config::{Config, ConfigSource};
use crate::gateway::Gateway;
use crate::gateway::callers::{BadCallers, BadTokenKey};
use crate::gateway::generation::Current;
use crate::gateway::metrics::counters::Counters;
use crate::gateway::metrics::{MetricsCollector, ProcessMetrics};
use crate::gateway::server::drain::Drain;
use crate::gateway::server::tls;
use crate::secret::UnreadableSecret;
use crate::socket::Address;
use crate::status::History;
use crate::telemetry::LogMetrics;
use crate::upstream::ConnectorError;

/// A gateway whose listeners are bound. It serves requests once [`run`](Self::run) is called.
#[derive(Debug)]
pub struct App {
    gateway: Gateway,
    admin: Admin,
    current: Current,
    drain: Drain,
    background_tasks: TasksGuard,
    reloader: Reloader,
    export: Export,
}

/// What a test or an embedding program can replace.
#[derive(Clone)]
pub struct Dependencies {
    /// The clock of keys, credentials and access records.
    pub clock: Clock,
    /// The random spread of refresh and retry times.
    pub jitter: Jitter,
    /// Called with the record of each finished request, in addition to the log.
    pub observers: Vec<Observer>,
    /// Where a reload reads the configuration. If none, a reload keeps it, and reads only its files again.
    pub source: Option<Arc<ConfigSource>>,
}

impl Default for Dependencies {
    fn default() -> Self {
        Self { clock: Clock::system(), jitter: Jitter::random(), observers: Vec::new(), source: None }
    }
}

/// Why the gateway cannot be built. All variants except [`Bind`](Self::Bind) are faults of the
/// configuration; an address may become free later.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The certificates, the proxy or the URL of an upstream cannot be used.
    #[error("upstream {name}: {cause}")]
    Upstream {
        /// The upstream's configured name.
        name: String,
        /// The fault.
        cause: ConnectorError,
    },
    /// A caller's keys cannot be read, or two callers have the same key.
    #[error(transparent)]
    Callers(#[from] BadCallers),
    /// `token_key_file` cannot be read.
    #[error("token_key_file: {0}")]
    TokenSecret(#[from] UnreadableSecret),
    /// `token_key_file` has too few bytes for a key.
    #[error("token_key_file: {0}")]
    TokenKey(#[from] BadTokenKey),
    /// The listener's certificate, key or client CA cannot be used.
    #[error("listen.tls: {0}")]
    Tls(tls::TlsError),
    /// The certificates to verify the collector of spans with cannot be used.
    #[cfg(feature = "otlp")]
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE: {0}")]
    Collector(ConnectorError),
    /// A variable of OpenTelemetry has no valid value.
    #[cfg(feature = "otlp")]
    #[error(transparent)]
    Traces(#[from] crate::traces::StartError),
    /// Several of these.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Self>),
    /// An address cannot be bound.
    #[error("{what} {address}: {cause}")]
    Bind {
        /// The setting that holds the address.
        what: &'static str,
        /// The configured address.
        address: Address,
        /// The error of the operating system.
        cause: io::Error,
    },
}

impl App {
    /// Binds both listeners and starts to fetch keys and tokens. If the provider is down, this succeeds
    /// all the same: the gateway is not ready then, and keeps trying.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(config: Config, dependencies: Dependencies) -> Result<Self, BuildError> {
        let Dependencies { clock, jitter, mut observers, source } = dependencies;
        let (history, counters) = (History::new(clock.clone()), Counters::default());
        observers.push(history.observer());
        let (drain, tasks) = (Drain::default(), BackgroundTasks::default());
        let (listen, admin) = (config.gateway.listen.address.clone(), config.admin.clone());
        let background_tasks = TasksGuard(tasks.clone());
        let mut metrics = Registry::default();
        let export = Export::start(&config, clock.clone())?;
        export.attach(&mut observers, &mut metrics);
        let context = Context {
            clock: clock.clone(),
            jitter,
            tasks: tasks.clone(),
            history: history.clone(),
            counters: counters.clone(),
            export: export.clone(),
        };
        let parts = Prepared::of(config, None, &context).map_err(BuildError::of)?.start(&context);
        let first = parts.generation(None, &counters);
        let current = Current::new(first, observers, counters.clone(), drain.clone(), clock.clone());
        let bind_error = |what, address| move |cause| BuildError::Bind { what, address, cause };
        let gateway = Gateway::bind(current.clone()).await.map_err(bind_error("listen.address", listen))?;
        let file = source.as_ref().and_then(|source| source.file());
        let reloader = Reloader::new(current.clone(), parts, context, drain.clone(), source);
        metrics.register_collector(Box::new(MetricsCollector::new(counters, current.clone())));
        metrics.register_collector(Box::new(ProcessMetrics));
        metrics.register_collector(Box::new(LogMetrics));
        metrics.register_collector(Box::new(ReloadMetrics(reloader.state())));
        let reporter = status::reporter(history, current.clone(), drain.clone(), reloader.clone());
        tasks.spawn_lasting(reporter.clone().run_checks());
        let checks = readiness::checks(current.clone(), drain.clone());
        let address = admin.address.into();
        let admin = Admin::bind(&admin, checks, metrics, status::pages(&reporter))
            .await
            .map_err(bind_error("admin.address", address))?;
        tasks.spawn_lasting(keep_a_timer_near());
        if let Some(file) = file {
            tasks.spawn_lasting(config_file::follow(file, reloader.clone(), clock));
        }
        Ok(Self { gateway, admin, current, drain, background_tasks, reloader, export })
    }

    /// Returns the address that callers connect to; with port 0 configured, the port that the system
    /// chose.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub fn address(&self) -> io::Result<Address> {
        self.gateway.address()
    }

    /// Returns the address of the admin listener.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.address()
    }

    /// Returns the means to change the configuration, also while the gateway [`run`](Self::run)s.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `shutdown` resolves, and then shuts down in order: the gateway reports not ready,
    /// waits, stops accepting, and lets requests in flight finish. Dropping the future ends at once.
    ///
    /// # Errors
    /// If a background task ended: see [`BackgroundTaskExited`].
    pub async fn run(self, shutdown: impl Future<Output = Shutdown>) -> Result<(), BackgroundTaskExited> {
        let Self { gateway, admin, current, drain, background_tasks, export, .. } = self;
        let draining = async {
            let delay = match shutdown.await {
                Shutdown::AfterDelay => current.generation().config.deadlines.drain_delay,
                Shutdown::Immediate => Duration::ZERO,
            };
            drain.announce();
            tracing::info!(delay_s = delay.as_secs_f64(), "stopping");
            tokio::time::sleep(delay).await;
            drain.close();
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            () = gateway.serve() => Ok(()),
            () = draining => Ok(()),
            () = admin.serve() => Err(BackgroundTaskExited),
            () = background_tasks.0.first_to_end() => Err(BackgroundTaskExited),
        };
        export.flush().await;
        tracing::info!("stopped");
        ended
    }
}

/// Keeps a timer of at most one second. Never returns.
///
/// tokio writes to its event descriptor for each new timer that ends before all others. Without this timer, the
/// deadlines of two of three requests caused such a write when requests came one at a time.
async fn keep_a_timer_near() {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A background task (a refresh, or the admin listener) ended. Without it the gateway would fail later,
/// when keys or tokens expire. The process ends instead, so that a supervisor restarts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a background task of the gateway ended unexpectedly")]
pub struct BackgroundTaskExited;

/// How the gateway is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Report not ready, and keep serving for `drain_delay`: load balancers need time to notice.
    AfterDelay,
    /// Stop accepting at once. Requests in flight may finish. For a person who pressed Ctrl-C.
    Immediate,
}

impl BuildError {
    fn of(mut faults: Vec<Self>) -> Self {
        match faults.pop() {
            Some(only) if faults.is_empty() => only,
            last => {
                faults.extend(last);
                Self::Several(faults)
            }
        }
    }
}
