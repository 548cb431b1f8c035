//! One caller: what it may do, and how much of it at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::key::{KeyDigest, KeySource};
use super::{BadCallers, Config};
use crate::clock::Clock;
use crate::rate_limit::TokenBucket;

/// Whose a request is.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    state: Arc<CallerState>,
    clock: Clock,
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerRequest<'a> {
    /// How.
    pub method: &'a Method,
    /// The path as it came.
    pub path: &'a str,
    /// What the request is called in the log.
    pub request_id: &'a str,
}

impl Caller {
    pub(super) fn of(state: &Arc<CallerState>, clock: &Clock) -> Self {
        Self { state: Arc::clone(state), clock: clock.clone() }
    }

    /// Its configured name.
    #[must_use]
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.state.name
    }

    /// Judges a request to a provider. The place is to be held until the answer has been handed over.
    ///
    /// # Errors
    /// See [`Denied`]; none when the caller's rules are not enforced.
    pub(crate) fn admit(&self, asked: &CallerRequest<'_>) -> Result<CallerPermit, Denied> {
        self.enforce(self.state.check_allowed(asked.method, asked.path), asked)?;
        self.acquire(asked)
    }

    /// Judges a request for what is on no list, since every caller may have it: a token, the key
    /// set. It counts in the caller's rate and among its requests at once.
    ///
    /// # Errors
    /// [`Denied::TooFast`] and [`Denied::TooMany`]; none when the caller's rules are not enforced.
    pub(crate) fn acquire(&self, asked: &CallerRequest<'_>) -> Result<CallerPermit, Denied> {
        self.enforce(self.state.acquire(self.clock.now()), asked)
    }

    /// Counts a denial, and takes it back where the caller's rules are not enforced.
    fn enforce<T: Default>(&self, judged: Result<T, Denied>, asked: &CallerRequest<'_>) -> Result<T, Denied> {
        let CallerState { name, config, counts, .. } = &*self.state;
        let denied = match judged {
            Ok(judged) => return Ok(judged),
            Err(denied) => denied,
        };
        let count = match denied {
            Denied::Forbidden => &counts.forbidden,
            Denied::TooFast { .. } => &counts.too_fast,
            Denied::TooMany => &counts.too_many,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if config.enforce {
            return Err(denied);
        }
        let CallerRequest { method, path, request_id } = asked;
        tracing::warn!(caller = %name, request_id, %method, path, reason = %denied, "would be refused if it were enforced");
        Ok(T::default())
    }
}

/// A caller may not do what it asks for, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// None of its rules takes the request.
    #[error("not on the caller's list")]
    Forbidden,
    /// Over its requests in a second.
    #[error("over the caller's requests per second")]
    TooFast {
        /// When the next one may come.
        retry_after: Duration,
    },
    /// Over its requests at once.
    #[error("over the caller's concurrent requests")]
    TooMany,
}

/// Held while a request counts among its caller's.
#[derive(Debug, Default)]
pub(crate) struct CallerPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A caller's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Whether what follows was refused, or only told.
    pub enforced: bool,
    /// Requests that none of its rules takes.
    pub forbidden: u64,
    /// Requests over its rate.
    pub too_fast: u64,
    /// Requests over its number at once.
    pub too_many: u64,
    /// Readings of its key file that brought nothing usable.
    pub reloads_failed: u64,
}

/// A caller as it is configured, and how it stands.
#[derive(Debug)]
pub(super) struct CallerState {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    pub(super) keys: ArcSwap<Vec<KeyDigest>>,
    rate: Option<Mutex<TokenBucket>>,
    permits: Option<Arc<Semaphore>>,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    forbidden: AtomicU64,
    too_fast: AtomicU64,
    too_many: AtomicU64,
    pub(super) reloads_failed: AtomicU64,
}

impl CallerState {
    pub(super) fn new(config: Config, now: Instant) -> Result<Arc<Self>, BadCallers> {
        let digests = config.keys.as_ref().map(KeySource::read).transpose();
        let digests = digests.map_err(|fault| BadCallers::Keys { name: config.name.clone(), fault })?;
        let rate = config.requests_per_second.filter(|rate| *rate > 0);
        let rate = rate.map(|rate| Mutex::new(TokenBucket::new(rate, Duration::from_secs(1) / rate, now)));
        let permits = config.concurrent.map(|permits| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))));
        Ok(Arc::new(Self {
            name: config.name.as_str().into(),
            keys: ArcSwap::from_pointee(digests.unwrap_or_default()),
            config,
            rate,
            permits,
            counts: Counts::default(),
        }))
    }

    fn check_allowed(&self, method: &Method, path: &str) -> Result<(), Denied> {
        match &self.config.allow {
            Some(rules) if !rules.iter().any(|rule| rule.matches(method, path)) => Err(Denied::Forbidden),
            _ => Ok(()),
        }
    }

    fn acquire(&self, now: Instant) -> Result<CallerPermit, Denied> {
        if let Some(rate) = &self.rate {
            // A poisoned lock only means that another thread panicked between two requests.
            let taken = rate.lock().unwrap_or_else(PoisonError::into_inner).take(now);
            taken.map_err(|next| Denied::TooFast { retry_after: next.saturating_duration_since(now) })?;
        }
        let permit = self.permits.as_ref().map(|permits| Arc::clone(permits).try_acquire_owned());
        Ok(CallerPermit { _permit: permit.transpose().map_err(|_full| Denied::TooMany)? })
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { forbidden, too_fast, too_many, reloads_failed } = &self.counts;
        Snapshot {
            name: Arc::clone(&self.name),
            enforced: self.config.enforce,
            forbidden: count(forbidden),
            too_fast: count(too_fast),
            too_many: count(too_many),
            reloads_failed: count(reloads_failed),
        }
    }
}
