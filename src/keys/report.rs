//! The log messages about fetches.
//!
//! The log reports a failure when it begins, when its cause or its effect changes, and when it ends. Requests without a
//! key cause an attempt every second, and a long outage must not fill the log. Each attempt is logged at debug level.

use std::mem::discriminant;
use std::sync::{MutexGuard, PoisonError};

use jiff::Timestamp;

use super::state::FetchOutcome;
use super::{FetchError, Keys};

/// A failure of the last fetches, as the log has reported it.
#[derive(Debug)]
pub(super) struct ReportedFailure {
    error: FetchError,
    effect: FailureEffect,
    /// When the first fetch failed in this way.
    since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureEffect {
    CachedIsFresh,
    CachedIsStale,
    NothingCanBeSealed,
}

impl Keys {
    pub(super) fn report(&self, outcome: &FetchOutcome) {
        let upstream = &*self.0.name;
        match outcome {
            FetchOutcome::Good(changes) => {
                if let Some(ended) = self.reported_failure().take() {
                    tracing::info!(upstream, failed_since = %ended.since, "the key set is fetched again");
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
        let (since, is_known) = {
            let mut reported = self.reported_failure();
            let is_same = |reported: &&ReportedFailure| discriminant(&reported.error.kind) == discriminant(&error.kind);
            let same = reported.as_ref().filter(is_same);
            let since = same.map_or_else(Timestamp::now, |reported| reported.since);
            let is_known = same.is_some_and(|reported| reported.effect == effect);
            *reported = Some(ReportedFailure { error: error.clone(), effect, since });
            (since, is_known)
        };
        match effect {
            _ if is_known => {
                tracing::debug!(upstream, %error, %since, age_seconds = age, "the key set could not be fetched again");
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

    fn reported_failure(&self) -> MutexGuard<'_, Option<ReportedFailure>> {
        // A poisoned lock only means that another thread panicked between two log lines.
        self.0.reported_failure.lock().unwrap_or_else(PoisonError::into_inner)
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
    use super::super::{FetchErrorKind, Source};
    use super::*;

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
