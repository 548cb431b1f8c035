//! Assembly: a configuration in, a running gateway out.

mod changes;
mod config_file;
mod export;
mod lifecycle;
mod outcomes;
mod parts;
mod readiness;
mod reload;
mod reload_state;
mod route;
mod status;
mod tasks;
mod verbs;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use self::lifecycle::{LifecycleEvent, LifecycleObserver};
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
use self::lifecycle::Lifecycle;
use self::parts::{Context, Prepared};
use self::reload_state::ReloadMetrics;
use self::tasks::{BackgroundTasks, TasksGuard};
use self::verbs::{Stop, Verbs};
use crate::admin::{self, Admin, Endpoints};
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
pub use crate::socket::InheritedSocket;
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
    stop: Stop,
    lifecycle: Lifecycle,
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
    /// Called when a reload begins or ends, and when the shutdown begins.
    pub lifecycle: Option<LifecycleObserver>,
}

/// The sockets that a service manager has bound. Each must have the configured address.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// For callers.
    pub data: Option<InheritedSocket>,
    /// For the admin listener.
    pub admin: Option<InheritedSocket>,
}

impl Default for Dependencies {
    fn default() -> Self {
        Self { clock: Clock::system(), jitter: Jitter::random(), observers: Vec::new(), source: None, lifecycle: None }
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
    /// A socket of the service manager has another address. The configured one decides whether callers must
    /// authenticate.
    #[error(
        "{what} is {address}, and the service manager passes a socket for {inherited}: use the same address in both, or \
         remove the socket unit"
    )]
    Inherited {
        /// The setting that holds the address.
        what: &'static str,
        /// The configured address.
        address: Address,
        /// The address of the socket.
        inherited: Address,
    },
    /// More users can connect to a unix socket of the service manager than `mode` permits.
    #[error(
        "{what} {address} permits mode {mode:04o}, and the service manager passes a socket with mode {inherited:04o}: set \
         SocketMode={mode:04o} in the socket unit, or change mode"
    )]
    InheritedMode {
        /// The setting that holds the address.
        what: &'static str,
        /// The configured address.
        address: Address,
        /// The configured mode.
        mode: u32,
        /// The mode of the socket's file.
        inherited: u32,
    },
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
        Self::build_on(InheritedSockets::default(), config, dependencies).await
    }

    /// The same with sockets that are bound already. A listener without one binds its address.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build_on(
        sockets: InheritedSockets,
        config: Config,
        dependencies: Dependencies,
    ) -> Result<Self, BuildError> {
        let Dependencies { clock, jitter, mut observers, source, lifecycle } = dependencies;
        let lifecycle = Lifecycle::new(lifecycle);
        let (history, counters) = (History::new(clock.clone()), Counters::default());
        observers.push(history.observer());
        let (drain, tasks) = (Drain::default(), BackgroundTasks::default());
        let (listen, admin) = (config.gateway.listen.address.clone(), config.admin.clone());
        check_inherited("listen.address", sockets.data.as_ref(), &listen)?;
        check_inherited("admin.address", sockets.admin.as_ref(), &admin.address)?;
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
        let gateway =
            Gateway::bind(current.clone(), sockets.data).await.map_err(bind_error("listen.address", listen))?;
        let file = source.as_ref().and_then(|source| source.file());
        let settings = admin::Settings::new(admin.clone());
        let reloader =
            Reloader::new(current.clone(), settings.clone(), parts, context, drain.clone(), source, lifecycle.clone());
        let stop = Stop::default();
        metrics.register_collector(Box::new(MetricsCollector::new(counters, current.clone())));
        metrics.register_collector(Box::new(ProcessMetrics));
        metrics.register_collector(Box::new(LogMetrics));
        metrics.register_collector(Box::new(ReloadMetrics(reloader.state())));
        let reporter = status::reporter(history, current.clone(), drain.clone(), reloader.clone());
        tasks.spawn_lasting(reporter.clone().run_checks());
        let checks = readiness::checks(current.clone(), drain.clone());
        let actions = Arc::new(Verbs { reloader: reloader.clone(), stop: stop.clone() });
        let endpoints = Endpoints { settings, checks, status: status::pages(&reporter), metrics, actions };
        let address = admin.address;
        let admin = Admin::bind(&address, sockets.admin, endpoints)
            .await
            .map_err(bind_error("admin.address", address.clone()))?;
        tasks.spawn_lasting(keep_a_timer_near());
        if let Some(file) = file {
            tasks.spawn_lasting(config_file::follow(file, reloader.clone(), clock));
        }
        Ok(Self { gateway, admin, current, drain, stop, lifecycle, background_tasks, reloader, export })
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
    pub fn admin_address(&self) -> io::Result<Address> {
        self.admin.address()
    }

    /// Returns the means to change the configuration, also while the gateway [`run`](Self::run)s.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `shutdown` resolves or the admin listener is asked to stop. It then shuts down in order: the gateway
    /// reports not ready, waits, stops accepting, and lets requests in flight finish. Dropping the future ends at once.
    ///
    /// # Errors
    /// If a background task ended: see [`BackgroundTaskExited`].
    pub async fn run(self, shutdown: impl Future<Output = Shutdown>) -> Result<(), BackgroundTaskExited> {
        let Self { gateway, admin, current, drain, stop, lifecycle, background_tasks, export, .. } = self;
        let draining = async {
            let how = tokio::select! {
                how = shutdown => how,
                () = stop.requested() => Shutdown::AfterDelay,
            };
            let delay = match how {
                Shutdown::AfterDelay => current.generation().config.deadlines.drain_delay,
                Shutdown::Immediate => Duration::ZERO,
            };
            drain.announce();
            lifecycle.notify(LifecycleEvent::Stopping);
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

fn check_inherited(what: &'static str, socket: Option<&InheritedSocket>, address: &Address) -> Result<(), BuildError> {
    let Some(socket) = socket else { return Ok(()) };
    let bind_error = |cause| BuildError::Bind { what, address: address.clone(), cause };
    let inherited = socket.address().map_err(bind_error)?;
    match (&inherited, address) {
        (&Address::Unix { ref path, mode: inherited }, &Address::Unix { path: ref configured, mode })
            if path == configured =>
        {
            // A stricter mode is safe.
            if inherited & !mode == 0 {
                return Ok(());
            }
            Err(BuildError::InheritedMode { what, address: address.clone(), mode, inherited })
        }
        (inherited, address) if inherited == address => Ok(()),
        _ => Err(BuildError::Inherited { what, address: address.clone(), inherited }),
    }
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
