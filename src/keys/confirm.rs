//! Checks whether a key is still published, after the provider has refused a message.
//!
//! The response to a fetch may be older than the refusal that the caller has just seen. There are two causes: the
//! request of the fetch left before the refusal, or a cache on the way (an egress) answered a scheduled fetch. Such a
//! fetch may bring a newer key, but it cannot confirm the old one. A refused caller therefore waits for the fetch
//! under way, at most [`MAX_WAIT_FOR_EARLIER`], and then joins one that leaves later. Even if an earlier fetch hangs,
//! it never waits longer than that time plus one fetch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::state::{Confirmation, FORCED_REFILL};
use super::{FetchError, FetchResult, Keys, Reason, is_abandoned};
use crate::jose::EncryptionKey;

/// How long a refused caller waits for a fetch that left before the refusal. The budget allows a further fetch after
/// this time.
const MAX_WAIT_FOR_EARLIER: Duration = FORCED_REFILL;

/// The result of a check whether a key is still published, after the provider has refused a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyStatus<T> {
    /// The key is no longer published. This is used instead.
    Replaced(T),
    /// The key is still published, so the refusal has another cause.
    Unchanged,
    /// No set could be fetched, or the new set has no usable key.
    Unknown,
}

impl<T> KeyStatus<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> KeyStatus<U> {
        match self {
            Self::Replaced(newer) => KeyStatus::Replaced(change(newer)),
            Self::Unchanged => KeyStatus::Unchanged,
            Self::Unknown => KeyStatus::Unknown,
        }
    }
}

impl Keys {
    /// Call this after the provider has refused a message that was sealed with `used`. Fetches the set at once.
    /// Returns the key to seal with instead if `used` (`kid` and key material) is no longer published.
    pub(crate) async fn replacement_for(&self, used: &EncryptionKey) -> KeyStatus<Arc<EncryptionKey>> {
        let cached = || self.0.cached.load();
        let replacement = || {
            let (now, max_stale) = (self.0.clock.now(), self.0.config.max_stale);
            cached().as_ref()?.replacement_for(used, now, max_stale).cloned()
        };
        match self.after_refusal(replacement).await {
            KeyStatus::Unchanged if !cached().as_ref().is_some_and(|cached| cached.set().publishes(used)) => {
                KeyStatus::Unknown
            }
            status => status,
        }
    }

    /// Call this after a refusal that seems to have another cause than the key. Has the set fetched in the background,
    /// in case the key is gone nevertheless: at once, but at most once per second.
    pub(crate) fn check_in_background(&self) {
        if self.state().check_in_background(self.0.clock.now()) {
            self.0.rescheduled.notify_one();
        }
    }

    /// Fetches until `replacement` returns a value, or until the key is confirmed or cannot be confirmed.
    pub(super) async fn after_refusal<T>(&self, replacement: impl Fn() -> Option<T>) -> KeyStatus<T> {
        match self.confirm_unless(replacement).await {
            Ok(Some(newer)) => KeyStatus::Replaced(newer),
            Ok(None) => KeyStatus::Unchanged,
            Err(_) => KeyStatus::Unknown,
        }
    }

    /// Fetches from the provider itself, with a request that leaves after this call. An egress needs this if a
    /// sidecar asks with `no-cache`.
    pub(super) async fn confirm(&self) -> FetchResult {
        self.confirm_unless(|| None::<Infallible>).await.map(drop)
    }

    /// Waits until a fetch has ended that left after this call and bypassed caches. Ends earlier if another fetch
    /// brings a set from which `replacement` returns a value.
    ///
    /// # Errors
    /// If that fetch failed.
    async fn confirm_unless<T>(&self, replacement: impl Fn() -> Option<T>) -> Result<Option<T>, FetchError> {
        let clock = &self.0.clock;
        let first = self.state().first_fetch_from_now();
        let latest = clock.now() + MAX_WAIT_FOR_EARLIER;
        loop {
            // Created before the state is read, so that no fetch ends unseen.
            let fetched = self.0.fetched.notified();
            let confirmation = self.state().confirmation(first);
            if let Some(newer) = replacement() {
                return Ok(Some(newer));
            }
            match confirmation {
                Confirmation::Ended(outcome) => return outcome.map(|()| None),
                Confirmation::Needs { is_earlier_under_way: true, .. } if clock.now() < latest => tokio::select! {
                    () = fetched => {}
                    () = clock.sleep_until(latest) => {}
                },
                Confirmation::Needs { number, .. } => {
                    let outcome = self.join(number, Reason::Refusal).await;
                    if is_abandoned(&outcome) {
                        return outcome.map(|()| None);
                    }
                }
            }
        }
    }
}
