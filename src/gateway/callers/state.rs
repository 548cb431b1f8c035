//! The state of a configured caller: its rules, its keys in use, its limits and its counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::Semaphore;

use super::caller::{CallerPermit, Denied};
use super::key_file::{KeyOwners, KeysInUse};
use super::{BadCallers, Config};
use crate::gateway::metrics::counters::CallerCounters;
use crate::rate_limit::TokenBucket;

#[derive(Debug)]
pub(super) struct CallerState {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    pub(super) keys: KeysInUse,
    rate: Option<Arc<Mutex<TokenBucket>>>,
    permits: Option<Arc<Semaphore>>,
    pub(super) counters: Arc<CallerCounters>,
}

/// The denials of a caller since the start, and the failed reads of its key file.
#[derive(Debug, Default)]
pub(crate) struct DenialCounters {
    refused: [AtomicU64; DenialReason::ALL.len()],
    /// With `enforce = false`.
    only_logged: [AtomicU64; DenialReason::ALL.len()],
    failed_reads: AtomicU64,
}

/// The rule of a caller that a request breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenialReason {
    Path,
    Rate,
    Concurrency,
}

impl DenialReason {
    pub(crate) const ALL: [Self; 3] = [Self::Path, Self::Rate, Self::Concurrency];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
        }
    }

    fn of(denied: Denied) -> Self {
        match denied {
            Denied::Forbidden => Self::Path,
            Denied::TooFast { .. } => Self::Rate,
            Denied::TooMany => Self::Concurrency,
        }
    }
}

impl DenialCounters {
    /// The denials that were refused, if `enforced`, or only logged.
    pub(crate) fn total(&self, reason: DenialReason, enforced: bool) -> u64 {
        self.counter(reason, enforced).load(Ordering::Relaxed)
    }

    pub(crate) fn failed_reads(&self) -> u64 {
        self.failed_reads.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, denied: Denied, enforced: bool) {
        self.counter(DenialReason::of(denied), enforced).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_failed_read(&self) {
        self.failed_reads.fetch_add(1, Ordering::Relaxed);
    }

    fn counter(&self, reason: DenialReason, enforced: bool) -> &AtomicU64 {
        let counters = if enforced { &self.refused } else { &self.only_logged };
        &counters[reason as usize]
    }
}

/// A caller as it is configured now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub name: Arc<str>,
    /// Whether denials are refused. If false, they are only logged.
    pub enforced: bool,
}

impl CallerState {
    pub(super) fn new(
        config: Config,
        counters: Arc<CallerCounters>,
        owners: &Arc<KeyOwners>,
        now: Instant,
        former: Option<&Self>,
    ) -> Result<Arc<Self>, BadCallers> {
        let name = Arc::clone(&counters.name);
        let keys = KeysInUse::load(config.keys.as_ref(), &counters, owners)?;
        let rate = match former {
            Some(former) if former.config.requests_per_second == config.requests_per_second => former.rate.clone(),
            _ => config
                .requests_per_second
                .filter(|rate| *rate > 0)
                .map(|rate| Arc::new(Mutex::new(TokenBucket::new(rate, Duration::from_secs(1) / rate, now)))),
        };
        let permits = match former {
            Some(former) if former.config.concurrent == config.concurrent => former.permits.clone(),
            _ => config.concurrent.map(|permits| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))),
        };
        Ok(Arc::new(Self { name, config, keys, rate, permits, counters }))
    }

    pub(super) fn check_allowed(&self, method: &Method, path: &str) -> Result<(), Denied> {
        match &self.config.allow {
            Some(rules) if !rules.iter().any(|rule| rule.matches(method, path)) => Err(Denied::Forbidden),
            _ => Ok(()),
        }
    }

    pub(super) fn acquire(&self, now: Instant) -> Result<CallerPermit, Denied> {
        if let Some(rate) = &self.rate {
            // The bucket is whole even if the lock is poisoned: another thread panicked between two requests.
            let taken = rate.lock().unwrap_or_else(PoisonError::into_inner).take(now);
            taken.map_err(|next| Denied::TooFast { retry_after: next.saturating_duration_since(now) })?;
        }
        let permit = self.permits.as_ref().map(|permits| Arc::clone(permits).try_acquire_owned());
        Ok(CallerPermit { _permit: permit.transpose().map_err(|_| Denied::TooMany)? })
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { name: Arc::clone(&self.name), enforced: self.config.enforce }
    }
}
