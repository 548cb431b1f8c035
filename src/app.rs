//! Assembly: a configuration in, a running gateway out.

mod readiness;
mod reload;
mod route;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::reload::Reloader;
pub(crate) use self::route::route;
pub use crate::gateway::access_log::{KeyCheck, Observer, Outcome, Phase, PhaseSpan, Phases, Record};
pub use crate::gateway::response::refusal::{Code, Row};
pub use crate::upstream::Connector;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::clock::{Clock, Jitter};
use crate::config::Config;
use crate::gateway::callers::{BadCallers, BadTokenKey, Callers, TokenKey};
use crate::gateway::capacity;
use crate::gateway::metrics::counters::Counters;
use crate::gateway::metrics::{Current, MetricsCollector, ProcessMetrics};
use crate::gateway::server::ListenError;
use crate::gateway::server::descriptors::limit_to_descriptors;
use crate::gateway::server::drain::Drain;
use crate::gateway::server::socket::Address;
use crate::gateway::server::tls;
use crate::gateway::{self, Gateway};
use crate::secret::UnreadableSecret;
use crate::telemetry::LogMetrics;
use crate::upstream::ConnectorError;

/// A gateway whose listeners are bound. It serves requests once [`run`](Self::run) is called.
#[derive(Debug)]
pub struct App {
    gateway: Gateway,
    admin: Admin,
    drain: Drain,
    drain_delay: Duration,
    background_tasks: JoinSet<()>,
    reloader: Reloader,
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
}

impl Default for Dependencies {
    fn default() -> Self {
        Self { clock: Clock::system(), jitter: Jitter::random(), observers: Vec::new() }
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
    pub async fn build(mut config: Config, dependencies: Dependencies) -> Result<Self, BuildError> {
        let Dependencies { clock, jitter, observers } = dependencies;
        let (drain, counters) = (Drain::default(), Counters::default());
        let (mut routes, mut connectors, mut background_tasks) = (Vec::new(), Vec::new(), JoinSet::new());
        let mut overrides: Vec<_> = config.upstreams.iter().map(|upstream| upstream.quota).collect();
        // First: all limits below follow from the reduced values.
        limit_to_descriptors(&mut config.gateway, &mut overrides);
        let quotas = capacity::divide(&config.gateway.limits, &overrides);
        let concurrent = capacity::default_concurrent(&quotas);
        for (upstream, quota) in config.upstreams.iter().zip(quotas) {
            let fault = |cause| BuildError::Upstream { name: upstream.name.clone(), cause };
            let connector = Connector::of(&upstream.upstream).map_err(fault)?;
            routes.push(route(upstream, &connector, quota, &clock, &jitter, &counters).map_err(fault)?);
            background_tasks.spawn(connector.clone().run_refresh(clock.clone()));
            connectors.push(connector);
        }
        let callers = callers(&config.gateway, concurrent, clock.clone(), &counters)?;
        let checks = readiness::checks(&routes, &drain);
        let listen = config.gateway.listen.address.clone();
        let admin_address = config.admin.address;
        let drain_delay = config.gateway.deadlines.drain_delay;
        let gateway = Gateway::bind(
            config.gateway,
            callers.clone(),
            routes.clone(),
            observers,
            counters.clone(),
            drain.clone(),
            clock.clone(),
        );
        let gateway = gateway.await.map_err(|error| match error {
            ListenError::Tls(cause) => BuildError::Tls(cause),
            ListenError::Bind(cause) => BuildError::Bind { what: "listen.address", address: listen, cause },
        })?;
        let mut metrics = Registry::default();
        let current = Current {
            routes: routes.clone(),
            callers: callers.clone(),
            connectors: connectors.clone(),
            tls: gateway.tls(),
            in_flight: gateway.in_flight(),
            connections: gateway.connections(),
        };
        metrics.register_collector(Box::new(MetricsCollector::new(counters, move || current.clone())));
        metrics.register_collector(Box::new(ProcessMetrics));
        metrics.register_collector(Box::new(LogMetrics));
        let admin = Admin::bind(&config.admin, checks, metrics).await.map_err(|cause| BuildError::Bind {
            what: "admin.address",
            address: admin_address.into(),
            cause,
        })?;
        background_tasks.spawn(callers.clone().run_refresh());
        background_tasks.spawn(keep_a_timer_near());
        for route in routes.clone() {
            if let Some(keys) = route.body_policy.keys() {
                background_tasks.spawn(keys.run_refresh());
            }
            background_tasks.spawn(route.credentials.run_refresh());
        }
        if let Some(tls) = gateway.tls() {
            background_tasks.spawn(tls.run_refresh(clock));
        }
        let reloader = Reloader { routes, connectors, callers, tls: gateway.tls() };
        Ok(Self { gateway, admin, drain, drain_delay, background_tasks, reloader })
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

    /// Returns the means to read changed files and key sets at once, also while the gateway [`run`](Self::run)s.
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
        let Self { gateway, admin, drain, drain_delay, mut background_tasks, .. } = self;
        let draining = async {
            let delay = match shutdown.await {
                Shutdown::AfterDelay => drain_delay,
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
            () = first_to_end(&mut background_tasks) => Err(BackgroundTaskExited),
        };
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

fn callers(
    config: &gateway::Config,
    concurrent: Option<usize>,
    clock: Clock,
    counters: &Counters,
) -> Result<Callers, BuildError> {
    let token_key = match &config.token_key {
        Some(source) => TokenKey::shared(&source.read()?)?,
        None => TokenKey::random()?,
    };
    let mut callers = config.callers.clone();
    for caller in &mut callers {
        caller.concurrent = caller.concurrent.or(concurrent);
    }
    Ok(Callers::new(callers, token_key, clock, counters)?)
}

/// Returns when a refresh task ends, which only a panic can cause.
async fn first_to_end(background_tasks: &mut JoinSet<()>) {
    match background_tasks.join_next().await {
        Some(Err(error)) => tracing::error!(%error, "a background task failed"),
        Some(Ok(())) | None => tracing::error!("a background task ended"),
    }
}
