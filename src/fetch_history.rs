//! The last attempts to fetch a key set or a credential, for the status page.
//!
//! The history outlives what it describes: a reload of the configuration makes new keys and credentials, and they record
//! in the same history.
//!
//! The hard case is an outage. With traffic there is an attempt per second, which would push everything before the
//! outage out of a list of fixed length. Successive failures with the same cause are therefore one [`Attempts`].
//!
//! An observer gets each attempt too, for the spans of a trace.
//!
//! Rejected: reading the log again. It may be filtered, and it is elsewhere.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::fetch_counters::FailureReason;

/// The number of entries. At the usual lifetime of a key set they cover more than six hours.
const REMEMBERED: usize = 100;

/// The number of characters that are kept of a cause. It names a URL or a file.
const MAX_CAUSE: usize = 300;

/// One attempt, or several in succession that failed with the same cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// The end of the first one.
    pub first: Timestamp,
    /// The end of the last one.
    pub last: Timestamp,
    pub count: u64,
    /// How long the last one took.
    pub took: Duration,
    /// Why they failed. `None` after a success.
    pub error: Option<String>,
}

/// A function that is called at the end of each attempt, with how long it took, and why it failed.
pub(crate) type FetchObserver = Arc<dyn Fn(Duration, Option<FailureReason>) + Send + Sync>;

#[derive(Default)]
pub(crate) struct FetchHistory {
    attempts: Mutex<VecDeque<Attempts>>,
    observer: Mutex<Option<FetchObserver>>,
}

impl FetchHistory {
    /// Records an attempt that has just ended. The reason is `None` if the process is ending. The observer is then not
    /// called.
    pub(crate) fn record(&self, took: Duration, result: Result<(), (String, Option<FailureReason>)>) {
        let outcome = match &result {
            Ok(()) => Some(None),
            Err((_, reason)) => reason.map(Some),
        };
        self.record_at(Timestamp::now(), took, result.map_err(|(error, _)| error));
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let (Some(observer), Some(failure)) = (observer, outcome) {
            observer(took, failure);
        }
    }

    /// Replaces the observer. It is called at the end of each attempt.
    #[cfg(feature = "otlp")]
    pub(crate) fn observe(&self, observer: Option<FetchObserver>) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = observer;
    }

    /// The remembered attempts, oldest first.
    pub(crate) fn recent(&self) -> Vec<Attempts> {
        self.attempts().iter().cloned().collect()
    }

    fn record_at(&self, now: Timestamp, took: Duration, result: Result<(), String>) {
        let error = result.err().map(|cause| cause.chars().take(MAX_CAUSE).collect::<String>());
        let mut attempts = self.attempts();
        match attempts.back_mut() {
            Some(last) if error.is_some() && last.error == error => {
                (last.last, last.took) = (now, took);
                last.count += 1;
            }
            _ => {
                if attempts.len() == REMEMBERED {
                    attempts.pop_front();
                }
                attempts.push_back(Attempts { first: now, last: now, count: 1, took, error });
            }
        }
    }

    fn attempts(&self) -> MutexGuard<'_, VecDeque<Attempts>> {
        // A poisoned lock only means that another thread panicked. The list is whole after each change.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FetchHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FetchHistory").field(&self.attempts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_outage_of_hours_does_not_push_out_what_was_before() {
        let history = FetchHistory::default();
        history.record_at(at(0), Duration::ZERO, Ok(()));
        for second in 1..=10_000 {
            history.record_at(at(second), Duration::from_millis(5), Err("status 500".to_owned()));
        }
        let [success, outage] = history.recent().try_into().unwrap();
        assert_eq!((success.first, success.error), (at(0), None));
        assert_eq!((outage.first, outage.last, outage.count), (at(1), at(10_000), 10_000));
    }

    #[test]
    fn successes_and_other_causes_are_entries_of_their_own_and_the_list_is_bounded() {
        let history = FetchHistory::default();
        for second in 0..1000 {
            let result = if second % 3 == 0 { Ok(()) } else { Err("é".repeat(1000 + second as usize % 3)) };
            history.record_at(at(second), Duration::ZERO, result);
        }
        let recent = history.recent();
        assert_eq!(recent.len(), REMEMBERED);
        assert_eq!(recent.last().unwrap().last, at(999));
        assert!(recent.iter().all(|attempts| attempts.error.as_ref().is_none_or(|error| error.chars().count() == 300)));
    }
}
