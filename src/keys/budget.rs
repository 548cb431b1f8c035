//! How many fetches the provider's refusals may cause: a token bucket.
//!
//! Rejected: a fixed cooldown. After a first rotation it forbids the fetch that the next one
//! needs, and every request in between fails.

use std::time::{Duration, Instant};

/// Fetches in a row before the budget is empty: a few rotations, or a few bad requests, at once.
const BURST: u32 = 5;

/// How often a spent fetch comes back: once a second is nothing to a provider, and the longest
/// that a refused request waits for its turn.
const REFILL: Duration = Duration::from_secs(1);

/// A token bucket of [`BURST`], refilled every [`REFILL`].
#[derive(Debug)]
pub(super) struct Budget {
    /// When the bucket is, or was, full again. Each fetch moves it on by [`REFILL`].
    full_at: Instant,
}

impl Budget {
    /// A full bucket.
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one fetch, or says when there will be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.max(now) + REFILL;
        // With the fetch taken, the bucket may lack at most BURST.
        match full_at.checked_sub(REFILL * BURST) {
            Some(earliest) if earliest > now => Err(earliest),
            _ => {
                self.full_at = full_at;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    #[test]
    fn five_fetches_are_free_and_then_one_comes_back_each_second() {
        let now = Clock::manual().0.now();
        let mut budget = Budget::new(now);
        for _ in 0..5 {
            assert_eq!(budget.take(now), Ok(()));
        }
        assert_eq!(budget.take(now), Err(now + REFILL));
        assert_eq!(budget.take(now + REFILL), Ok(()));
        assert_eq!(budget.take(now + REFILL), Err(now + 2 * REFILL));
        let later = now + 60 * REFILL;
        for _ in 0..5 {
            assert_eq!(budget.take(later), Ok(()));
        }
        assert!(budget.take(later).is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_of_requests_gets_more_than_the_burst_and_one_a_second(
            steps in prop::collection::vec(0u64..1500, 1..200),
        ) {
            let start = Clock::manual().0.now();
            let mut budget = Budget::new(start);
            let (mut now, mut taken) = (start, 0);
            for step in steps {
                now += Duration::from_millis(step);
                taken += u64::from(budget.take(now).is_ok());
            }
            prop_assert!(taken <= 5 + (now - start).as_secs());
        }
    }
}
