//! What is counted about the key set of one upstream.

use std::sync::atomic::{AtomicU64, Ordering};

use super::state::FetchOutcome;
use super::{FetchError, FetchErrorKind};
use crate::fetch_counters::{FailureReason, FetchCounters};

/// The counters of one key set. They are handed in, because they outlive the keys.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fetches: FetchCounters,
    changes: AtomicU64,
}

impl Counters {
    /// The reasons that a failed fetch of a key set can have.
    pub(crate) const REASONS: [FailureReason; 10] = [
        FailureReason::Timeout,
        FailureReason::Connection,
        FailureReason::Redirect,
        FailureReason::Busy,
        FailureReason::Status,
        FailureReason::TooLarge,
        FailureReason::Malformed,
        FailureReason::NoUsableKey,
        FailureReason::Secret,
        FailureReason::File,
    ];

    /// Fetched sets with other usable keys than the set before.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, outcome: &FetchOutcome) {
        match outcome {
            FetchOutcome::Good(changes) => {
                self.fetches.succeeded();
                if !changes.added.is_empty() || !changes.removed.is_empty() {
                    self.changes.fetch_add(1, Ordering::Relaxed);
                }
            }
            FetchOutcome::Failed(FetchError { kind, .. }) => {
                if let Some(reason) = reason(kind) {
                    self.fetches.failed(reason);
                }
            }
            FetchOutcome::Late => {}
        }
    }
}

/// `None` for a fetch that has no outcome, because the process is ending.
pub(super) fn reason(kind: &FetchErrorKind) -> Option<FailureReason> {
    Some(match kind {
        FetchErrorKind::Timeout(_) => FailureReason::Timeout,
        FetchErrorKind::Transport(_) => FailureReason::Connection,
        FetchErrorKind::Redirect(_) => FailureReason::Redirect,
        FetchErrorKind::Busy { .. } => FailureReason::Busy,
        FetchErrorKind::Status(_) | FetchErrorKind::NotModifiedUnasked => FailureReason::Status,
        FetchErrorKind::Credential(_) => FailureReason::Secret,
        FetchErrorKind::File(_) => FailureReason::File,
        FetchErrorKind::TooLarge => FailureReason::TooLarge,
        FetchErrorKind::NotJson { .. } | FetchErrorKind::NotAKeySet | FetchErrorKind::TooManyKeys { .. } => {
            FailureReason::Malformed
        }
        FetchErrorKind::NothingUsable { .. } => FailureReason::NoUsableKey,
        FetchErrorKind::Abandoned => return None,
    })
}
