//! The published keys, for a gateway that does not seal.

use super::{FetchError, KeySetDocument, KeyStatus, Keys, NoUsableKey, Snapshot};

/// A view of the published keys that gives no access to an `EncryptionKey`. A module that has only this type cannot seal
/// a plaintext body.
#[derive(Clone, Debug)]
pub(crate) struct PublishedKeys(Keys);

impl PublishedKeys {
    pub(super) fn of(keys: Keys) -> Self {
        Self(keys)
    }

    /// Call this after the provider has refused a message that a caller had sealed with key `kid`. Fetches the set at
    /// once. Returns the usable kids, the preferred one first, if `kid` is not among them.
    pub(crate) async fn replacement_kids(&self, kid: Option<&str>) -> KeyStatus<Vec<String>> {
        self.0.after_refusal(|| self.0.0.cached.load().as_ref()?.replacement_kids(kid)).await
    }

    /// See [`Keys::check_in_background`].
    pub(crate) fn check_in_background(&self) {
        self.0.check_in_background();
    }

    /// Whether the cached set has a usable key with this `kid`.
    #[must_use]
    pub(crate) fn publishes(&self, kid: &str) -> bool {
        self.0.0.cached.load().as_ref().is_some_and(|cached| cached.publishes(kid))
    }

    /// The key set for sidecars. Waits for the first set as [`Keys::current`] does. With `bypass_caches`, the provider
    /// has sent or confirmed the set after this call.
    ///
    /// # Errors
    /// If there is no usable key: see [`NoUsableKey`]. With `bypass_caches`, also if the fetch fails: the caller
    /// may know that the cached set is outdated.
    pub(crate) async fn key_set(&self, bypass_caches: bool) -> Result<KeySetDocument, NoUsableKey> {
        let Self(keys) = self;
        if bypass_caches {
            keys.confirm().await.map_err(|error| NoUsableKey::NotConfirmed { error })?;
        }
        keys.current().await?;
        let cached = keys.0.cached.load();
        let cached = cached.as_ref().ok_or(NoUsableKey::NeverFetched { last_error: None })?;
        Ok(KeySetDocument::of(cached, &keys.0.config.pin, keys.0.clock.now()))
    }

    /// Fetches the set from the provider itself, with a request that leaves after this call. Returns whether its usable
    /// keys have changed.
    ///
    /// # Errors
    /// If the fetch brings no good set: see [`FetchError`].
    pub(crate) async fn refresh_now(&self) -> Result<bool, FetchError> {
        let counters = &self.0.0.counters;
        let before = counters.changes();
        self.0.confirm().await?;
        Ok(counters.changes() != before)
    }

    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    pub(crate) async fn run_refresh(self) {
        self.0.run_refresh().await;
    }
}
