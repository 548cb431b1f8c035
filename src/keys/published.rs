//! The published keys, for one who does not seal.

use super::{KeySetDocument, Keys, NoUsableKey, Snapshot};

/// Which keys there are. No key to seal with can be had of it, so whoever has no more than this has
/// nothing to do with a body in clear.
#[derive(Clone, Debug)]
pub(crate) struct PublishedKeys(Keys);

impl PublishedKeys {
    pub(super) fn of(keys: Keys) -> Self {
        Self(keys)
    }

    /// The provider refused a message that a caller had sealed under `kid`: fetches the set past its
    /// schedule, and gives the kids that can be sealed with, the preferred one first, if `kid` is
    /// not among them.
    pub(crate) async fn kids_instead_of(&self, kid: Option<&str>) -> Option<Vec<String>> {
        self.0.after_refusal(|| self.0.0.cached.load().as_ref()?.kids_instead_of(kid)).await
    }

    /// Whether a key of this kid can be sealed with, as far as is known without a fetch.
    #[must_use]
    pub(crate) fn publishes(&self, kid: &str) -> bool {
        self.0.0.cached.load().as_ref().is_some_and(|cached| cached.publishes(kid))
    }

    /// The set to publish again, waiting for the very first one as [`Keys::current`] does.
    /// With `past_caches` it is one that the provider confirmed after this call began.
    ///
    /// # Errors
    /// When there is none: see [`NoUsableKey`]. With `past_caches` also when the provider could
    /// not be asked; what is in hand may then be what the caller knows to be out of date.
    pub(crate) async fn published(&self, bypass_caches: bool) -> Result<KeySetDocument, NoUsableKey> {
        let Self(keys) = self;
        if bypass_caches {
            keys.confirm().await.map_err(|error| NoUsableKey::NotConfirmed { error })?;
        }
        keys.current().await?;
        let cached = keys.0.cached.load();
        let cached = cached.as_ref().ok_or(NoUsableKey::NeverFetched { last_error: None })?;
        Ok(KeySetDocument::of(cached, &keys.0.config.pin, keys.0.clock.now()))
    }

    /// As [`Keys::snapshot`].
    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// As [`Keys::run_refresh`].
    pub(crate) async fn run_refresh(self) {
        self.0.run_refresh().await;
    }
}
