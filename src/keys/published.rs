//! The published keys, for one who does not seal.

use super::{Keys, NoUsableKey, Published, Snapshot};

/// Which keys there are. No key to seal with can be had of it, so whoever has no more than this has
/// nothing to do with a body in clear.
#[derive(Clone, Debug)]
pub struct KnownKeys(Keys);

impl KnownKeys {
    pub(super) fn of(keys: Keys) -> Self {
        Self(keys)
    }

    /// The provider refused a message that a caller had sealed under `kid`: fetches the set past its
    /// schedule, and gives the kids that can be sealed with, the preferred one first, if `kid` is
    /// not among them.
    pub async fn kids_instead_of(&self, kid: Option<&str>) -> Option<Vec<String>> {
        self.0.after_refusal(|| self.0.0.held.load().as_ref()?.kids_instead_of(kid)).await
    }

    /// Whether a key of this kid can be sealed with, as far as is known without a fetch.
    #[must_use]
    pub fn publishes(&self, kid: &str) -> bool {
        self.0.0.held.load().as_ref().is_some_and(|held| held.publishes(kid))
    }

    /// The set to publish again, waiting for the very first one as [`Keys::current`] does.
    /// With `past_caches` it is one that the provider confirmed after this call began.
    ///
    /// # Errors
    /// When there is none: see [`NoUsableKey`]. With `past_caches` also when the provider could
    /// not be asked; what is in hand may then be what the caller knows to be out of date.
    pub async fn published(&self, past_caches: bool) -> Result<Published, NoUsableKey> {
        let Self(keys) = self;
        if past_caches {
            keys.confirm().await.map_err(|error| NoUsableKey::NotConfirmed { error })?;
        }
        keys.current().await?;
        let held = keys.0.held.load();
        let held = held.as_ref().ok_or(NoUsableKey::NeverFetched { last_error: None })?;
        Ok(Published::of(held, &keys.0.config.pin, keys.0.clock.now()))
    }

    /// As [`Keys::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// As [`Keys::keep_fresh`].
    pub async fn keep_fresh(self) {
        self.0.keep_fresh().await;
    }
}
