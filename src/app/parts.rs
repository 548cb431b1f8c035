//! The parts of a generation, and the tasks that keep them fresh.
//!
//! Promise: all or nothing. [`Prepared::of`] does everything that can fail, and starts nothing. What follows cannot fail.
//!
//! A part with unchanged settings is kept, with its task. So a reload fetches no key set and
//! no token without a reason, and the keys of an upstream stay when only its timeouts change. If the connector changes,
//! all parts of the upstream are new.
//!
//! Rejected: a comparison of whole upstreams. A changed rule for replies would then drop a good key set, and a provider
//! that is down at this moment would make the upstream unusable.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::BuildError;
use super::export::Export;
use super::outcomes::{change, first_fetch, joined};
use super::route::route;
use super::tasks::{BackgroundTasks, Task};
use crate::clock::{Clock, Jitter};
use crate::config::{Config, Upstream};
use crate::credentials::Credentials;
use crate::gateway::callers::{self, Callers, TokenKey};
use crate::gateway::capacity::{self, Capacity, Quota};
use crate::gateway::config::Config as GatewayConfig;
use crate::gateway::generation::Generation;
use crate::gateway::metrics::counters::Counters;
use crate::gateway::route::{BodyPolicy, Encryption};
use crate::gateway::server::descriptors::{Reduced, limit_to_descriptors};
use crate::gateway::server::tls::ServerTls;
use crate::gateway::validation::Checks;
use crate::keys::Keys;
use crate::secret::Secret;
use crate::status::History;
use crate::upstream::{self, Connector, ConnectorError, UpstreamClient};
use crate::watched_files::PollOutcome;

/// What parts need to work.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) clock: Clock,
    pub(super) jitter: Jitter,
    pub(super) tasks: BackgroundTasks,
    pub(super) history: History,
    pub(super) counters: Counters,
    pub(super) export: Export,
}

/// The parts of a generation, with their tasks.
pub(super) struct Parts {
    /// The configuration in use, without the reductions of [`limit_to_descriptors`].
    pub(super) config: Config,
    gateway: GatewayConfig,
    upstreams: Vec<UpstreamParts>,
    callers: Refreshed<Callers>,
    caller_settings: CallerSettings,
    tls: Option<Refreshed<ServerTls>>,
}

struct UpstreamParts {
    config: Upstream,
    quota: Quota,
    client: UpstreamClient,
    connector: Refreshed<Connector>,
    body_policy: Refreshed<BodyPolicy>,
    credentials: Refreshed<Credentials>,
    checks: Option<Checks>,
}

/// A part, and the task that keeps it fresh. Clones share both, and the task ends with the last one.
#[derive(Clone)]
struct Refreshed<T> {
    part: T,
    is_new: bool,
    _task: Arc<Task>,
}

/// A part of the next generation.
enum Part<T> {
    Kept(Refreshed<T>),
    New(T),
}

/// The settings that decide whether callers are kept.
#[derive(Clone, PartialEq, Eq)]
struct CallerSettings {
    callers: Vec<callers::Config>,
    /// The content of `token_key_file`.
    token_secret: Option<Secret>,
}

/// The parts of a generation before their tasks are started.
pub(super) struct Prepared {
    config: Config,
    gateway: GatewayConfig,
    reduced: Option<Reduced>,
    upstreams: Vec<PreparedUpstream>,
    callers: Part<Callers>,
    caller_settings: CallerSettings,
    tls: Option<Part<ServerTls>>,
}

struct PreparedUpstream {
    config: Upstream,
    quota: Quota,
    client: UpstreamClient,
    connector: Part<Connector>,
    body_policy: Part<BodyPolicy>,
    credentials: Part<Credentials>,
    checks: Option<Checks>,
}

