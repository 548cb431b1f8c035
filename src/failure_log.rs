//! Decides which failures of a repeated task are logged.
//!
//! The log reports a failure when it begins, when its effect changes, and when it ends. Requests without a key or a
//! token cause an attempt every second, and a long outage must not fill the log. A change of the kind is reported at
//! most once per minute, because some outages alternate between a timeout and a refused connection.
//!
//! A failure begins with the first failed attempt and ends with a success. Another kind does not begin another failure:
//! an operator wants to know when the task last succeeded.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Shortest time between two reports of a changed kind.
const KIND_INTERVAL: Duration = Duration::from_secs(60);

/// The present failure of one task, as the log has reported it. `K` is its kind, `E` its effect.
#[derive(Debug)]
pub(crate) struct FailureLog<K, E>(Mutex<Option<ReportedFailure<K, E>>>);

#[derive(Debug)]
struct ReportedFailure<K, E> {
    kind: K,
    effect: E,
    since: Timestamp,
    /// When a change of the kind was last reported.
    kind_changed: Option<Instant>,
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// When the first attempt failed.
    pub(crate) since: Timestamp,
    /// Whether the log must report it.
    pub(crate) is_news: bool,
}

impl<K: PartialEq, E: PartialEq> FailureLog<K, E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Records a failed attempt.
    pub(crate) fn failed(&self, kind: K, effect: E, now: Instant) -> Failure {
        let mut reported = self.reported();
        let Some(known) = reported.as_mut() else {
            let since = Timestamp::now();
            *reported = Some(ReportedFailure { kind, effect, since, kind_changed: None });
            return Failure { since, is_news: true };
        };
        let has_other_kind = known.kind != kind;
        let is_news =
            known.effect != effect || has_other_kind && known.kind_changed.is_none_or(|at| now >= at + KIND_INTERVAL);
        if is_news {
            if has_other_kind {
                known.kind_changed = Some(now);
            }
            (known.kind, known.effect) = (kind, effect);
        }
        Failure { since: known.since, is_news }
    }

    /// Records a success. Returns when the failure began that it ends.
    pub(crate) fn succeeded(&self) -> Option<Timestamp> {
        self.reported().take().map(|ended| ended.since)
    }

    /// When the first attempt failed. `None` after a success.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.reported().as_ref().map(|reported| reported.since)
    }

    fn reported(&self) -> MutexGuard<'_, Option<ReportedFailure<K, E>>> {
        // A poisoned lock means that a comparison of kinds or effects panicked. The value is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_failure_is_news_when_it_begins_and_when_its_effect_changes() {
        let now = Clock::manual().0.now();
        let log = FailureLog::new();
        let is_news = |kind, effect| log.failed(kind, effect, now).is_news;
        assert!(is_news("timeout", "stale"));
        assert!(!is_news("timeout", "stale"));
        assert!(is_news("timeout", "nothing"));
        assert!(!is_news("timeout", "nothing"));
        assert!(log.succeeded().is_some());
        assert_eq!(log.succeeded(), None);
        assert!(is_news("timeout", "nothing"));
    }

    #[test]
    fn kinds_that_alternate_are_news_once_per_minute() {
        let start = Clock::manual().0.now();
        let log = FailureLog::new();
        let attempts = (0..600).map(|second| log.failed(second % 2, (), start + second * SECOND).is_news);
        assert_eq!(attempts.filter(|is_news| *is_news).count(), 1 + 10);
        // A change that was left out is reported when the minute has passed.
        assert!(!log.failed(7, (), start + 605 * SECOND).is_news);
        assert!(log.failed(7, (), start + 700 * SECOND).is_news);
        // A change of the effect does not wait.
        let log = FailureLog::new();
        let news = ["a", "b", "c"].map(|kind| log.failed(kind, kind == "c", start).is_news);
        assert_eq!(news, [true; 3]);
    }

    #[test]
    fn another_kind_does_not_begin_another_failure() {
        let now = Clock::manual().0.now();
        let log = FailureLog::new();
        assert_eq!(log.since(), None);
        let since = log.failed("timeout", (), now).since;
        assert_eq!(log.failed("refused", (), now).since, since);
        assert_eq!((log.since(), log.succeeded(), log.since()), (Some(since), Some(since), None));
    }
}
