//! Assembly: configuration in, running gateway out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use crate::gateway::access_log::{Observer, Outcome, Record};
pub use crate::gateway::response::refusal::{Code, Row};
pub use crate::upstream::Connector;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use crate::admin::{Admin, Check, Checks};
use crate::clock::{Clock, Jitter};
use crate::config::{Config, Upstream};
use crate::credentials::Credentials;
use crate::gateway::callers::{BadCallers, BadTokenKey, Callers, TokenKey};
use crate::gateway::capacity::{self, Capacity, Quota};
use crate::gateway::endpoints;
use crate::gateway::metrics::MetricsCollector;
use crate::gateway::route::{BodyPolicy, Encryption, Route, TokenEndpoint, UnknownKids};
use crate::gateway::server::ListenError;
use crate::gateway::server::drain::Drain;
use crate::gateway::server::socket::Address;
use crate::gateway::server::tls;
use crate::gateway::{self, Gateway};
use crate::keys::Keys;
use crate::secret::UnreadableSecret;
use crate::upstream::{self, ConnectorError};

/// A gateway whose listeners are bound and which serves nobody yet.
#[derive(Debug)]
pub struct App {
    gateway: Gateway,
    admin: Admin,
    drain: Drain,
    drain_delay: Duration,
    background_tasks: JoinSet<()>,
}

/// What a test or an embedding program may steer.
#[derive(Clone)]
pub struct Dependencies {
    /// Time, as keys, tokens and access records see it.
    pub clock: Clock,
    /// Chance, likewise.
    pub jitter: Jitter,
    /// Who is told of each request that is over, beside the log.
    pub observers: Vec<Observer>,
}

impl Default for Dependencies {
    fn default() -> Self {
        Self { clock: Clock::system(), jitter: Jitter::random(), observers: Vec::new() }
    }
}

