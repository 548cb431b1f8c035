//! A token bucket: allows a burst, then one at each interval.
//!
//! Rejected: a fixed cooldown. It often forbids the event that matters most: after one key rotation, the fetch that
//! the next rotation needs.

use std::time::{Duration, Instant};

/// A bucket that holds a burst and is refilled by one at each interval.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// The time when the bucket is full again. Each token that is taken moves it by one interval.
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

    /// Takes one token.
    ///
    /// # Errors
    /// If the bucket is empty: the time when it has a token again.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.max(now) + self.interval;
        // Without this token, the bucket lacks at most a whole burst.
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
    fn a_burst_is_free_and_then_one_comes_back_at_each_interval() {
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
        fn no_pattern_of_requests_gets_more_than_the_burst_and_one_each_interval(
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
