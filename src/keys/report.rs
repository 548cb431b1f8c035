//! The log messages about fetches.
//!
//! `crate::failure_log` decides which failures are reported. Each attempt is logged at debug level.

use std::mem::{Discriminant, discriminant};

use super::state::FetchOutcome;
use super::{FetchError, FetchErrorKind, Keys};
use crate::failure_log::{Failure, FailureLog};

/// Another status or another position of the same fault is not another kind.
pub(super) type FetchFailures = FailureLog<Discriminant<FetchErrorKind>, FailureEffect>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureEffect {
    CachedIsFresh,
    CachedIsStale,
    NothingCanBeSealed,
}

impl Keys {
    pub(super) fn report(&self, outcome: &FetchOutcome) {
        let upstream = &*self.0.name;
        match outcome {
            FetchOutcome::Good(changes) => {
                if let Some(since) = self.0.failures.succeeded() {
                    tracing::info!(upstream, failed_since = %since, "the key set is fetched again");
                }
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
            FetchOutcome::Failed(error) => self.report_failure(error),
            FetchOutcome::Late => {
                tracing::debug!(upstream, "a response arrived after the response to a later fetch and is ignored")
            }
        }
    }

    fn report_failure(&self, error: &FetchError) {
        let upstream = &*self.0.name;
        let (age, effect) = {
            let snapshot = self.snapshot();
            let is_fresh = snapshot.lifetime_left.is_some_and(|left| !left.is_zero());
            let effect = match snapshot.usable {
                Ok(_) if is_fresh => FailureEffect::CachedIsFresh,
                Ok(_) => FailureEffect::CachedIsStale,
                Err(_) => FailureEffect::NothingCanBeSealed,
            };
            (snapshot.age.map(|age| age.as_secs()), effect)
        };
        let kind = discriminant(&error.kind);
        let Failure { since, is_news } = self.0.failures.failed(kind, effect, self.0.clock.now());
        match effect {
            _ if !is_news => {
                tracing::debug!(upstream, %error, %since, age_seconds = age, "the key set still cannot be fetched");
            }
            FailureEffect::CachedIsFresh => {
                tracing::warn!(upstream, %error, %since, age_seconds = age, "the key set could not be refreshed; the cached one is fresh");
            }
            FailureEffect::CachedIsStale => {
                tracing::error!(upstream, %error, %since, age_seconds = age, "the key set could not be refreshed; the cached one is stale");
            }
            FailureEffect::NothingCanBeSealed => {
                tracing::error!(upstream, %error, %since, age_seconds = age, "the key set could not be fetched; nothing can be sealed");
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
    use super::super::fixtures::{TestProvider, logged};
    use super::super::state::Changes;
    use super::super::{KeyName, Source};
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_failure_is_reported_when_it_begins_when_it_changes_and_when_it_ends() {
        let (keys, _control) = TestProvider::start([]).await.keys();
        let failed = |kind| FetchOutcome::Failed(FetchError::new(&Source::File("keys.json".into()), kind));
        let report = |outcome: FetchOutcome| logged(|| keys.report(&outcome));
        assert!(report(failed(FetchErrorKind::Status(500))).contains("nothing can be sealed"));
        assert_eq!(report(failed(FetchErrorKind::Status(503))), "");
        assert!(report(failed(FetchErrorKind::TooLarge)).contains("nothing can be sealed"));
        assert!(report(FetchOutcome::Good(Changes::default())).contains("the key set is fetched again"));
        assert_eq!(report(FetchOutcome::Good(Changes::default())), "");
    }

    #[tokio::test]
    async fn an_outage_with_two_alternating_causes_is_reported_once_per_minute() {
        let (keys, control) = TestProvider::start([]).await.keys();
        let log = logged(|| {
            for attempt in 0..600 {
                let kind = if attempt % 2 == 0 { FetchErrorKind::TooLarge } else { FetchErrorKind::NotAKeySet };
                keys.report(&FetchOutcome::Failed(FetchError::new(&Source::File("keys.json".into()), kind)));
                control.advance(Duration::from_secs(1));
            }
        });
        assert_eq!(log.lines().count(), 11, "{log}");
    }

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