impl Prepared {
    /// Reads the files of `config`, and takes over the parts of `former` that can stay. Blocks.
    ///
    /// # Errors
    /// All faults, at least one.
    pub(super) fn of(config: Config, former: Option<&Parts>, context: &Context) -> Result<Self, Vec<BuildError>> {
        let (mut faults, mut upstreams) = (Vec::new(), Vec::new());
        let mut gateway = config.gateway.clone();
        let mut overrides: Vec<_> = config.upstreams.iter().map(|upstream| upstream.quota).collect();
        // First: all limits below follow from the reduced values.
        let reduced = limit_to_descriptors(&mut gateway, &mut overrides);
        let quotas = capacity::divide(&gateway.limits, &overrides);
        let concurrent = capacity::default_concurrent(&quotas);
        for (upstream, quota) in config.upstreams.iter().zip(quotas) {
            let former = former.and_then(|former| former.upstream(&upstream.name));
            match PreparedUpstream::of(upstream, quota, former, context) {
                Ok(prepared) => upstreams.push(prepared),
                Err(cause) => faults.push(BuildError::Upstream { name: upstream.name.clone(), cause }),
            }
        }
        let callers = prepare_callers(&gateway, concurrent, former, context).map_err(|fault| faults.push(fault));
        let tls = prepare_tls(&config, former).map_err(|fault| faults.push(fault));
        match (callers, tls) {
            (Ok((callers, caller_settings)), Ok(tls)) if faults.is_empty() => {
                Ok(Self { config, gateway, reduced, upstreams, callers, caller_settings, tls })
            }
            _ => Err(faults),
        }
    }

    /// Starts the tasks of the new parts. The first fetches begin.
    pub(super) fn start(self, context: &Context) -> Parts {
        let Self { config, gateway, reduced, upstreams, callers, caller_settings, tls } = self;
        reduced.into_iter().for_each(Reduced::warn);
        let start = |upstream: PreparedUpstream| {
            let PreparedUpstream { config, quota, client, connector, body_policy, credentials, checks } = upstream;
            context.export.follow(&config, &context.history.upstream(&config.name));
            UpstreamParts {
                config,
                quota,
                client,
                connector: connector.start(context, |connector| connector.run_refresh(context.clock.clone())),
                body_policy: body_policy.start(context, |policy| async move {
                    match policy.keys() {
                        Some(keys) => keys.run_refresh().await,
                        None => std::future::pending().await,
                    }
                }),
                credentials: credentials.start(context, Credentials::run_refresh),
                checks,
            }
        };
        Parts {
            config,
            gateway,
            upstreams: upstreams.into_iter().map(start).collect(),
            callers: callers.start(context, Callers::run_refresh),
            caller_settings,
            tls: tls.map(|tls| tls.start(context, |tls| tls.run_refresh(context.clock.clone()))),
        }
    }
}

impl PreparedUpstream {
    fn of(
        config: &Upstream,
        quota: Quota,
        former: Option<&UpstreamParts>,
        context: &Context,
    ) -> Result<Self, ConnectorError> {
        let read = Connector::of(&config.upstream)?;
        let former = former.filter(|former| {
            let (one, other) = (&former.config.upstream, &config.upstream);
            (&one.ca_file, &one.identity, &one.proxy) == (&other.ca_file, &other.identity, &other.proxy)
                && former.connector.part.trusts_the_same(&read)
        });
        // New parts connect by the connector that has a task: only this one follows its certificate's files.
        let connector = match former {
            Some(former) => Part::Kept(former.connector.clone()),
            None => Part::New(read),
        };
        let keeps = |is_same: fn(&Upstream, &Upstream) -> bool| former.filter(|former| is_same(&former.config, config));
        let (counters, history) = (context.counters.upstream(&config.name), context.history.upstream(&config.name));
        let Context { clock, jitter, .. } = context;
        let control = connector.get().control_client()?;
        let client = match keeps(|one, other| one.upstream == other.upstream && one.encryption == other.encryption) {
            Some(former) => former.client.clone(),
            None => {
                let in_clear = config.encryption == Encryption::Off;
                let counters = Arc::clone(&counters.connections);
                UpstreamClient::new(
                    &upstream::Config { in_clear, ..config.upstream.clone() },
                    connector.get(),
                    counters,
                )?
            }
        };
        let body_policy = match keeps(|one, other| one.keys == other.keys && one.encryption == other.encryption) {
            Some(former) => Part::Kept(former.body_policy.clone()),
            None => {
                let keys = || {
                    let (name, config) = (&config.name, config.keys.clone());
                    let counters = Arc::clone(&counters.keys);
                    let keys = Keys::new(name, config, control.clone(), clock.clone(), jitter.clone(), counters);
                    keys.recorded_in(Arc::clone(&history.keys))
                };
                Part::New(match client.in_clear() {
                    Some(permit) => BodyPolicy::Off(permit),
                    None if config.encryption == Encryption::RequireSealed => {
                        BodyPolicy::RequireSealed(keys().published())
                    }
                    None => BodyPolicy::Seal(keys()),
                })
            }
        };
        let credentials = match keeps(|one, other| one.credentials == other.credentials) {
            Some(former) => Part::Kept(former.credentials.clone()),
            None => {
                let (name, config) = (&config.name, config.credentials.clone());
                let counters = Arc::clone(&counters.credentials);
                let credentials = Credentials::new(name, config, control, clock.clone(), jitter.clone(), counters);
                Part::New(credentials.recorded_in(Arc::clone(&history.renewals)))
            }
        };
        let checks = Checks::of(&config.validation);
        Ok(Self { config: config.clone(), quota, client, connector, body_policy, credentials, checks })
    }
}

