//! Latency over time: quantiles for each bucket of time.

use std::time::Duration;

use super::observations::ClientReply;
use super::quantiles::Quantiles;

/// The most buckets that a chart shows apart.
const MAX_BUCKETS: u32 = 60;

/// The shortest bucket. At the default rate it has 75 requests.
const SHORTEST_BUCKET: Duration = Duration::from_millis(500);

/// The latency from due to replied, by the time when the requests were due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyOverTime {
    /// The length of one bucket.
    pub bucket: Duration,
    /// The quantiles of each bucket. `None` for a bucket without a request.
    pub buckets: Vec<Option<Quantiles>>,
}

impl LatencyOverTime {
    pub(super) fn of(replies: &[ClientReply], took: Duration) -> Self {
        let bucket = (took / MAX_BUCKETS).max(SHORTEST_BUCKET);
        let index = |at: Duration| usize::try_from(at.as_nanos() / bucket.as_nanos()).unwrap_or(usize::MAX);
        let last = replies.iter().map(|reply| index(reply.due)).max();
        let mut latencies = vec![Vec::new(); last.map_or(0, |last| last + 1)];
        for reply in replies {
            latencies[index(reply.due)].push(reply.ended.saturating_sub(reply.due));
        }
        Self { bucket, buckets: latencies.into_iter().map(Quantiles::of).collect() }
    }

    /// The longest latency.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.buckets.iter().flatten().map(|quantiles| quantiles.max).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::observations::ReplyOutcome;
    use crate::drill::testing::{ms, reply};

    #[test]
    fn a_request_counts_in_the_bucket_in_which_it_was_due() {
        let at = |due, latency| reply(0, due, due + latency, ReplyOutcome::Status(200));
        let replies = [at(0, 5), at(499, 700), at(1000, 9), at(1100, 3)];
        let over_time = LatencyOverTime::of(&replies, ms(2000));
        assert_eq!(over_time.bucket, ms(500));
        let maxima: Vec<_> =
            over_time.buckets.iter().map(|quantiles| quantiles.map(|quantiles| quantiles.max)).collect();
        assert_eq!(maxima, [Some(ms(700)), None, Some(ms(9))]);
        assert_eq!(over_time.max(), ms(700));
        assert_eq!(LatencyOverTime::of(&[], ms(0)).buckets, []);
    }

    #[test]
    fn a_long_drill_has_longer_buckets() {
        let replies = [reply(0, 599_999, 600_001, ReplyOutcome::Status(200))];
        let over_time = LatencyOverTime::of(&replies, ms(600_001));
        assert!(over_time.bucket >= ms(10_000));
        assert_eq!(over_time.buckets.len(), 60);
    }
}
