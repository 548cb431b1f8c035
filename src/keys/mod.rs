//! Which of the provider's public keys to seal with now.
//!
//! # May I seal with this key now?
//!
//! - **It is fresh** (its set is younger than its lifetime): yes, at once. Readers neither wait
//!   nor lock.
//! - **It is stale, but within the bound** (no newer set could be had): yes, at once, and loudly. A
//!   key is far more often still good than withdrawn, and when it was withdrawn, the provider says so.
//! - **There is none**, or its set is older than the bound, or the pins allow none: no. Only when
//!   there never was one is the request worth a wait, for the fetch under way.
//!
//! # Flow
//!
//! A verifier refetches when it meets an unknown `kid`. A sealer chooses the `kid` itself and meets
//! nothing, so freshness comes from two other sides:
//!
//! 1. [`Keys::run_refresh`] refreshes the set at about 80 % of its lifetime, with traffic or
//!    without. After a failure it backs off, and the last good set serves on.
//! 2. [`Keys::replacement_for`] is called when the provider refused a message: it fetches at once, past
//!    the timer and its backoff, out of a budget of five fetches refilled one a second. When
//!    the budget is empty the refused request waits for its turn (a second at most, shared with all
//!    others): giving up would lose the request if there was a rotation.
//!
//! Fetches are numbered. Whoever needs one joins the next number that has not ended, and moka's
//! map makes it one fetch for all of them, with one outcome, failures included. It runs in a task
//! of its own, so a caller who leaves takes nothing from the others.
//!
//! An answer to a request that left before our message was refused may be older than the refusal, and
//! one to a request of the timer's may come from a cache on the way (an egress). A refused caller who
//! still finds its key in the set after such a fetch asks once more. What counts is when a request left,
//! not when its caller came to wait for it: or, with fetches that follow each other closely, each
//! caller would find the next one already under way, and wait for ever.
//!
//! # Scope
//!
//! One holder is one JWK Set of one provider. A fetched set replaces the one in hand as a whole:
//! sets are never merged, so a withdrawn key is gone with the next refresh. A set without a usable
//! key, or one that is no JWK Set, replaces nothing.
//!
//! # Rejected
//!
//! - moka's own expiry: it evicts, where a stale key must serve on, and its clock cannot be steered.
//! - Fetching on the request path when the set has grown old: each request would wait out the
//!   fetch's deadline whenever the provider is slow.
//! - A cooldown between forced fetches: see `crate::rate_limit`.

mod cached_set;
mod config;
mod document;
mod error;
mod fetch;
pub(crate) mod freshness;
mod last_good;
mod published;
mod report;
mod selection;
pub(crate) mod set;
mod snapshot;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, OnceCell};

pub use config::{Config, Source};
pub(crate) use document::KeySetDocument;
pub(crate) use error::{FetchError, FetchErrorKind, NoUsableKey};
pub(crate) use published::PublishedKeys;
pub(crate) use snapshot::{Entry, EntryState, KeyName, Snapshot};

use crate::clock::{Clock, Jitter};
use crate::jose::EncryptionKey;
use crate::single_flight::SingleFlight;
use cached_set::CachedKeySet;
use fetch::{FetchRequest, fetch};
use last_good::NotRestored;
use state::{FetchOutcome, State};

/// The provider's keys. Cheap to clone; all clones are one holder.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Holder>);

struct Holder {
    name: Arc<str>,
    config: Arc<Config>,
    http: reqwest::Client,
    clock: Clock,
    /// What readers of a good set see: a copy of what `state` holds.
    cached: ArcSwapOption<CachedKeySet>,
    state: Mutex<State>,
    fetches: SingleFlight<FetchResult>,
    /// The timer's next fetch has moved.
    rescheduled: Notify,
    restored: OnceCell<()>,
    /// One write of the last-known-good file at a time.
    writing: tokio::sync::Mutex<()>,
}

type FetchResult = Result<(), FetchError>;

/// Why a fetch is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The timer, the first request, or an operator.
    Schedule,
    /// The provider refused a message. Counts against the budget.
    Refusal,
}

