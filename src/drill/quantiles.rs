//! Quantiles of measured times.

use std::time::Duration;

/// The median, 99th percentile and maximum of a list of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// The number of measured times, at least one.
    pub count: usize,
    /// The median: half of the times are at most this long.
    pub p50: Duration,
    /// The 99th percentile: 99 % of the times are at most this long.
    pub p99: Duration,
    /// The longest time.
    pub max: Duration,
}

impl Quantiles {
    /// Calculates the quantiles by nearest rank, so that each is a measured time. Returns `None` for an empty
    /// list.
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
    fn each_quantile_is_one_of_the_measured_times() {
        assert_eq!(of([]), None);
        assert_eq!(of([7]), Some([1, 7, 7, 7]));
        assert_eq!(of([3, 1, 2]), Some([3, 2, 3, 3]));
        assert_eq!(of((1..=100).rev()), Some([100, 50, 99, 100]));
        assert_eq!(of(1..=1000), Some([1000, 500, 990, 1000]));
    }
}
