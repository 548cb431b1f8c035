//! Replaces the configuration while the gateway runs, and reads all files and key sets again.
//!
//! Promise: all or nothing. The new configuration is read and built completely before anything changes. If anything is
//! faulty, the former one stays in use, and the log lists all faults. No connection is closed, and a request that has
//! begun is finished by the configuration that it began with.
//!
//! A requested reload also reads the parts again that have the same settings: secrets, certificates, caller keys and key
//! sets. A secret, a caller key or a client certificate that cannot be read is a fault, so nothing is reloaded. If only the
//! listener's certificate or a key set cannot be read, this part alone keeps its former value. Between reloads this is
//! true for all of them.
//!
//! Flags and environment variables keep their precedence. The process cannot change them, so they are as at the start.
//!
//! The hard case is many requests for a reload at once. One runs at a time. All that arrive before it begins share its
//! result, and the next one begins at the earliest after [`INTERVAL`], so the provider's key sets are not fetched
//! without limit.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::BuildError;
use super::changes;
use super::lifecycle::{Lifecycle, LifecycleEvent};
use super::parts::{Context, Parts, Prepared};
use super::reload_state::{LastReload, ReloadState, Trigger};
use crate::admin;
use crate::config::{Config, ConfigSource, Origins};
use crate::gateway::generation::Current;
use crate::gateway::server::drain::Drain;
use crate::watched_files::{Change, PollOutcome};

/// The shortest time between the starts of two reloads.
const INTERVAL: Duration = Duration::from_secs(1);

/// The limit for reading the configuration and the files that it names. A network file system may hang.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// Reloads the configuration of a gateway. Clones share the gateway.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    current: Current,
    admin: admin::Settings,
    context: Context,
    drain: Drain,
    source: Option<Arc<ConfigSource>>,
    lifecycle: Lifecycle,
    state: Arc<ReloadState>,
    /// Locked during a reload.
    running: Mutex<Running>,
    /// How many reloads have begun.
    begun: AtomicU64,
    /// Locked while files are read. A read that hangs keeps it.
    reading: Arc<Mutex<()>>,
}

struct Running {
    parts: Arc<Parts>,
    last_start: Option<Instant>,
}

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// The settings, upstreams, callers, files and key sets that have changed.
    pub changed: Vec<String>,
    /// The number of files, credentials and key sets that were read again and have not changed.
    pub unchanged: usize,
    /// The settings that have changed and keep their former values until a restart.
    pub needs_restart: Vec<String>,
    /// The files, credentials and key sets that could not be read. Those that were in use before keep their former values.
    pub failed: Vec<String>,
}

/// Why nothing was reloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// A shutdown has begun.
    #[error("the gateway is stopping")]
    Stopping,
    /// The new configuration has faults. The former one stays in use.
    #[error("the configuration is faulty: {}", .0.join("; "))]
    Faulty(Vec<String>),
}

impl Reloader {
    pub(super) fn new(
        current: Current,
        admin: admin::Settings,
        parts: Parts,
        context: Context,
        drain: Drain,
        source: Option<Arc<ConfigSource>>,
        lifecycle: Lifecycle,
    ) -> Self {
        Self(Arc::new(Inner {
            current,
            admin,
            context,
            drain,
            source,
            lifecycle,
            state: Arc::default(),
            running: Mutex::new(Running { parts: Arc::new(parts), last_start: None }),
            begun: AtomicU64::new(0),
            reading: Arc::default(),
        }))
    }

    /// Reads the configuration again from its file, with the flags and variables of the process, and puts it into use.
    /// If the gateway was built without a [`ConfigSource`], the configuration stays, and its files are read again.
    ///
    /// The reload goes on if the returned future is dropped.
    ///
    /// # Errors
    /// See [`ReloadError`]. Nothing has changed then.
    pub async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        self.spawned(Trigger::Request, None).await
    }

    /// Puts `config` into use. For tests, and for programs that embed a gateway.
    ///
    /// # Errors
    /// See [`ReloadError`]. Nothing has changed then.
    pub async fn apply(&self, config: Config) -> Result<ReloadReport, ReloadError> {
        self.spawned(Trigger::Request, Some(config)).await
    }

    /// The last reload.
    #[must_use]
    pub fn last(&self) -> Arc<LastReload> {
        self.0.state.last()
    }

    /// Where a reload reads the configuration, if anywhere.
    pub(super) fn source(&self) -> Option<&ConfigSource> {
        self.0.source.as_deref()
    }

    pub(super) fn state(&self) -> Arc<ReloadState> {
        Arc::clone(&self.0.state)
    }

    /// Reloads if the configuration differs from the one in use. A fault is logged once, until another result follows.
    pub(super) async fn reload_if_changed(&self) -> Result<(), ReloadError> {
        self.spawned(Trigger::File, None).await.map(drop)
    }

    async fn spawned(&self, trigger: Trigger, config: Option<Config>) -> Result<ReloadReport, ReloadError> {
        let reloader = self.clone();
        let reload = tokio::spawn(async move { reloader.0.reload(trigger, config).await });
        reload.await.unwrap_or_else(|error| Err(ReloadError::Faulty(vec![format!("the reload failed: {error}")])))
    }
}

