//! Decides which of the provider's public keys to seal with now.
//!
//! # Which key may be used
//!
//! | cached set | [`Keys::current`] |
//! |---|---|
//! | fresh: younger than its lifetime | returns the key at once, without a lock |
//! | stale: older, but within `max_stale` | returns the key at once; the log reports the failed refresh as an error |
//! | older than that, or no usable key is pinned | fails at once |
//! | none since the start | waits for the fetch under way, at most `first_key_wait` |
//!
//! A stale key is used because it is more often still valid than withdrawn. If it was withdrawn, the provider
//! refuses the message.
//!
//! # When the set is fetched
//!
//! A receiver fetches the key set when it meets an unknown `kid`. A sealer chooses the `kid` itself, so it fetches for
//! three other reasons:
//!
//! 1. [`Keys::run_refresh`] fetches at about 80 % of the lifetime, with or without traffic. After a failure it
//!    backs off, and the last good set stays in use.
//! 2. [`Keys::replacement_for`] is called when the provider may have refused a message because of its key. It fetches
//!    at once and ignores schedule and backoff. A budget limits such fetches: ten at once, then ten per second. If
//!    the budget is empty, the refused requests wait together for the next fetch. If they gave up instead, a rotation
//!    would lose requests.
//! 3. [`Keys::check_in_background`] is called when the provider's refusal seems to have another cause. Nobody waits: the schedule
//!    fetches at once, at most once per second.
//!
//! If the server of the set asks for a wait with `Retry-After`, the schedule waits. [`Keys::replacement_for`] does not.
//!
//! Callers share fetches: see `crate::single_flight`. `confirm.rs` has the fetches after refusals.
//!
//! # Scope
//!
//! One [`Keys`] is one JWK Set of one provider. A fetched set replaces the cached one as a whole. Sets are never
//! merged, so a withdrawn key is gone after the next fetch. A set without a usable key replaces nothing.
//!
//! # Rejected
//!
//! - moka's expiry: it evicts, but a stale key must stay in use, and tests cannot control its clock.
//! - Fetching on the request path when the set is old: every request would wait for the fetch timeout while the
//!   provider is slow.
//! - A cooldown between fetches after refusals: see `crate::rate_limit`.

mod cached_set;
mod config;
mod confirm;
mod counters;
mod document;
mod error;
mod fetch;
pub(crate) mod freshness;
mod history;
mod last_good;
mod published;
mod report;
mod selection;
pub(crate) mod set;
mod snapshot;
mod state;
mod trusted_file;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, OnceCell};

pub use config::{Config, Source};
pub(crate) use confirm::KeyStatus;
pub(crate) use counters::Counters;
pub(crate) use document::KeySetDocument;
pub(crate) use error::{FetchError, FetchErrorKind, NoUsableKey};
pub(crate) use fetch::body as read_key_set;
pub(crate) use history::KeyHistory;
pub(crate) use published::PublishedKeys;
pub(crate) use snapshot::{Entry, EntryState, KeyName, Snapshot};

use crate::clock::{Clock, Jitter};
use crate::jose::EncryptionKey;
use crate::single_flight::SingleFlight;
use cached_set::CachedKeySet;
use fetch::fetch;
use last_good::Saving;
use report::FetchFailures;
use state::{FetchOutcome, KeysState};

/// The keys of one provider. Clones share their state.
#[derive(Clone)]
pub(crate) struct Keys(Arc<KeysInner>);

struct KeysInner {
    name: Arc<str>,
    config: Arc<Config>,
    http: reqwest::Client,
    clock: Clock,
    /// The same set as in `state`, for readers that must not wait for a lock.
    cached: ArcSwapOption<CachedKeySet>,
    state: Mutex<KeysState>,
    fetches: SingleFlight<FetchResult>,
    /// Notified when the time of the next scheduled fetch changes.
    rescheduled: Notify,
    /// Notified when a fetch has ended.
    fetched: Notify,
    restored: OnceCell<()>,
    counters: Arc<Counters>,
    failures: FetchFailures,
    saving: Mutex<Saving>,
    /// Empty in commands that show no status.
    history: OnceLock<Arc<KeyHistory>>,
}