impl Keys {
    /// No I/O here. Logs call the upstream by `name`. `http` must not follow redirects.
    #[must_use]
    pub(crate) fn new(name: &str, config: Config, http: reqwest::Client, clock: Clock, jitter: Jitter) -> Self {
        let config = Arc::new(config);
        let state = State::new(Arc::clone(&config), clock.now(), jitter);
        Self(Arc::new(Holder {
            name: name.into(),
            config,
            http,
            clock,
            cached: ArcSwapOption::empty(),
            state: Mutex::new(state),
            fetches: SingleFlight::new(),
            rescheduled: Notify::new(),
            restored: OnceCell::new(),
            writing: tokio::sync::Mutex::new(()),
        }))
    }

    /// The key to seal with now.
    ///
    /// Waits only when no set was ever in hand, for at most `first_key_wait`, and not at all when
    /// the backoff rules out an attempt in that time.
    ///
    /// # Errors
    /// When there is none: see [`NoUsableKey`].
    pub(crate) async fn current(&self) -> Result<Arc<EncryptionKey>, NoUsableKey> {
        match self.cached_key() {
            Err(NoUsableKey::NeverFetched { .. }) => self.first_key().await,
            answer => answer,
        }
    }

    /// The provider refused a message sealed with `used`: fetches the set past its schedule, and
    /// gives the key to seal with instead if `used` (kid and material) is no longer published.
    ///
    /// None when `used` is still published (the refusal was about something else), when no set
    /// could be fetched, or when the new one has no key to give.
    pub(crate) async fn replacement_for(&self, used: &EncryptionKey) -> Option<Arc<EncryptionKey>> {
        self.after_refusal(|| self.cached_replacement(used)).await
    }

    /// The same keys for one who only has to know which there are.
    #[must_use]
    pub(crate) fn known(&self) -> PublishedKeys {
        PublishedKeys::of(self.clone())
    }