impl Inner {
    async fn reload(&self, trigger: Trigger, config: Option<Config>) -> Result<ReloadReport, ReloadError> {
        let is_requested = trigger == Trigger::Request;
        let reads_files = config.is_none();
        let begun = self.begun.load(Ordering::Acquire);
        let mut running = self.running.lock().await;
        if self.drain.is_announced() {
            return Err(self.stopping(trigger));
        }
        if reads_files && is_requested && self.begun.load(Ordering::Acquire) > begun {
            // A whole reload has run since this one was requested.
            return self.state.last().outcome.clone();
        }
        if let Some(last) = running.last_start {
            tokio::time::sleep_until(last + INTERVAL).await;
        }
        running.last_start = Some(Instant::now());
        if reads_files && is_requested {
            self.begun.fetch_add(1, Ordering::AcqRel);
        }
        // A panic is a failed reload: otherwise the observer would wait for the end for ever.
        let reload = AssertUnwindSafe(self.reload_now(&mut running.parts, trigger, config)).catch_unwind();
        reload.await.unwrap_or_else(|_| {
            let fault = "the reload ended because of a defect of the gateway; the log has a line about the panic";
            self.ended(trigger, Err(ReloadError::Faulty(vec![fault.to_owned()])))
        })
    }

    async fn reload_now(
        &self,
        parts: &mut Arc<Parts>,
        trigger: Trigger,
        config: Option<Config>,
    ) -> Result<ReloadReport, ReloadError> {
        let is_requested = trigger == Trigger::Request;
        if is_requested {
            self.lifecycle.notify(LifecycleEvent::Reloading);
        }
        let last = self.state.last();
        let next = self.prepare(Arc::clone(parts), trigger, last.outcome.is_err(), config).await;
        let next = next.map_err(ReloadError::Faulty);
        match &next {
            Ok(None) if last.outcome.is_ok() => return Ok(ReloadReport::default()),
            // A fault is reported once, until another result follows.
            Err(error) if !is_requested && last.outcome.as_ref() == Err(error) => return Err(error.clone()),
            _ => {}
        }
        if !is_requested {
            // Only now: a check of a file that has not changed is no reload.
            self.lifecycle.notify(LifecycleEvent::Reloading);
        }
        let outcome = match next {
            Ok(Some(next)) => self.put_into_use(parts, trigger, next).await,
            // The file is again the one in use, so the failure is over.
            Ok(None) => Ok(ReloadReport::default()),
            Err(error) => Err(error),
        };
        if outcome == Err(ReloadError::Stopping) {
            return Err(self.stopping(trigger));
        }
        self.ended(trigger, outcome)
    }

    fn stopping(&self, trigger: Trigger) -> ReloadError {
        if trigger == Trigger::Request {
            tracing::info!("not reloaded: the gateway is stopping");
        }
        ReloadError::Stopping
    }

    /// Records and reports `outcome`, and returns it.
    fn ended(&self, trigger: Trigger, outcome: Result<ReloadReport, ReloadError>) -> Result<ReloadReport, ReloadError> {
        self.state.record(trigger, outcome.clone());
        log(&outcome);
        self.lifecycle.notify(LifecycleEvent::Reloaded(&outcome));
        outcome
    }

