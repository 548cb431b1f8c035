//! The state of a configured caller: its rules, its keys in use, its limits and its counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::Semaphore;

use super::caller::{CallerPermit, Denied};
use super::key_file::{KeyOwners, KeysInUse};
use super::{BadCallers, Config};
use crate::rate_limit::TokenBucket;

#[derive(Debug)]
pub(super) struct CallerState {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    pub(super) keys: KeysInUse,
    rate: Option<Arc<Mutex<TokenBucket>>>,
    permits: Option<Arc<Semaphore>>,
    pub(super) counts: Arc<DenialCounts>,
    /// Failed reads of the key files that the caller had before its last change.
    former_reloads_failed: u64,
}

/// The denials of a caller since the start.
#[derive(Debug, Default)]
pub(super) struct DenialCounts {
    forbidden: AtomicU64,
    too_fast: AtomicU64,
    too_many: AtomicU64,
}

impl DenialCounts {
    pub(super) fn of(&self, denied: Denied) -> &AtomicU64 {
        match denied {
            Denied::Forbidden => &self.forbidden,
            Denied::TooFast { .. } => &self.too_fast,
            Denied::TooMany => &self.too_many,
        }
    }
}

/// The metrics of one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub name: Arc<str>,
    /// Whether the denials below were refused. If false, they were only logged.
    pub enforced: bool,
    pub forbidden: u64,
    pub too_fast: u64,
    pub too_many: u64,
    /// Reads of the key file that failed.
    pub reloads_failed: u64,
}

impl CallerState {
    pub(super) fn new(
        config: Config,
        owners: &Arc<KeyOwners>,
        now: Instant,
        former: Option<&Self>,
    ) -> Result<Arc<Self>, BadCallers> {
        let name: Arc<str> = config.name.as_str().into();
        let keys = KeysInUse::load(config.keys.as_ref(), &name, owners)?;
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
        let counts = former.map(|former| Arc::clone(&former.counts)).unwrap_or_default();
        let former_reloads_failed = former.map_or(0, Self::reloads_failed);
        Ok(Arc::new(Self { name, config, keys, rate, permits, counts, former_reloads_failed }))
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
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let DenialCounts { forbidden, too_fast, too_many } = &*self.counts;
        Snapshot {
            name: Arc::clone(&self.name),
            enforced: self.config.enforce,
            forbidden: count(forbidden),
            too_fast: count(too_fast),
            too_many: count(too_many),
            reloads_failed: self.reloads_failed(),
        }
    }

    fn reloads_failed(&self) -> u64 {
        self.former_reloads_failed + self.keys.file().map_or(0, |file| file.failed_polls())
    }
}