    /// What is held: for readiness, `/metrics` and `jwe-gateway keys`.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.state(), &self.0.config, self.0.clock.now())
    }

    /// Keeps the set fresh for as long as it is polled: the first fetch at once, then before the end
    /// of each set's lifetime, with backoff after failures. Never returns.
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
                // Such a fetch has not ended for the state, which would have it tried again at once.
                self.0.clock.sleep(self.0.config.backoff_min).await;
            }
        }
    }

    /// One fetch now, past the schedule (the `keys` command). Joins the one under way, if any.
    ///
    /// # Errors
    /// When no good set came: see [`FetchError`].
    pub(crate) async fn refresh(&self) -> Result<(), FetchError> {
        let next = self.state().next_fetch();
        self.join(next.number, Reason::Schedule).await
    }

    fn cached_key(&self) -> Result<Arc<EncryptionKey>, NoUsableKey> {
        let now = self.0.clock.now();
        let cached = self.0.cached.load();
        match cached.as_ref().map(|cached| cached.key(now, self.0.config.max_stale)) {
            Some(Ok(key)) => Ok(Arc::clone(key)),
            _ => self.state().key(now),
        }
    }

    /// What `verdict` says once the set in hand is newer than the refusal the caller has just met.
    async fn after_refusal<T>(&self, decide: impl Fn() -> Option<T>) -> Option<T> {
        let first = self.state().first_fetch_from_now();
        loop {
            let (next, is_confirmed) = {
                let state = self.state();
                (state.next_fetch().number, state.bypassed_caches(first))
            };
            let decision = decide();
            if decision.is_some() || is_confirmed {
                return decision;
            }
            if is_abandoned(&self.join(next, Reason::Refusal).await) {
                return decide();
            }
        }
    }

    /// A fetch past its schedule, sent after this call began.
    async fn confirm(&self) -> FetchResult {
        let first = self.state().first_fetch_from_now();
        loop {
            let number = self.state().next_fetch().number;
            let outcome = self.join(number, Reason::Refusal).await;
            let is_confirmed = number >= first && self.state().bypassed_caches(number);
            if is_confirmed || is_abandoned(&outcome) {
                return outcome;
            }
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
                    answer => return answer,
                }
                clock.sleep_until(next.due).await;
                if is_abandoned(&self.join(next.number, Reason::Schedule).await) {
                    return self.cached_key();
                }
            }
        };
        tokio::select! {
            answer = key => answer,
            () = clock.sleep_until(deadline) => self.cached_key(),
        }
    }

    fn cached_replacement(&self, used: &EncryptionKey) -> Option<Arc<EncryptionKey>> {
        let cached = self.0.cached.load();
        cached.as_ref()?.replacement_for(used, self.0.clock.now(), self.0.config.max_stale).cloned()
    }

    /// Fetch `number`, made once for everyone who asks for it. Ends also when its callers have left.
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
        let bypass_caches = reason == Reason::Refusal;
        let etag = match self.state().send(number, bypass_caches) {
            Ok(etag) => etag,
            Err(outcome) => return outcome,
        };
        let request = FetchRequest { etag, bypass_caches };
        let answer = fetch(&self.0.config, &self.0.http, &self.0.clock, request).await;
        let outcome = {
            let mut state = self.state();
            let outcome = state.finish(number, answer, self.0.clock.now());
            self.0.cached.store(state.cached().cloned());
            outcome
        };
        self.0.rescheduled.notify_one();
        self.report(&outcome);
        match outcome {
            FetchOutcome::Good(_) => {
                self.keep_on_disk();
                Ok(())
            }
            FetchOutcome::Failed(error) => Err(error),
            FetchOutcome::Late => Ok(()),
        }
    }

    async fn wait_for_budget(&self) {
        loop {
            let taken = self.state().take_from_budget(self.0.clock.now());
            match taken {
                Ok(()) => return,
                Err(refilled) => self.0.clock.sleep_until(refilled).await,
            }
        }
    }

    /// Takes up the last-known-good file, once.
    async fn restore(&self) {
        let Some(path) = &self.0.config.last_known_good else {
            return;
        };
        let restore = async {
            let (file, source) = (path.clone(), self.0.config.source.clone());
            let read = tokio::task::spawn_blocking(move || last_good::read(&file, &source)).await;
            match read.unwrap_or(Err(NotRestored::Io(std::io::ErrorKind::Interrupted))) {
                Ok(kept) => {
                    let mut state = self.state();
                    if state.restore(kept, self.0.clock.now(), SystemTime::now()) {
                        self.0.cached.store(state.cached().cloned());
                        tracing::info!(upstream = %self.0.name, path = %path.display(), "took up the last good key set from disk");
                    }
                }
                Err(NotRestored::Io(std::io::ErrorKind::NotFound)) => {}
                Err(error) => {
                    tracing::warn!(upstream = %self.0.name, %error, path = %path.display(), "the last good key set on disk is not used")
                }
            }
        };
        self.0.restored.get_or_init(|| restore).await;
    }

    /// Writes what is in hand to the last-known-good file, off the callers' time.
    fn keep_on_disk(&self) {
        let Some(path) = self.0.config.last_known_good.clone() else {
            return;
        };
        let keys = self.clone();
        let fetched = SystemTime::now();
        tokio::spawn(async move {
            let _one_at_a_time = keys.0.writing.lock().await;
            // Loaded under the lock, so that the last write is of the newest set.
            let Some(cached) = keys.0.cached.load_full() else {
                return;
            };
            let source = keys.0.config.source.clone();
            let file = path.clone();
            let written = tokio::task::spawn_blocking(move || last_good::write(&file, &source, &cached, fetched)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(upstream = %keys.0.name, %error, path = %path.display(), "the last good key set could not be written to disk");
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Poisoned means that another thread panicked inside `State`, which keeps no half-made change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_abandoned(outcome: &FetchResult) -> bool {
    matches!(outcome, Err(FetchError { kind: FetchErrorKind::Abandoned, .. }))
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The source is a URL, which may hold secrets.
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
