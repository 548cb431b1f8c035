//! What is counted about the credential of one upstream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::RenewalErrorKind;
use super::state::RenewalOutcome;
use crate::fetch_counters::{FailureReason, FetchCounters, Moment};

/// The counters of one credential. They are handed in, because they outlive the credentials.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) renewals: FetchCounters,
    refusals: AtomicU64,
    /// When the last token expires or has expired.
    expires: Moment,
}

impl Counters {
    /// The reasons that a failed renewal can have.
    pub(crate) const REASONS: [FailureReason; 9] = [
        FailureReason::Timeout,
        FailureReason::Connection,
        FailureReason::Redirect,
        FailureReason::Busy,
        FailureReason::Refused,
        FailureReason::Status,
        FailureReason::TooLarge,
        FailureReason::Malformed,
        FailureReason::Secret,
    ];

    /// 401 responses of the provider to the credential in use.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn expires(&self) -> Option<SystemTime> {
        self.expires.get()
    }

    pub(super) fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the outcome of a renewal. `lifetime`: of the new token; `None` for a static credential.
    pub(super) fn count(&self, outcome: &RenewalOutcome, lifetime: Option<Duration>) {
        match outcome {
            RenewalOutcome::Good => {
                self.renewals.succeeded();
                if let Some(expires) = lifetime.and_then(|lifetime| SystemTime::now().checked_add(lifetime)) {
                    self.expires.set(expires);
                }
            }
            RenewalOutcome::Failed(error) => {
                if let Some(reason) = reason(&error.kind) {
                    self.renewals.failed(reason);
                }
            }
            RenewalOutcome::Late => {}
        }
    }
}

/// `None` for a renewal that has no outcome, because the process is ending.
pub(super) fn reason(kind: &RenewalErrorKind) -> Option<FailureReason> {
    Some(match kind {
        RenewalErrorKind::Refused { .. } => FailureReason::Refused,
        RenewalErrorKind::Busy { .. } => FailureReason::Busy,
        RenewalErrorKind::Redirect(_) => FailureReason::Redirect,
        RenewalErrorKind::Status(_) => FailureReason::Status,
        RenewalErrorKind::Timeout(_) => FailureReason::Timeout,
        RenewalErrorKind::Transport(_) => FailureReason::Connection,
        RenewalErrorKind::TooLarge => FailureReason::TooLarge,
        RenewalErrorKind::NoToken(_) => FailureReason::Malformed,
        RenewalErrorKind::Credential(_) => FailureReason::Secret,
        RenewalErrorKind::Abandoned => return None,
    })
}
