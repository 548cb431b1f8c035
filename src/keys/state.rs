//! The state of the keys, and its changes at each fetch: a state machine without I/O.
//!
//! Fetches are numbered in the order in which they are sent. A response is ignored if the response to a later fetch
//! has arrived before it. A slow response therefore cannot bring a withdrawn key back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;

use super::cached_set::{CachedKeySet, NoKey};
use super::fetch::{FetchRequest, FetchResponse};
use super::last_good::LastGood;
use super::selection::{FirstSeen, by_preference, is_pinned};
use super::set::KeySet;
use super::{Config, FetchError, FetchErrorKind, KeyName, NoUsableKey, Reason};
use crate::clock::{Backoff, Jitter};
use crate::jose::EncryptionKey;
use crate::rate_limit::TokenBucket;
use crate::single_flight::FlightLog;

/// A set is refreshed after a random part of its lifetime between these two. This is late enough to spare the
/// provider, and early enough for several attempts. The spread keeps many gateways from fetching at the same moment.
const REFRESH_AT: (f64, f64) = (0.75, 0.85);

/// How many fetches after refusals may be sent at once. This is enough for several rotations, or several wrong
/// requests.
const FORCED_BURST: u32 = 10;

/// The time until one more such fetch is allowed. Ten fetches per second are no load for a provider. It is also the
/// longest time that a refused request waits for its fetch to start: a provider that answers many wrong requests with
/// 400 must not slow them down.
pub(super) const FORCED_REFILL: Duration = Duration::from_millis(100);

/// Shortest time between a failed fetch and the next one while requests need a key and there is none. The backoff is
/// for a gateway without traffic: callers that wait must be served soon after the provider has returned.
const ON_DEMAND_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest wait after a response with `Retry-After`.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Shortest time between two fetches that [`KeysState::check_in_background`] causes.
const DOUBT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct KeysState {
    cached: Option<Arc<CachedKeySet>>,
    first_seen: FirstSeen,
    fetches: FlightLog<FetchError>,
    /// The numbers of the last fetch that was sent and of the last that ended, among those that bypass caches.
    sent_bypassing_caches: u64,
    ended_bypassing_caches: u64,
    /// Set after a refusal that seems to have another cause than the key: the first fetch that can confirm the key.
    doubted: Option<u64>,
    /// When the last fetch was sent that [`KeysState::check_in_background`] caused.
    last_doubt: Option<Instant>,
    /// When the next scheduled fetch may start.
    due: Instant,
    /// The end of the wait that the server of the set has asked for. The schedule does not fetch before. Fetches after
    /// refusals do: the budget limits them.
    busy_until: Option<Instant>,
    /// When the last fetch ended.
    last_end: Option<Instant>,
    backoff: Backoff,
    budget: TokenBucket,
    jitter: Jitter,
    config: Arc<Config>,
}

/// The fetch that a caller can join or start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextFetch {
    pub(super) number: u64,
    /// When the schedule may start it.
    pub(super) due: Instant,
}

/// Whether the cached set has been confirmed by a fetch that left late enough.
#[derive(Debug)]
pub(super) enum Confirmation {
    /// Such a fetch has ended, with this outcome.
    Ended(Result<(), FetchError>),
    Needs {
        /// The fetch to join.
        number: u64,
        /// Whether `number` has not been sent, and an earlier fetch is under way.
        is_earlier_under_way: bool,
    },
}

/// The effect of a response.
#[derive(Debug)]
pub(super) enum FetchOutcome {
    /// A set was received or confirmed.
    Good(Changes),
    /// The cached set stays in use.
    Failed(FetchError),
    /// The response to a later fetch had arrived before.
    Late,
}

/// The differences between a set and the one before it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<KeyName>,
    pub(super) removed: Vec<KeyName>,
    /// The key to seal with from now on, if it differs from the one before.
    pub(super) chosen: Option<KeyName>,
    /// The key that `chosen` replaces. `None` for the first key.
    pub(super) replaced: Option<KeyName>,
    /// Whether the unusable entries or their reasons have changed.
    pub(super) unusable: bool,
    /// Whether no usable key is pinned, and the usable keys have changed.
    pub(super) none_pinned: bool,
}

impl KeysState {
    pub(super) fn new(config: Arc<Config>, now: Instant, jitter: Jitter) -> Self {
        Self {
            cached: None,
            first_seen: FirstSeen::default(),
            fetches: FlightLog::new(),
            sent_bypassing_caches: 0,
            ended_bypassing_caches: 0,
            doubted: None,
            last_doubt: None,
            due: now,
            busy_until: None,
            last_end: None,
            backoff: Backoff::new(config.backoff_min, config.backoff_max, jitter.clone()),
            budget: TokenBucket::new(FORCED_BURST, FORCED_REFILL, now),
            jitter,
            config,
        }
    }

    pub(super) fn cached(&self) -> Option<&Arc<CachedKeySet>> {
        self.cached.as_ref()
    }