/// The route of one upstream, without the tasks that keep its keys and its credential fresh.
#[cfg(any(test, fuzzing))]
pub(crate) fn route_alone(
    config: &Upstream,
    quota: Quota,
    clock: &Clock,
    jitter: &Jitter,
) -> Result<crate::gateway::route::Route, ConnectorError> {
    let context = Context {
        clock: clock.clone(),
        jitter: jitter.clone(),
        tasks: BackgroundTasks::default(),
        history: History::new(clock.clone()),
        counters: Counters::default(),
        export: Export::default(),
    };
    let PreparedUpstream { client, body_policy, credentials, checks, .. } =
        PreparedUpstream::of(config, quota, None, &context)?;
    let counters = context.counters.upstream(&config.name);
    let (policy, credentials) = (body_policy.get().clone(), credentials.get().clone());
    Ok(route(config, client, policy, credentials, Capacity::of(quota), checks, counters))
}

impl<T: Clone> Part<T> {
    fn get(&self) -> &T {
        match self {
            Self::Kept(Refreshed { part, .. }) | Self::New(part) => part,
        }
    }

    fn start<F>(self, context: &Context, refresh: impl FnOnce(T) -> F) -> Refreshed<T>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self {
            Self::Kept(kept) => Refreshed { is_new: false, ..kept },
            Self::New(part) => {
                let task = Arc::new(context.tasks.spawn(refresh(part.clone())));
                Refreshed { part, is_new: true, _task: task }
            }
        }
    }
}

fn prepare_callers(
    config: &GatewayConfig,
    concurrent: Option<usize>,
    former: Option<&Parts>,
    context: &Context,
) -> Result<(Part<Callers>, CallerSettings), BuildError> {
    let mut callers = config.callers.clone();
    for caller in &mut callers {
        caller.concurrent = caller.concurrent.or(concurrent);
    }
    let token_secret = config.token_key.as_ref().map(|source| source.read()).transpose()?;
    let settings = CallerSettings { callers, token_secret };
    if let Some(former) = former.filter(|former| former.caller_settings == settings) {
        return Ok((Part::Kept(former.callers.clone()), settings));
    }
    let token_key = match (&settings.token_secret, former) {
        (Some(secret), _) => TokenKey::shared(secret)?,
        (None, Some(former)) if former.caller_settings.token_secret.is_none() => former.callers.part.token_key(),
        (None, _) => TokenKey::random()?,
    };
    let former = former.map(|former| &former.callers.part);
    let callers = Callers::new(settings.callers.clone(), token_key, context.clock.clone(), &context.counters, former)?;
    Ok((Part::New(callers), settings))
}

fn prepare_tls(config: &Config, former: Option<&Parts>) -> Result<Option<Part<ServerTls>>, BuildError> {
    let Some(files) = &config.gateway.listen.tls else { return Ok(None) };
    let in_use = former.and_then(|former| former.tls.as_ref());
    if let (Some(former), Some(in_use)) = (former, in_use)
        && former.config.gateway.listen.tls.as_ref() == Some(files)
    {
        return Ok(Some(Part::Kept(in_use.clone())));
    }
    let loaded = ServerTls::load(files.clone(), in_use.map(|in_use| &in_use.part)).map_err(BuildError::Tls)?;
    Ok(Some(Part::New(loaded)))
}