type FetchResult = Result<(), FetchError>;

/// Why a fetch is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The schedule, the first request, or an operator.
    Schedule,
    /// The provider refused a message. Such a fetch uses the budget and bypasses caches.
    Refusal,
}

impl Keys {
    /// Creates the keys of upstream `name`, without I/O. `http` must not follow redirects. The new part
    /// continues the counts in `counters`.
    #[must_use]
    pub(crate) fn new(
        name: &str,
        config: Config,
        http: reqwest::Client,
        clock: Clock,
        jitter: Jitter,
        counters: Arc<Counters>,
    ) -> Self {
        let config = Arc::new(config);
        let state = KeysState::new(Arc::clone(&config), clock.now(), jitter);
        Self(Arc::new(KeysInner {
            name: name.into(),
            config,
            http,
            clock,
            cached: ArcSwapOption::empty(),
            state: Mutex::new(state),
            fetches: SingleFlight::new(),
            rescheduled: Notify::new(),
            fetched: Notify::new(),
            restored: OnceCell::new(),
            counters,
            failures: FetchFailures::new(),
            saving: Mutex::default(),
            history: OnceLock::new(),
        }))
    }

    /// The same keys, which record their fetches in `history` from now on.
    #[must_use]
    pub(crate) fn recorded_in(self, history: Arc<KeyHistory>) -> Self {
        self.0.history.get_or_init(|| history);
        self
    }

    /// The key to seal with now.
    ///
    /// Waits only if no set has been cached since the start, for at most `first_key_wait`. Does not wait if the
    /// backoff allows no attempt in that time.
    ///
    /// # Errors
    /// If there is no such key: see [`NoUsableKey`].
    pub(crate) async fn current(&self) -> Result<Arc<EncryptionKey>, NoUsableKey> {
        let key = self.cached_key();
        if key.is_err() {
            self.bring_fetch_forward();
        }
        match key {
            Err(NoUsableKey::NeverFetched { .. }) => self.first_key().await,
            result => result,
        }
    }

    /// A view of the same keys that gives no access to a key to seal with.
    #[must_use]
    pub(crate) fn published(&self) -> PublishedKeys {
        PublishedKeys::of(self.clone())
    }

