//! The state that the provider's API and the management interface share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::faults::ArmedFaults;
use super::flinks::Flinks;
use super::key_set::DecryptionKeys;
use super::options::Options;
use super::received::{CallLog, CallStanding, Standing};
use super::token::{self, IssuedTokens};
use super::verdict::{self, Verdict};
use super::world::ApiState;
use crate::clock::Clock;
use crate::jose::DecryptionKey;
use crate::secret::Secret;

const CLIENT_ID: &str = "sandbox-client";

/// How far the time can be advanced. Dates far in the future could not be represented.
const MAX_ADVANCE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The state of the provider. A lock is held for one look-up or change, never across an `await`, and never
/// together with another lock. The exception is `advanced`, which is read while `api` is locked.
pub(super) struct SandboxState {
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) token_lifetime: Duration,
    pub(super) max_age: Duration,
    /// The seed of the data.
    pub(super) seed: u64,
    /// Whether plain JSON bodies are refused.
    pub(super) require_sealed: bool,
    /// For waiting. For the time use [`SandboxState::now`].
    pub(super) clock: Clock,
    /// How far the management interface has advanced the time.
    advanced: Mutex<Duration>,
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
    pub(super) fn new(options: Options) -> Self {
        let clock = options.clock;
        let started_at = Timestamp::now();
        Self {
            client_id: options.client_id.unwrap_or_else(|| CLIENT_ID.to_owned()),
            client_secret: Secret::new(options.client_secret.unwrap_or_else(random_secret)),
            token_lifetime: options.token_lifetime,
            max_age: options.max_age,
            seed: options.seed,
            require_sealed: options.require_sealed,
            advanced: Mutex::default(),
            started: clock.now(),
            started_at,
            clock,
            keys: Mutex::new(DecryptionKeys::new()),
            tokens: Mutex::default(),
            flinks: Flinks::new(options.seed, started_at),
            api: Mutex::new(ApiState::seeded(options.seed, started_at)),
            received: Mutex::default(),
            faults: ArmedFaults::default(),
            jwks_fetches: AtomicU64::new(0),
            token_requests: AtomicU64::new(0),
        }
    }

    /// The time of the clock, plus the time by which the management interface has advanced it.
    pub(super) fn now(&self) -> Instant {
        let now = self.clock.now();
        now.checked_add(*lock(&self.advanced)).unwrap_or(now)
    }

    /// The time for dates in documents: the wall-clock time of the start plus the time that has passed in the
    /// sandbox since.
    pub(super) fn timestamp(&self) -> Timestamp {
        let elapsed = self.now().saturating_duration_since(self.started);
        self.started_at.checked_add(elapsed).unwrap_or(self.started_at)
    }

    /// Advances the time, and returns the new one. `None` if the sum would exceed [`MAX_ADVANCE`].
    pub(super) fn advance_clock(&self, by: Duration) -> Option<Timestamp> {
        let mut advanced = lock(&self.advanced);
        *advanced = advanced.checked_add(by).filter(|sum| *sum <= MAX_ADVANCE)?;
        drop(advanced);
        Some(self.timestamp())
    }

    /// Takes back every advance of the time.
    pub(super) fn restore_clock(&self) {
        *lock(&self.advanced) = Duration::ZERO;
    }

    /// Restores data and time as at the start, disarms the faults and forgets the recorded calls. Keys and tokens stay,
    /// so that a client under test need not start again.
    pub(super) fn reset(&self) {
        self.restore_clock();
        *lock(&self.api) = ApiState::seeded(self.seed, self.started_at);
        self.flinks.reset();
        self.faults.disarm_all();
        lock(&self.received).clear();
    }

    /// All data of the provider as one document.
    pub(super) fn world(&self) -> Value {
        self.with_api(|api, _| serde_json::to_value(api).unwrap_or_default())
    }

    /// Replaces all data of the provider.
    ///
    /// # Errors
    /// One sentence for each fault of the document. The data are then unchanged.
    pub(super) fn set_world(&self, world: Value) -> Result<(), Vec<String>> {
        let world: ApiState = serde_path_to_error::deserialize(world).map_err(|error| vec![error.to_string()])?;
        let faults = world.check();
        if faults.is_empty() {
            *lock(&self.api) = world;
            Ok(())
        } else {
            Err(faults)
        }
    }

    /// Waits until the log has a call with a number above `after`, at most for `wait`.
    pub(super) async fn wait_for_call(&self, after: u64, wait: Duration) {
        let mut total = lock(&self.received).watch();
        let arrived = async { while lock(&self.received).after(after).len() == 0 && total.changed().await.is_ok() {} };
        // System time: the caller of the management interface waits, not the provider.
        let _elapsed = tokio::time::timeout(wait, arrived).await;
    }

    pub(super) fn verdict(&self, after: u64) -> Verdict {
        let (calls, total) = {
            let log = lock(&self.received);
            (log.after(after).cloned().collect::<Vec<_>>(), log.total())
        };
        Verdict::of(&calls, after, total)
    }

    pub(super) fn keys(&self) -> Vec<DecryptionKey> {
        lock(&self.keys).keys(self.now())
    }

    pub(super) fn issue_token(&self, lifetime: Duration) -> String {
        lock(&self.tokens).issue(lifetime, self.now())
    }

    /// Revokes all tokens of both providers.
    pub(super) fn revoke_tokens(&self) {
        let now = self.now();
        lock(&self.tokens).revoke_all(now);
        lock(&self.flinks.tokens).revoke_all(now);
    }

    pub(super) fn is_authenticated(&self, headers: &HeaderMap) -> bool {
        let now = self.now();
        token::bearer(headers).is_some_and(|token| lock(&self.tokens).is_valid(token, now))
    }

    /// Judges key and token of a call that arrives now.
    pub(super) fn standing(&self, headers: &HeaderMap, wire: &[u8]) -> CallStanding {
        let now = self.now();
        let header = verdict::protected_header(wire);
        let kid = header.as_ref().and_then(|header| header.get("kid")).and_then(Value::as_str);
        CallStanding {
            key: kid.map_or(Standing::Missing, |kid| lock(&self.keys).standing(kid, now)),
            token: lock(&self.tokens).standing(token::bearer(headers), now),
        }
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

fn random_secret() -> String {
    format!("sandbox-secret-{}", Uuid::new_v4().simple())
}
