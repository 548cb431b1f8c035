//! The cached key set: its age, and the key to seal with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::freshness::Freshness;
use super::set::KeySet;
use crate::jose::EncryptionKey;

/// A good set with the time of its last confirmation. It is immutable: a newer one replaces it.
#[derive(Debug)]
pub(super) struct CachedKeySet {
    pub(super) set: Arc<KeySet>,
    /// The usable keys, the preferred one first.
    pub(super) by_preference: Vec<Arc<EncryptionKey>>,
    /// The first of them that is pinned.
    pub(super) chosen: Option<Arc<EncryptionKey>>,
    pub(super) received: Instant,
    /// More than zero only for a set from the last-known-good file.
    pub(super) age_when_received: Duration,
    pub(super) lifetime: Duration,
    pub(super) etag: Option<HeaderValue>,
}

/// Why the cached set has no key to seal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    Expired,
    NotPinned,
}

impl CachedKeySet {
    /// The key to seal with, until the set has expired.
    pub(super) fn key(&self, now: Instant, max_stale: Duration) -> Result<&Arc<EncryptionKey>, NoKey> {
        match Freshness::of(self.age(now), self.lifetime, max_stale) {
            Freshness::Fresh | Freshness::Stale => self.chosen.as_ref().ok_or(NoKey::NotPinned),
            Freshness::Expired => Err(NoKey::Expired),
        }
    }

    /// The key to seal with instead of `used`. `None` if `used` is still published.
    pub(super) fn replacement_for(
        &self,
        used: &EncryptionKey,
        now: Instant,
        max_stale: Duration,
    ) -> Option<&Arc<EncryptionKey>> {
        if self.set.publishes(used) { None } else { self.key(now, max_stale).ok() }
    }

    /// The kids to use instead of `kid`. `None` if `kid` is still published.
    pub(super) fn replacement_kids(&self, kid: Option<&str>) -> Option<Vec<String>> {
        match kid {
            Some(kid) if self.publishes(kid) => None,
            _ => Some(self.by_preference.iter().filter_map(|key| key.kid().map(str::to_owned)).collect()),
        }
    }

    /// Whether the set has a usable key with this `kid`.
    pub(super) fn publishes(&self, kid: &str) -> bool {
        self.by_preference.iter().any(|key| key.kid() == Some(kid))
    }

    pub(super) fn set(&self) -> &KeySet {
        &self.set
    }

    /// Time since the provider last sent or confirmed the set.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.age_when_received.saturating_add(now.saturating_duration_since(self.received))
    }

    /// Zero if the set is stale.
    pub(super) fn lifetime_left(&self, now: Instant) -> Duration {
        self.lifetime.saturating_sub(self.age(now))
    }
}
