//! The log messages about fetches.

use super::Keys;
use super::state::FetchOutcome;

impl Keys {
    pub(super) fn report(&self, outcome: &FetchOutcome) {
        let upstream = &*self.0.name;
        match outcome {
            FetchOutcome::Good(changes) => {
                for key in &changes.added {
                    tracing::info!(upstream, %key, "the provider now publishes a key");
                }
                for key in &changes.removed {
                    tracing::info!(upstream, %key, "the provider no longer publishes a key");
                }
                match (&changes.chosen, &changes.replaced) {
                    (Some(key), None) => tracing::info!(upstream, %key, "messages are sealed with this key"),
                    (Some(key), Some(replaced)) => {
                        tracing::info!(upstream, %key, %replaced, "messages are sealed with another key from now on");
                    }
                    (None, _) => {}
                }
                if changes.unusable {
                    self.report_unusable_entries();
                }
                if changes.none_pinned {
                    tracing::error!(upstream, "no usable key is pinned; nothing can be sealed");
                }
            }
            FetchOutcome::Failed(error) => {
                let snapshot = self.snapshot();
                let age = snapshot.age.map(|age| age.as_secs());
                match snapshot.usable {
                    Ok(_) if snapshot.lifetime_left.is_some_and(|left| !left.is_zero()) => {
                        tracing::warn!(upstream, %error, age_seconds = age, "the key set could not be refreshed; the cached one is fresh");
                    }
                    Ok(_) => {
                        tracing::error!(upstream, %error, age_seconds = age, "the key set could not be refreshed; the cached one is stale");
                    }
                    Err(_) => {
                        tracing::error!(upstream, %error, age_seconds = age, "the key set could not be fetched; nothing can be sealed")
                    }
                }
            }
            FetchOutcome::Late => {
                tracing::debug!(upstream, "a response arrived after the response to a later fetch and is ignored")
            }
        }
    }

    fn report_unusable_entries(&self) {
        let Some(cached) = self.0.cached.load_full() else {
            return;
        };
        let upstream = &*self.0.name;
        for (index, entry) in cached.set().entries().iter().enumerate() {
            if entry.usable().is_none() {
                let key = entry.name().map(|name| name.to_string());
                tracing::warn!(upstream, index, key, reason = %entry.state(), "a published key cannot be used");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeyName;
    use super::super::fixtures::{TestProvider, logged};
    use super::super::state::Changes;
    use super::*;

    #[tokio::test]
    async fn the_first_key_is_not_logged_as_another_key() {
        let (keys, _control) = TestProvider::start([]).await.keys();
        let name = |kid: &str| KeyName { kid: Some(kid.to_owned()), thumbprint: None };
        let first = Changes { chosen: Some(name("a")), ..Changes::default() };
        let log = logged(|| keys.report(&FetchOutcome::Good(first)));
        assert!(log.contains("messages are sealed with this key") && log.contains("key=a"), "{log}");
        let second = Changes { chosen: Some(name("b")), replaced: Some(name("a")), ..Changes::default() };
        let log = logged(|| keys.report(&FetchOutcome::Good(second)));
        assert!(log.contains("messages are sealed with another key from now on"), "{log}");
        assert!(log.contains("key=b replaced=a"), "{log}");
    }
}
