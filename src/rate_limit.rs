//! A limit for how often something may happen: a token bucket.
//!
//! Rejected: a fixed cooldown. It often forbids the event that matters: the fetch for a second rotation, or the next
//! request of a caller after a burst.

use std::time::{Duration, Instant};

/// Allows a burst at once, and then one per interval.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// When the bucket is full again. Each token that is taken delays it by one interval.
    full_at: Instant,
    burst: u32,
    interval: Duration,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub(crate) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { full_at: now, burst, interval }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// If there is none: returns the time of the next one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.max(now) + self.interval;
        // After this one is taken, at most `burst` tokens may be missing.
        match full_at.checked_sub(self.interval * self.burst) {
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

    const BURST: u32 = 5;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_allowed_at_once_and_then_one_per_interval() {
        let now = Clock::manual().0.now();
        let mut bucket = TokenBucket::new(BURST, SECOND, now);
        for _ in 0..5 {
            assert_eq!(bucket.take(now), Ok(()));
        }
        assert_eq!(bucket.take(now), Err(now + SECOND));
        assert_eq!(bucket.take(now + SECOND), Ok(()));
        assert_eq!(bucket.take(now + SECOND), Err(now + 2 * SECOND));
        let later = now + 60 * SECOND;
        for _ in 0..5 {
            assert_eq!(bucket.take(later), Ok(()));
        }
        assert!(bucket.take(later).is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_of_requests_gets_more_than_the_burst_and_one_per_interval(
            steps in prop::collection::vec(0u64..1500, 1..200),
        ) {
            let start = Clock::manual().0.now();
            let mut bucket = TokenBucket::new(BURST, SECOND, start);
            let (mut now, mut taken) = (start, 0);
            for step in steps {
                now += Duration::from_millis(step);
                taken += u64::from(bucket.take(now).is_ok());
            }
            prop_assert!(taken <= 5 + (now - start).as_secs());
        }
    }
}