/// Why there is no gateway. A bad set-up is a fault of the configuration; an address that cannot be
/// bound may mend itself.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The trust set-up of an upstream.
    #[error("upstream {name}: {cause}")]
    Upstream {
        /// Its configured name.
        name: String,
        /// What is wrong.
        cause: ConnectorError,
    },
    /// The callers cannot be told apart.
    #[error(transparent)]
    Callers(#[from] BadCallers),
    /// What emulated tokens are made with cannot be read.
    #[error("token_key_file: {0}")]
    TokenSecret(#[from] UnreadableSecret),
    /// It is no good.
    #[error("token_key_file: {0}")]
    TokenKey(#[from] BadTokenKey),
    /// The listener's certificate, key or client CA.
    #[error("listen.tls: {0}")]
    Tls(tls::TlsError),
    /// An address that cannot be bound.
    #[error("{what} {address}: {cause}")]
    Bind {
        /// Which listener.
        what: &'static str,
        /// The configured address.
        address: Address,
        /// What the system says.
        cause: io::Error,
    },
}

impl App {
    /// Binds both listeners and begins to fetch keys and tokens. That the provider is down is
    /// no reason to fail: the gateway is then not ready, and keeps trying.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(config: Config, dependencies: Dependencies) -> Result<Self, BuildError> {
        let Dependencies { clock, jitter, observers } = dependencies;
        let drain = Drain::default();
        let (mut routes, mut background_tasks) = (Vec::new(), JoinSet::new());
        let wanted: Vec<_> = config.upstreams.iter().map(|upstream| upstream.quota).collect();
        let shares = capacity::divide(&config.gateway.limits, &wanted);
        for (upstream, quota) in config.upstreams.iter().zip(shares) {
            let fault = |cause| BuildError::Upstream { name: upstream.name.clone(), cause };
            let connector = Connector::of(&upstream.upstream).map_err(fault)?;
            routes.push(route(upstream, &connector, quota, &clock, &jitter).map_err(fault)?);
            background_tasks.spawn(connector.run_refresh(clock.clone()));
        }
        let callers = callers(&config.gateway, clock.clone())?;
        let checks = checks(&routes, &drain);
        let listen = config.gateway.listen.address.clone();
        let admin_address = config.admin.address;
        let drain_delay = config.gateway.deadlines.drain_delay;
        let gateway =
            Gateway::bind(config.gateway, callers.clone(), routes.clone(), observers, drain.clone(), clock.clone());
        let gateway = gateway.await.map_err(|error| match error {
            ListenError::Tls(cause) => BuildError::Tls(cause),
            ListenError::Bind(cause) => BuildError::Bind { what: "listen.address", address: listen, cause },
        })?;
        let mut metrics = Registry::default();
        metrics.register_collector(Box::new(MetricsCollector::new(routes.clone(), callers.clone(), gateway.tls())));
        let admin = Admin::bind(&config.admin, checks, metrics).await.map_err(|cause| BuildError::Bind {
            what: "admin.address",
            address: admin_address.into(),
            cause,
        })?;
        background_tasks.spawn(callers.run_refresh());
        for route in routes {
            if let Some(keys) = route.body_policy.keys() {
                background_tasks.spawn(keys.run_refresh());
            }
            background_tasks.spawn(route.credentials.run_refresh());
        }
        if let Some(tls) = gateway.tls() {
            background_tasks.spawn(tls.run_refresh(clock));
        }
        Ok(Self { gateway, admin, drain, drain_delay, background_tasks })
    }

    /// Where callers connect.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<Address> {
        self.gateway.address()
    }

    /// Where health is served.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.address()
    }

    /// Serves until `stop` tells how to end, and then ends in order (see [`Drain`]). Dropping
    /// the future ends at once.
    ///
    /// # Errors
    /// When a part that has no end ended: see [`BackgroundTaskExited`].
    pub async fn run(self, stop: impl Future<Output = Shutdown>) -> Result<(), BackgroundTaskExited> {
        let Self { gateway, admin, drain, drain_delay, mut background_tasks } = self;
        let draining = async {
            let delay = match stop.await {
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

/// A refresher or the admin listener ended. Without it the gateway would die of old keys, or
/// unseen, later; the process ends instead, for a supervisor to start afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the gateway that never ends has ended")]
pub struct BackgroundTaskExited;

/// How a gateway is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Say so first, and serve on for `drain_delay`: a supervisor takes us out of rotation.
    AfterDelay,
    /// Close the door now; what is in flight may finish: a person waits.
    Immediate,
}

fn callers(config: &gateway::Config, clock: Clock) -> Result<Callers, BuildError> {
    let token_key = match &config.token_key {
        Some(source) => TokenKey::shared(&source.read()?)?,
        None => TokenKey::random()?,
    };
    Ok(Callers::new(config.callers.clone(), token_key, clock)?)
}

fn route(
    config: &Upstream,
    connector: &Connector,
    quota: Quota,
    clock: &Clock,
    jitter: &Jitter,
) -> Result<Route, ConnectorError> {
    let control = connector.control_client()?;
    let in_clear = config.encryption == Encryption::Off;
    let upstream = upstream::Upstream::new(&upstream::Config { in_clear, ..config.upstream.clone() }, connector)?;
    let keys = || Keys::new(&config.name, config.keys.clone(), control.clone(), clock.clone(), jitter.clone());
    let body_policy = match upstream.in_clear() {
        Some(permission) => BodyPolicy::Off(permission),
        None if config.encryption == Encryption::RequireSealed => BodyPolicy::RequireSealed(keys().known()),
        None => BodyPolicy::Seal(keys()),
    };
    let credentials =
        Credentials::new(&config.name, config.credentials.clone(), control, clock.clone(), jitter.clone());
    let endpoint = credentials.endpoint().and_then(|endpoint| upstream.path_to(endpoint)).map(Into::into);
    let is_emulated = config.token_endpoint == TokenEndpoint::Emulate;
    Ok(Route {
        name: config.name.as_str().into(),
        prefix: config.prefix.as_str().into(),
        strip_prefix: config.strip_prefix,
        body_policy,
        token_endpoint: config.token_endpoint,
        token_path: endpoint.or_else(|| is_emulated.then(|| endpoints::token::PATH.into())),
        credentials,
        upstream,
        key_refusals: config.key_refusals.as_slice().into(),
        capacity: Capacity::of(quota),
        unknown_kids: UnknownKids::default(),
    })
}

/// Ready is: not stopping, and a key and a token in hand for an upstream.
fn checks(routes: &[Route], drain: &Drain) -> Checks {
    let drain = drain.clone();
    let stopping = move || if drain.is_announced() { Err("the gateway is stopping".to_owned()) } else { Ok(()) };
    Checks { always: Box::new(stopping), upstreams: routes.iter().cloned().map(needs).collect() }
}

fn needs(route: Route) -> Vec<Check> {
    let Route { name, body_policy, credentials, .. } = route;
    let key = {
        let name = name.clone();
        move || match body_policy.keys() {
            Some(keys) => keys.snapshot().usable.map(drop).map_err(|why| format!("{name}: no key: {why}")),
            None => Ok(()),
        }
    };
    let token = move || credentials.snapshot().usable.map(drop).map_err(|why| format!("{name}: no token: {why}"));
    vec![Box::new(key), Box::new(token)]
}

/// Returns when a refresher ends, which only a panic can bring about.
async fn first_to_end(background_tasks: &mut JoinSet<()>) {
    match background_tasks.join_next().await {
        Some(Err(error)) => tracing::error!(%error, "a refresher failed"),
        Some(Ok(())) | None => tracing::error!("a refresher ended"),
    }
}
