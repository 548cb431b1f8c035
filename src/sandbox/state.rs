//! The state that the provider's API and the management interface share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use jiff::Timestamp;

use super::faults::ArmedFaults;
use super::flinks::Flinks;
use super::key_set::DecryptionKeys;
use super::received::CallLog;
use super::token::{self, IssuedTokens};
use super::world::ApiState;
use crate::clock::Clock;
use crate::jose::DecryptionKey;
use crate::secret::Secret;

/// The seed of the data, until the options have one.
const DEFAULT_SEED: u64 = 1;

/// The state of the provider. A lock is held for one look-up or change, never across an `await`, and never
/// together with another lock.
pub(super) struct SandboxState {
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) token_lifetime: Duration,
    pub(super) max_age: Duration,
    pub(super) clock: Clock,
    pub(super) keys: Mutex<DecryptionKeys>,
    pub(super) tokens: Mutex<IssuedTokens>,
    pub(super) flinks: Flinks,
    pub(super) api: Mutex<ApiState>,
    pub(super) received: Mutex<CallLog>,
    pub(super) faults: ArmedFaults,
    started: Instant,
    started_at: Timestamp,
    jwks_fetches: AtomicU64,
    token_requests: AtomicU64,
}

impl SandboxState {
    pub(super) fn new(
        client_id: String,
        client_secret: Secret,
        token_lifetime: Duration,
        max_age: Duration,
        clock: Clock,
    ) -> Self {
        let started_at = Timestamp::now();
        Self {
            client_id,
            client_secret,
            token_lifetime,
            max_age,
            started: clock.now(),
            started_at,
            clock,
            keys: Mutex::new(DecryptionKeys::new()),
            tokens: Mutex::default(),
            flinks: Flinks::new(),
            api: Mutex::new(ApiState::seeded(DEFAULT_SEED, started_at)),
            received: Mutex::default(),
            faults: ArmedFaults::default(),
            jwks_fetches: AtomicU64::new(0),
            token_requests: AtomicU64::new(0),
        }
    }

    /// The time for dates in documents: the wall-clock time of the start plus the time that `clock` has
    /// advanced since.
    pub(super) fn timestamp(&self) -> Timestamp {
        let elapsed = self.clock.now().saturating_duration_since(self.started);
        self.started_at.checked_add(elapsed).unwrap_or(self.started_at)
    }

    pub(super) fn keys(&self) -> Vec<DecryptionKey> {
        lock(&self.keys).keys(self.clock.now())
    }

    pub(super) fn issue_token(&self, lifetime: Duration) -> String {
        lock(&self.tokens).issue(lifetime, self.clock.now())
    }

    /// Revokes all tokens of both providers.
    pub(super) fn revoke_tokens(&self) {
        lock(&self.tokens).revoke_all();
        lock(&self.flinks.tokens).revoke_all();
    }

    pub(super) fn is_authenticated(&self, headers: &HeaderMap) -> bool {
        let now = self.clock.now();
        token::bearer(headers).is_some_and(|token| lock(&self.tokens).is_valid(token, now))
    }

    pub(super) fn count_jwks_fetch(&self) {
        self.jwks_fetches.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn jwks_fetches(&self) -> u64 {
        self.jwks_fetches.load(Ordering::Relaxed)
    }

    pub(super) fn count_token_request(&self) {
        self.token_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn token_requests(&self) -> u64 {
        self.token_requests.load(Ordering::Relaxed)
    }
}

/// Ignores poisoning: no panic can leave a change under these locks half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