    /// # Errors
    /// If a shutdown has begun meanwhile.
    async fn put_into_use(
        &self,
        parts: &mut Arc<Parts>,
        trigger: Trigger,
        next: NextParts,
    ) -> Result<ReloadReport, ReloadError> {
        let NextParts { prepared, origins, mut changed, needs_restart } = next;
        let next = prepared.start(&self.context);
        let mut outcomes = next.first_fetches().await;
        if self.drain.is_announced() {
            return Err(ReloadError::Stopping);
        }
        // From here to the end of the replacement nothing waits. A request gets one stack, the former or the new one. A
        // connection that is accepted at this moment can have the new TLS and a first request with the former stack.
        self.current.replace(next.generation(Some(&self.current.generation()), &self.context.counters));
        self.admin.replace(next.config.admin.clone());
        *parts = Arc::new(next);
        if let (Some(source), Some(origins)) = (&self.source, origins) {
            source.came_into_use(origins);
        }
        if trigger == Trigger::Request {
            outcomes.extend(parts.reread().await);
        }
        outcomes.sort_by(|one, other| one.name.cmp(&other.name));
        let (mut unchanged, mut failed) = (0, Vec::new());
        for PollOutcome { name, result } in outcomes {
            match result {
                Ok(Change::InUse) => changed.push(name),
                Ok(Change::None) => unchanged += 1,
                Err(error) => failed.push(format!("{name}: {error}")),
            }
        }
        Ok(ReloadReport { changed, unchanged, needs_restart, failed })
    }

    /// Reads the next configuration, unless it is given, and prepares its parts. `None` if a changed file has the
    /// configuration in use.
    async fn prepare(
        &self,
        parts: Arc<Parts>,
        trigger: Trigger,
        has_failed: bool,
        config: Option<Config>,
    ) -> Result<Option<NextParts>, Vec<String>> {
        let Ok(turn) = Arc::clone(&self.reading).try_lock_owned() else {
            return Err(vec!["an earlier read of the configuration and its files has not ended".to_owned()]);
        };
        let (source, context) = (self.source.clone(), self.context.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let next = NextParts::prepare(config, source.as_deref(), &parts, (trigger, has_failed), &context);
            drop(turn);
            next
        });
        match tokio::time::timeout(READ_LIMIT, reading).await {
            Ok(Ok(next)) => next,
            Ok(Err(error)) => Err(vec![format!("the configuration could not be read: {error}")]),
            Err(_) => {
                let limit = READ_LIMIT.as_secs();
                Err(vec![format!("the configuration and its files could not be read within {limit} s")])
            }
        }
    }
}

struct NextParts {
    prepared: Prepared,
    /// Of the configuration, if it was read.
    origins: Option<Origins>,
    changed: Vec<String>,
    needs_restart: Vec<String>,
}

impl NextParts {
    fn prepare(
        config: Option<Config>,
        source: Option<&ConfigSource>,
        used: &Parts,
        (trigger, has_failed): (Trigger, bool),
        context: &Context,
    ) -> Result<Option<Self>, Vec<String>> {
        let (mut config, loaded) = match (config, source) {
            (Some(config), _) => (config, None),
            (None, Some(source)) => {
                let loaded =
                    source.read().map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
                (loaded.config.clone(), Some(loaded))
            }
            (None, None) => (used.config.clone(), None),
        };
        let needs_restart = changes::keep_until_restart(&used.config, &mut config);
        changes::check_access(&needs_restart, &used.config, &config).map_err(|fault| vec![fault])?;
        let changed = changes::changed(&used.config, &config);
        let is_in_use = trigger == Trigger::File && changed.is_empty() && needs_restart.is_empty();
        if is_in_use && !has_failed {
            return Ok(None);
        }
        let prepared = Prepared::of(config, Some(used), context)
            .map_err(|faults| faults.iter().map(BuildError::to_string).collect::<Vec<_>>())?;
        if is_in_use {
            // The last reload has failed, and now all files that the configuration names can be used.
            return Ok(None);
        }
        // After all that can fail: a faulty file is read every ten seconds.
        if let Some(loaded) = &loaded {
            loaded.warn();
        }
        Ok(Some(Self { prepared, origins: loaded.map(|loaded| loaded.summary.origins()), changed, needs_restart }))
    }
}

fn log(outcome: &Result<ReloadReport, ReloadError>) {
    let ReloadReport { changed, unchanged, needs_restart, failed } = match outcome {
        Ok(report) => report,
        Err(error) => {
            let error = error.to_string();
            return tracing::error!(error, "not reloaded; the former configuration stays in use");
        }
    };
    let (changed, needs_restart, failed) = (changed.join(", "), needs_restart.join(", "), failed.join("; "));
    if failed.is_empty() && needs_restart.is_empty() {
        tracing::info!(changed, unchanged, "reloaded");
    } else {
        tracing::warn!(
            changed,
            unchanged,
            needs_restart,
            failed,
            "reloaded; settings that need a restart keep their former values, and parts that failed are tried again"
        );
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("last", &self.last()).finish_non_exhaustive()
    }
}