    /// The present state, for readiness, `/metrics` and `jwe-gateway keys`.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        let failing_since = self.0.failures.since();
        Snapshot { failing_since, ..Snapshot::of(&self.state(), &self.0.config, &self.0.counters, self.0.clock.now()) }
    }

    /// Keeps the set fresh: fetches at once, then before the end of each lifetime, with backoff after failures.
    /// Never returns.
    pub(crate) async fn run_refresh(self) {
        self.restore().await;
        loop {
            let next = self.state().next_fetch();
            if self.0.clock.now() < next.due {
                tokio::select! {
                    () = self.0.clock.sleep_until(next.due) => {}
                    () = self.0.rescheduled.notified() => {}
                }
            } else if is_abandoned(&self.join(next.number, Reason::Schedule).await) {
                // The state does not record an abandoned fetch, so it is due again at once. Do not retry in a loop.
                self.0.clock.sleep(self.0.config.backoff_min).await;
            }
        }
    }

    /// Fetches now without regard to the schedule, or joins the fetch under way.
    ///
    /// # Errors
    /// If the fetch brought no good set: see [`FetchError`].
    pub(crate) async fn refresh(&self) -> Result<(), FetchError> {
        let next = self.state().next_fetch();
        self.join(next.number, Reason::Schedule).await
    }

    /// Call this if a request needs a key and there is none.
    fn bring_fetch_forward(&self) {
        if self.state().bring_forward(self.0.clock.now()) {
            self.0.rescheduled.notify_one();
        }
    }

    fn cached_key(&self) -> Result<Arc<EncryptionKey>, NoUsableKey> {
        let now = self.0.clock.now();
        let cached = self.0.cached.load();
        match cached.as_ref().map(|cached| cached.key(now, self.0.config.max_stale)) {
            Some(Ok(key)) => Ok(Arc::clone(key)),
            _ => self.state().key(now),
        }
    }

    async fn first_key(&self) -> Result<Arc<EncryptionKey>, NoUsableKey> {
        let clock = &self.0.clock;
        let deadline = clock.now() + self.0.config.first_key_wait;
        let key = async {
            self.restore().await;
            loop {
                let next = self.state().next_fetch();
                match self.cached_key() {
                    Err(NoUsableKey::NeverFetched { .. }) if next.due < deadline => {}
                    result => return result,
                }
                clock.sleep_until(next.due).await;
                if is_abandoned(&self.join(next.number, Reason::Schedule).await) {
                    return self.cached_key();
                }
            }
        };
        tokio::select! {
            result = key => result,
            () = clock.sleep_until(deadline) => self.cached_key(),
        }
    }

    /// Runs fetch `number`, or joins it.
    async fn join(&self, number: u64, reason: Reason) -> FetchResult {
        let keys = self.clone();
        let fetch = async move { keys.fetch(number, reason).await };
        let outcome = self.0.fetches.join(number, fetch).await;
        outcome.unwrap_or_else(|_| Err(FetchError::new(&self.0.config.source, FetchErrorKind::Abandoned)))
    }

    async fn fetch(&self, number: u64, reason: Reason) -> FetchResult {
        if let Some(outcome) = self.state().outcome_of(number) {
            return outcome;
        }
        if reason == Reason::Refusal {
            self.wait_for_budget().await;
        }
        let request = match self.state().send(number, reason, self.0.clock.now()) {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        let bypass_caches = request.bypass_caches;
        let begun = self.0.clock.now();
        let response = fetch(&self.0.config, &self.0.http, &self.0.clock, request).await;
        let outcome = {
            let mut state = self.state();
            let outcome = state.finish(number, bypass_caches, response, self.0.clock.now());
            self.0.cached.store(state.cached().cloned());
            outcome
        };
        self.0.rescheduled.notify_one();
        self.0.fetched.notify_waiters();
        self.0.counters.count(&outcome);
        self.report(&outcome);
        self.record(&outcome, self.0.clock.now() - begun);
        match outcome {
            FetchOutcome::Good(_) => {
                self.save_last_good();
                Ok(())
            }
            FetchOutcome::Failed(error) => Err(error),
            FetchOutcome::Late => Ok(()),
        }
    }

    fn record(&self, outcome: &FetchOutcome, took: Duration) {
        let Some(history) = self.0.history.get() else { return };
        match outcome {
            FetchOutcome::Good(_) => {
                history.fetches.record(took, Ok(()));
                if let Some(cached) = self.0.cached.load().as_ref() {
                    history.published(cached.set());
                }
            }
            FetchOutcome::Failed(error) => {
                history.fetches.record(took, Err((error.to_string(), counters::reason(&error.kind))));
            }
            FetchOutcome::Late => {}
        }
    }

    async fn wait_for_budget(&self) {
        loop {
            let permission = self.state().take_from_budget(self.0.clock.now());
            match permission {
                Ok(()) => return,
                Err(refilled) => self.0.clock.sleep_until(refilled).await,
            }
        }
    }

    #[cfg(test)]
    fn counters(&self) -> &Counters {
        &self.0.counters
    }

    fn state(&self) -> MutexGuard<'_, KeysState> {
        // A poisoned lock means that another thread panicked inside `KeysState`. Its methods leave no partial change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_abandoned(outcome: &FetchResult) -> bool {
    matches!(outcome, Err(FetchError { kind: FetchErrorKind::Abandoned, .. }))
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The source is a URL, which may contain secrets.
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
