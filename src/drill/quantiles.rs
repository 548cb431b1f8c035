//! Quantiles of measured times.

use std::time::Duration;

/// Median, 99th percentile and maximum of some times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// How many there were, at least one.
    pub count: usize,
    /// Half of them were at most this.
    pub p50: Duration,
    /// 99 of a hundred were at most this.
    pub p99: Duration,
    /// All of them were at most this.
    pub max: Duration,
}

impl Quantiles {
    /// By nearest rank, so each is a time that was measured. None of none.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { count: times.len(), p50: rank(50)?, p99: rank(99)?, max: rank(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: impl IntoIterator<Item = u64>) -> Option<[u128; 4]> {
        let times = milliseconds.into_iter().map(Duration::from_millis).collect();
        Quantiles::of(times).map(|q| [q.count as u128, q.p50.as_millis(), q.p99.as_millis(), q.max.as_millis()])
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        assert_eq!(of([]), None);
        assert_eq!(of([7]), Some([1, 7, 7, 7]));
        assert_eq!(of([3, 1, 2]), Some([3, 2, 3, 3]));
        assert_eq!(of((1..=100).rev()), Some([100, 50, 99, 100]));
        assert_eq!(of(1..=1000), Some([1000, 500, 990, 1000]));
    }
}
