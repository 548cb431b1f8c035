//! Counts the checked requests of an upstream, by outcome, and the findings, by rule.

use std::sync::atomic::{AtomicU64, Ordering};

use super::finding::{Finding, Rule};

/// The result of the check of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No finding.
    Valid,
    /// No finding. The body was not checked, because it was sealed already or has too many values.
    Partial,
    /// Findings, and the request was forwarded.
    Reported,
    /// Findings, and the request was refused.
    Refused,
}

impl Outcome {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Valid, Self::Partial, Self::Reported, Self::Refused];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Partial => "partial",
            Self::Reported => "reported",
            Self::Refused => "refused",
        }
    }
}

/// The counts of one upstream.
#[derive(Debug)]
pub(crate) struct ValidationCounters {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    rules: [AtomicU64; Rule::ALL.len()],
}

impl Default for ValidationCounters {
    fn default() -> Self {
        Self { outcomes: Default::default(), rules: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl ValidationCounters {
    pub(super) fn add(&self, outcome: Outcome, found: &[Finding]) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        for finding in found {
            self.rules[finding.rule as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn checks(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn findings(&self, rule: Rule) -> u64 {
        self.rules[rule as usize].load(Ordering::Relaxed)
    }
}