    pub(super) fn last_error(&self) -> Option<&FetchError> {
        self.fetches.last_error()
    }

    /// The key to seal with.
    pub(super) fn key(&self, now: Instant) -> Result<Arc<EncryptionKey>, NoUsableKey> {
        let last_error = || self.last_error().cloned();
        let Some(cached) = &self.cached else {
            return Err(NoUsableKey::NeverFetched { last_error: last_error() });
        };
        cached.key(now, self.config.max_stale).cloned().map_err(|why| match why {
            NoKey::Expired => NoUsableKey::Expired { age: cached.age(now), last_error: last_error() },
            NoKey::NotPinned => NoUsableKey::PinsMatchNothing { published: cached.by_preference.len() },
        })
    }

    pub(super) fn next_fetch(&self) -> NextFetch {
        NextFetch { number: self.fetches.next(), due: self.due }
    }

    /// The number of the first fetch whose request leaves after this call. The response to an earlier one may
    /// predate the refusal that the caller has just seen.
    pub(super) fn first_fetch_from_now(&self) -> u64 {
        self.fetches.next_start()
    }

    /// A request needs a key and there is none: brings the next fetch forward, whatever the backoff says. A wait that
    /// the server asked for stays. Returns whether the time of the fetch has changed.
    pub(super) fn bring_forward(&mut self, now: Instant) -> bool {
        let earliest = self.last_end.map_or(now, |end| (end + ON_DEMAND_INTERVAL).max(now));
        self.due_by(earliest)
    }

    /// A refusal seems to have another cause than the key: brings a fetch that bypasses caches forward. A wait that the
    /// server asked for stays. Returns whether the time of the fetch has changed.
    pub(super) fn check_in_background(&mut self, now: Instant) -> bool {
        self.doubted = Some(self.first_fetch_from_now());
        let earliest = self.last_doubt.map_or(now, |sent| (sent + DOUBT_INTERVAL).max(now));
        self.due_by(earliest)
    }

    /// Takes one fetch from the budget for refusals.
    ///
    /// # Errors
    /// If the budget is empty: returns the time of the next fetch.
    pub(super) fn take_from_budget(&mut self, now: Instant) -> Result<(), Instant> {
        self.budget.take(now)
    }

    /// The outcome of fetch `number` if it has ended.
    pub(super) fn outcome_of(&self, number: u64) -> Option<Result<(), FetchError>> {
        self.fetches.outcome_of(number)
    }

    /// Whether fetch `first` or a later one has confirmed the cached set. A fetch that does not bypass caches cannot:
    /// a cache on the way may have answered it.
    pub(super) fn confirmation(&self, first: u64) -> Confirmation {
        if self.ended_bypassing_caches >= first
            && let Some(outcome) = self.outcome_of(first)
        {
            return Confirmation::Ended(outcome);
        }
        if self.sent_bypassing_caches >= first {
            return Confirmation::Needs { number: self.sent_bypassing_caches, is_earlier_under_way: false };
        }
        Confirmation::Needs { number: self.fetches.next_start(), is_earlier_under_way: self.fetches.is_one_under_way() }
    }

    /// Records that fetch `number` is sent. Returns the request.
    ///
    /// # Errors
    /// If it has already ended: returns its outcome.
    pub(super) fn send(
        &mut self,
        number: u64,
        reason: Reason,
        now: Instant,
    ) -> Result<FetchRequest, Result<(), FetchError>> {
        self.fetches.start(number)?;
        let is_doubted = self.doubted.is_some_and(|first| number >= first);
        if is_doubted {
            self.last_doubt = Some(now);
        }
        let bypass_caches = is_doubted || reason == Reason::Refusal;
        if bypass_caches {
            self.sent_bypassing_caches = number;
        }
        Ok(FetchRequest { etag: self.cached.as_ref().and_then(|cached| cached.etag.clone()), bypass_caches })
    }