impl Parts {
    /// The generation that these parts make. `former` is the one in use: permits of its routes are taken over.
    pub(super) fn generation(&self, former: Option<&Generation>, counters: &Counters) -> Generation {
        let Self { gateway, upstreams, callers, tls, .. } = self;
        let route = |parts: &UpstreamParts| {
            let UpstreamParts { config, quota, client, body_policy, credentials, checks, .. } = parts;
            let former = former.and_then(|former| former.routes.iter().find(|route| *route.name == *config.name));
            let capacity = former.map_or_else(|| Capacity::of(*quota), |route| route.capacity.resized(*quota));
            let (policy, credentials) = (body_policy.part.clone(), credentials.part.clone());
            let counters = counters.upstream(&config.name);
            route(config, client.clone(), policy, credentials, capacity, checks.clone(), counters)
        };
        Generation {
            config: gateway.clone(),
            routes: upstreams.iter().map(route).collect(),
            connectors: upstreams.iter().map(|parts| parts.connector.part.clone()).collect(),
            callers: callers.part.clone(),
            tls: tls.as_ref().map(|tls| tls.part.clone()),
        }
    }

    /// Waits until the new keys and credentials can be used, so that the first request need not wait. Returns those
    /// that cannot.
    pub(super) async fn first_fetches(&self) -> Vec<PollOutcome> {
        let mut fetches = JoinSet::new();
        for UpstreamParts { config, body_policy, credentials, .. } in &self.upstreams {
            if let (true, Some(keys)) = (body_policy.is_new, body_policy.part.keys()) {
                let name = name_of_key_set(config);
                fetches.spawn(first_fetch(name, async move { keys.key_set(false).await.map(drop) }));
            }
            if credentials.is_new {
                let (name, credentials) = (name_of_credential(config), credentials.part.clone());
                fetches.spawn(first_fetch(name, async move { credentials.current().await.map(drop) }));
            }
        }
        joined(fetches).await.into_iter().flatten().collect()
    }

    /// Reads the files and fetches the key sets of the parts that were kept, side by side. A part that cannot be read
    /// keeps its former value.
    pub(super) async fn reread(&self) -> Vec<PollOutcome> {
        let mut parts = JoinSet::new();
        if let Refreshed { part, is_new: false, .. } = &self.callers {
            let callers = part.clone();
            parts.spawn(async move { callers.reread().await });
        }
        if let Some(Refreshed { part, is_new: false, .. }) = &self.tls {
            let tls = part.clone();
            parts.spawn(async move { tls.reread().await });
        }
        for UpstreamParts { config, connector, body_policy, credentials, .. } in &self.upstreams {
            if !connector.is_new {
                let connector = connector.part.clone();
                parts.spawn(async move { connector.reread().await });
            }
            if let (false, Some(keys)) = (body_policy.is_new, body_policy.part.keys()) {
                let name = name_of_key_set(config);
                parts.spawn(async move {
                    let changed = keys.refresh_now().await.map_err(|error| error.to_string());
                    vec![PollOutcome { name, result: changed.map(change) }]
                });
            }
            if !credentials.is_new {
                let (name, credentials) = (name_of_credential(config), credentials.part.clone());
                parts.spawn(async move {
                    let changed = credentials.reread().await.map(|read| read.map_err(|error| error.to_string()));
                    changed.map(|result| PollOutcome { name, result: result.map(change) }).into_iter().collect()
                });
            }
        }
        joined(parts).await.into_iter().flatten().collect()
    }

    fn upstream(&self, name: &str) -> Option<&UpstreamParts> {
        self.upstreams.iter().find(|upstream| upstream.config.name == name)
    }
}

fn name_of_key_set(config: &Upstream) -> String {
    format!("the key set of {}", config.name)
}

fn name_of_credential(config: &Upstream) -> String {
    format!("the credential of {}", config.name)
}
