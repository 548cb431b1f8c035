//! The outcomes of key checks, for the access log and the metrics.
//!
//! A key check decides whether the provider refused a sealed message because it no longer has the key.
//! [`exchange`](crate::gateway::exchange) makes the checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The outcome of a key check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCheck {
    /// The reply shows that the provider read the message. It was relayed at once.
    Relayed,
    /// The key is still published. The reply was relayed.
    Unchanged,
    /// The key was gone. The body was sealed with a newer key and sent again.
    Resealed,
    /// The key was gone, but the caller had sealed the message. The reply was relayed with `Jwe-Gateway-Key`.
    Withdrawn,
    /// No usable key set could be fetched. The reply was relayed.
    Failed,
}

impl KeyCheck {
    pub(crate) const ALL: [Self; 5] = [Self::Relayed, Self::Unchanged, Self::Resealed, Self::Withdrawn, Self::Failed];

    /// The value of the field `key_check` in the access log, and of the label `outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relayed => "relayed",
            Self::Unchanged => "unchanged",
            Self::Resealed => "resealed",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
        }
    }
}

/// Counts the key checks of one upstream. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyCheckCounters(Arc<[AtomicU64; KeyCheck::ALL.len()]>);

impl KeyCheckCounters {
    pub(crate) fn add(&self, outcome: KeyCheck) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self, outcome: KeyCheck) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }
}
