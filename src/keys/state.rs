//! What is known about the keys, and what follows from it: a state machine without I/O.
//!
//! Fetches are numbered in the order in which they are sent, and an answer is taken only if no
//! later one was taken before. So a slow answer cannot bring a withdrawn key back, whoever sent it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;

use super::cached_set::{CachedKeySet, NoKey};
use super::fetch::FetchResponse;
use super::last_good::LastGood;
use super::selection::{FirstSeen, by_preference, is_pinned};
use super::set::KeySet;
use super::{Config, FetchError, FetchErrorKind, KeyName, NoUsableKey};
use crate::clock::{Backoff, Jitter};
use crate::jose::EncryptionKey;
use crate::rate_limit::TokenBucket;
use crate::single_flight::FlightLog;

/// The part of its lifetime after which a set is refreshed: late enough to spare the provider,
/// early enough for some failed attempts, spread so that a fleet does not ask at once.
const REFRESH_AT: (f64, f64) = (0.75, 0.85);

/// Fetches that the provider's refusals may cause in a row: a few rotations, or a few bad
/// requests, at once.
const FORCED_BURST: u32 = 5;

/// How often a spent one comes back: once a second is nothing to a provider, and the longest
/// that a refused request waits for its turn.
const FORCED_REFILL: Duration = Duration::from_secs(1);

/// Everything that is known about the provider's keys.
#[derive(Debug)]
pub(super) struct State {
    cached: Option<Arc<CachedKeySet>>,
    first_seen: FirstSeen,
    fetches: FlightLog<FetchError>,
    /// Whether the last fetch that was sent goes past caches, and the last such one that ended.
    bypasses_caches: bool,
    ended_bypassing_caches: u64,
    /// No fetch of the timer's before.
    due: Instant,
    backoff: Backoff,
    budget: TokenBucket,
    counts: Counts,
    jitter: Jitter,
    config: Arc<Config>,
}

/// The fetch that a caller can join or start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextFetch {
    pub(super) number: u64,
    /// When the timer may start it.
    pub(super) due: Instant,
}

/// What came of an answer.
#[derive(Debug)]
pub(super) enum FetchOutcome {
    /// A set was adopted or confirmed.
    Good(Changes),
    /// The fetch failed; the set in hand stays.
    Failed(FetchError),
    /// A later answer had been taken before.
    Late,
}

/// How a set differs from the one before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<KeyName>,
    pub(super) removed: Vec<KeyName>,
    /// The key to seal with from now on, if it differs from the one before.
    pub(super) chosen: Option<KeyName>,
    /// The key that `chosen` replaces. `None` for the first key.
    pub(super) replaced: Option<KeyName>,
    /// Whether other entries than before cannot be used, or for other reasons.
    pub(super) unusable: bool,
    /// Whether the pins allow none of the keys, and these are others than before.
    pub(super) none_pinned: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) changes: u64,
}