    /// Records the response to fetch `number`.
    pub(super) fn finish(
        &mut self,
        number: u64,
        bypassed_caches: bool,
        response: Result<FetchResponse, FetchError>,
        now: Instant,
    ) -> FetchOutcome {
        let accepted = response.and_then(|response| match (response, self.cached.clone()) {
            (FetchResponse::Set { set, lifetime, etag }, _) => {
                let lifetime = lifetime.unwrap_or(self.config.default_lifetime);
                Ok((Arc::new(set), lifetime, etag))
            }
            // RFC 9111 section 4.3.4: values that the 304 does not state stay as they were.
            (FetchResponse::NotModified { lifetime }, Some(cached)) => {
                Ok((Arc::clone(&cached.set), lifetime.unwrap_or(cached.lifetime), cached.etag.clone()))
            }
            (FetchResponse::NotModified { .. }, None) => {
                Err(FetchError::new(&self.config.source, FetchErrorKind::NotModifiedUnasked))
            }
        });
        if !self.fetches.end(number, accepted.as_ref().map(|_| ()).map_err(Clone::clone)) {
            return FetchOutcome::Late;
        }
        self.last_end = Some(now);
        if bypassed_caches {
            self.ended_bypassing_caches = number;
            self.doubted = self.doubted.filter(|first| *first > number);
        }
        let outcome = match accepted {
            Ok((set, lifetime, etag)) => {
                self.first_seen.record(set.usable());
                let changes = self.store(set, now, Duration::ZERO, lifetime, etag);
                self.backoff.reset();
                self.busy_until = None;
                self.due = now + self.jitter.between(lifetime, REFRESH_AT.0, REFRESH_AT.1);
                FetchOutcome::Good(changes)
            }
            Err(error) => {
                let retry = now + self.wait_after(&error.kind, now);
                // A failed fetch after a refusal may bring the next scheduled one forward. It delays it only if the
                // server asks for that.
                self.due = if self.due > now { self.due.min(retry) } else { retry };
                FetchOutcome::Failed(error)
            }
        };
        if self.doubted.is_some() {
            // The request of this fetch left before the refusal that caused the doubt.
            self.due = self.due.min(self.last_doubt.map_or(now, |sent| sent + DOUBT_INTERVAL));
        }
        self.due = self.after_busy(self.due);
        outcome
    }

    fn wait_after(&mut self, error: &FetchErrorKind, now: Instant) -> Duration {
        let FetchErrorKind::Busy { retry_after: Some(wait), .. } = error else {
            return self.backoff.next_wait();
        };
        // The wait is a little longer than asked for, and differs between gateways.
        let wait = self.jitter.between((*wait).max(MIN_RETRY_AFTER), 1.0, 1.1);
        self.busy_until = Some(now + wait);
        wait
    }

    /// `time`, or the end of the wait that the server asked for if that is later.
    fn after_busy(&self, time: Instant) -> Instant {
        self.busy_until.map_or(time, |until| until.max(time))
    }

    /// Brings the next scheduled fetch forward. Returns whether its time has changed.
    fn due_by(&mut self, latest: Instant) -> bool {
        let latest = self.after_busy(latest);
        let is_earlier = latest < self.due;
        self.due = self.due.min(latest);
        is_earlier
    }

    /// Caches a set from disk, unless a set is cached already. Returns whether it did. The next fetch stays due at
    /// once.
    pub(super) fn restore(&mut self, last_good: LastGood, now: Instant, wall: SystemTime) -> bool {
        if self.cached.is_some() {
            return false;
        }
        let set = Arc::new(last_good.set);
        // The file has the preferred key first, so that one must count as the newest.
        let keys: Vec<_> = set.usable().cloned().collect();
        for key in keys.iter().rev() {
            self.first_seen.record([key]);
        }
        let lifetime = last_good.lifetime.min(self.config.max_lifetime);
        // A fetch that is some seconds ahead of a corrected clock has just happened. A later one was refused before.
        let age = wall.duration_since(last_good.fetched).unwrap_or(Duration::ZERO);
        self.store(set, now, age, lifetime, None);
        true
    }

    fn store(
        &mut self,
        set: Arc<KeySet>,
        now: Instant,
        age: Duration,
        lifetime: Duration,
        etag: Option<HeaderValue>,
    ) -> Changes {
        let by_preference = by_preference(&set, &self.first_seen);
        let chosen = by_preference.iter().find(|key| is_pinned(key, &self.config.pin)).cloned();
        let new = CachedKeySet { set, by_preference, chosen, received: now, age_when_received: age, lifetime, etag };
        let changes = Changes::between(self.cached.as_deref(), &new);
        self.cached = Some(Arc::new(new));
        changes
    }
}

impl Changes {
    fn between(old: Option<&CachedKeySet>, new: &CachedKeySet) -> Self {
        let keys =
            |cached: Option<&CachedKeySet>| cached.map(|cached| cached.by_preference.clone()).unwrap_or_default();
        let (old_keys, new_keys) = (keys(old), keys(Some(new)));
        let missing = |from: &[Arc<EncryptionKey>], keys: &[Arc<EncryptionKey>]| -> Vec<KeyName> {
            keys.iter().filter(|key| !from.contains(key)).map(|key| KeyName::of(key)).collect()
        };
        let (added, removed) = (missing(&old_keys, &new_keys), missing(&new_keys, &old_keys));
        let has_changed = !added.is_empty() || !removed.is_empty();
        let former = old.and_then(|old| old.chosen.as_ref());
        let chosen = new.chosen.as_ref().filter(|key| former != Some(*key));
        Self {
            replaced: chosen.and(former).map(|key| KeyName::of(key)),
            none_pinned: new.chosen.is_none() && has_changed,
            added,
            removed,
            chosen: chosen.map(|key| KeyName::of(key)),
            unusable: !old.map(|old| old.set.unusable()).unwrap_or_default().eq(&new.set.unusable()),
        }
    }
}

#[cfg(test)]
mod tests;
