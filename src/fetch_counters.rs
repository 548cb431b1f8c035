//! Counters of a repeated fetch: of a key set, or of a credential.
//!
//! They are handed in, and outlive the part that fetches: a reload of the configuration may replace it, and a counter
//! must not fall.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Why a fetch failed: the value of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureReason {
    /// No complete response in time.
    Timeout,
    /// Name resolution, the connection, TLS or HTTP failed.
    Connection,
    Redirect,
    /// 429 or 503.
    Busy,
    /// The token endpoint refused the credentials.
    Refused,
    /// Another status that is not 200.
    Status,
    TooLarge,
    /// The response is not what it should be.
    Malformed,
    /// The key set has no usable key.
    NoUsableKey,
    /// The secret cannot be used.
    Secret,
    /// The file cannot be read.
    File,
}

impl FailureReason {
    pub(crate) const ALL: [Self; 11] = [
        Self::Timeout,
        Self::Connection,
        Self::Redirect,
        Self::Busy,
        Self::Refused,
        Self::Status,
        Self::TooLarge,
        Self::Malformed,
        Self::NoUsableKey,
        Self::Secret,
        Self::File,
    ];

    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Redirect => "redirect",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::NoUsableKey => "no_usable_key",
            Self::Secret => "secret",
            Self::File => "file",
        }
    }
}

/// How often a fetch succeeded and failed, and when it succeeded last.
#[derive(Debug, Default)]
pub(crate) struct FetchCounters {
    ok: AtomicU64,
    failed: [AtomicU64; FailureReason::ALL.len()],
    last_success: Moment,
}

impl FetchCounters {
    pub(crate) fn succeeded(&self) {
        self.ok.fetch_add(1, Ordering::Relaxed);
        self.last_success.set(SystemTime::now());
    }

    pub(crate) fn failed(&self, reason: FailureReason) {
        self.failed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A result of an earlier process is in use. It was fetched at `time`.
    pub(crate) fn restored(&self, time: SystemTime) {
        self.last_success.set(time);
    }

    #[must_use]
    pub(crate) fn ok(&self) -> u64 {
        self.ok.load(Ordering::Relaxed)
    }

    #[must_use]
    pub(crate) fn failures(&self, reason: FailureReason) -> u64 {
        self.failed[reason as usize].load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn all_failures(&self) -> u64 {
        FailureReason::ALL.iter().map(|reason| self.failures(*reason)).sum()
    }

    #[must_use]
    pub(crate) fn last_success(&self) -> Option<SystemTime> {
        self.last_success.get()
    }
}

/// A time that is set and read without a lock, to the millisecond. It is unset at first.
#[derive(Debug, Default)]
pub(crate) struct Moment(AtomicU64);

impl Moment {
    pub(crate) fn set(&self, time: SystemTime) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.0.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    #[must_use]
    pub(crate) fn get(&self) -> Option<SystemTime> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let counters = FetchCounters::default();
        for (count, reason) in FailureReason::ALL.into_iter().enumerate() {
            (0..count).for_each(|_| counters.failed(reason));
        }
        for (count, reason) in FailureReason::ALL.into_iter().enumerate() {
            assert_eq!(counters.failures(reason), count as u64, "{}", reason.as_str());
        }
        assert_eq!((counters.all_failures(), counters.ok()), (55, 0));
    }

    #[test]
    fn the_last_success_is_the_latest_one_and_none_at_first() {
        let counters = FetchCounters::default();
        assert_eq!(counters.last_success(), None);
        let earlier = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234);
        counters.restored(earlier);
        assert_eq!(counters.last_success(), Some(earlier));
        counters.succeeded();
        assert!(counters.last_success().is_some_and(|time| time > earlier));
    }
}