impl State {
    pub(super) fn new(config: Arc<Config>, now: Instant, jitter: Jitter) -> Self {
        Self {
            cached: None,
            first_seen: FirstSeen::default(),
            fetches: FlightLog::new(),
            bypasses_caches: false,
            ended_bypassing_caches: 0,
            due: now,
            backoff: Backoff::new(config.backoff_min, config.backoff_max, jitter.clone()),
            budget: TokenBucket::new(FORCED_BURST, FORCED_REFILL, now),
            counts: Counts::default(),
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

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The key to seal with, or why there is none.
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

    /// Takes a forced fetch from the budget, or says when there will be one.
    pub(super) fn take_from_budget(&mut self, now: Instant) -> Result<(), Instant> {
        self.budget.take(now)
    }

    /// What came of fetch `number` when it has already ended.
    pub(super) fn outcome_of(&self, number: u64) -> Option<Result<(), FetchError>> {
        self.fetches.outcome_of(number)
    }

    /// Whether fetch `number`, or a later one that has ended, had the provider itself asked. One of the
    /// timer's may have been answered by a cache on the way.
    pub(super) fn bypassed_caches(&self, number: u64) -> bool {
        self.ended_bypassing_caches >= number
    }

    /// Fetch `number` is sent, with the returned validator if there is one; `Err` tells what came
    /// of it when it has already ended.
    pub(super) fn send(
        &mut self,
        number: u64,
        bypass_caches: bool,
    ) -> Result<Option<HeaderValue>, Result<(), FetchError>> {
        self.fetches.start(number)?;
        self.bypasses_caches = bypass_caches;
        Ok(self.cached.as_ref().and_then(|cached| cached.etag.clone()))
    }

    /// Fetch `number` ended, with this answer.
    pub(super) fn finish(
        &mut self,
        number: u64,
        answer: Result<FetchResponse, FetchError>,
        now: Instant,
    ) -> FetchOutcome {
        let adopted = answer.and_then(|answer| match (answer, self.cached.clone()) {
            (FetchResponse::Set { set, lifetime, etag }, _) => {
                let lifetime = lifetime.unwrap_or(self.config.default_lifetime);
                Ok((Arc::new(set), lifetime, etag))
            }
            // RFC 9111 section 4.3.4: what the 304 does not state anew stays as it was.
            (FetchResponse::NotModified { lifetime }, Some(cached)) => {
                Ok((Arc::clone(&cached.set), lifetime.unwrap_or(cached.lifetime), cached.etag.clone()))
            }
            (FetchResponse::NotModified { .. }, None) => {
                Err(FetchError::new(&self.config.source, FetchErrorKind::NotModifiedUnasked))
            }
        });
        if !self.fetches.end(number, adopted.as_ref().map(|_| ()).map_err(Clone::clone)) {
            return FetchOutcome::Late;
        }
        if self.bypasses_caches {
            self.ended_bypassing_caches = number;
        }
        match adopted {
            Ok((set, lifetime, etag)) => {
                self.first_seen.note(set.usable());
                let changes = self.hold(set, now, Duration::ZERO, lifetime, etag);
                self.backoff.reset();
                self.due = now + self.jitter.between(lifetime, REFRESH_AT.0, REFRESH_AT.1);
                self.counts.ok += 1;
                self.counts.changes += u64::from(!changes.added.is_empty() || !changes.removed.is_empty());
                FetchOutcome::Good(changes)
            }
            Err(error) => {
                let retry = now + self.backoff.next_wait();
                // A failed forced fetch may bring the timer's next one forward, never put it off.
                self.due = if self.due > now { self.due.min(retry) } else { retry };
                self.counts.failed += 1;
                FetchOutcome::Failed(error)
            }
        }
    }

    /// Takes what was kept on disk, unless something newer is in hand. It is due for a refresh at once.
    pub(super) fn restore(&mut self, kept: LastGood, now: Instant, wall: SystemTime) -> bool {
        if self.cached.is_some() {
            return false;
        }
        let set = Arc::new(kept.set);
        // Written with the preferred key first: let them arrive one after the other, in that order.
        let keys: Vec<_> = set.usable().cloned().collect();
        for key in keys.iter().rev() {
            self.first_seen.note([key]);
        }
        let lifetime = kept.lifetime.min(self.config.max_lifetime);
        // A moment in the future says that one of the two clocks was wrong, and not how old the set is.
        let age = wall.duration_since(kept.fetched).unwrap_or(Duration::ZERO);
        self.hold(set, now, age, lifetime, None);
        true
    }

    fn hold(
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
        let is_news = !added.is_empty() || !removed.is_empty();
        let former = old.and_then(|old| old.chosen.as_ref());
        let chosen = new.chosen.as_ref().filter(|key| former != Some(*key));
        Self {
            replaced: chosen.and(former).map(|key| KeyName::of(key)),
            none_pinned: new.chosen.is_none() && is_news,
            added,
            removed,
            chosen: chosen.map(|key| KeyName::of(key)),
            unusable: !old.map(|old| old.set.unusable()).unwrap_or_default().eq(&new.set.unusable()),
        }
    }
}

#[cfg(test)]
mod tests;
