//! The number of requests sealed with each key, over time.

use std::time::Duration;

use super::events::{Change, Event};
use super::observations::Observations;
use super::score::{self, Score};

/// The number of columns that fit beside a `kid` on a terminal of 80 columns.
const BUCKETS: usize = 58;

/// The number of requests by key and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The length of one bucket.
    pub bucket: Duration,
    /// The keys in the order of their publication.
    pub keys: Vec<KeyUsage>,
    /// The number of lost requests in each bucket.
    pub lost: Vec<u32>,
}

/// The use of one key over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// The `kid` of the key.
    pub kid: String,
    /// The time of its publication.
    pub published: Duration,
    /// The time of its removal, or the end of the drill.
    pub withdrawn: Duration,
    /// The number of requests opened with it in each bucket, by the time of their reply.
    pub counts: Vec<u32>,
}

impl Timeline {
    pub(super) fn of(observations: &Observations, score: &Score) -> Self {
        let end = observations.took.max(Duration::from_millis(1));
        // Rounded up, so that the end lies in the last bucket.
        let bucket = Duration::from_nanos((end.as_nanos() as u64).div_ceil(BUCKETS as u64) + 1);
        let mut timeline =
            Self { bucket, keys: key_lifetimes(&observations.first_kid, &observations.events, end), lost: empty() };
        for (ended, kid) in score::opened_requests(observations) {
            let column = timeline.column(ended);
            timeline.usage(kid, end).counts[column] += 1;
        }
        for lost in &score.lost {
            let column = timeline.column(lost.ended);
            timeline.lost[column] += 1;
        }
        timeline
    }

    /// The index of the bucket that contains a time.
    #[must_use]
    pub fn column(&self, at: Duration) -> usize {
        usize::try_from(at.as_nanos() / self.bucket.as_nanos().max(1)).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1))
    }

    /// The number of buckets.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.lost.len()
    }

    /// The highest number of requests in one bucket: all keys and the lost requests together.
    #[must_use]
    pub fn max_count(&self) -> u32 {
        let sum = |column: usize| self.keys.iter().map(|usage| usage.counts[column]).sum::<u32>() + self.lost[column];
        (0..self.columns()).map(sum).max().unwrap_or(0)
    }

    /// Returns the entry of a key. For a key that the sandbox did not publish, adds an entry over the whole
    /// time.
    fn usage(&mut self, kid: &str, end: Duration) -> &mut KeyUsage {
        let index = self.keys.iter().position(|usage| usage.kid == kid).unwrap_or_else(|| {
            self.keys.push(KeyUsage::new(kid, Duration::ZERO, end));
            self.keys.len() - 1
        });
        &mut self.keys[index]
    }
}

impl KeyUsage {
    fn new(kid: &str, published: Duration, withdrawn: Duration) -> Self {
        Self { kid: kid.to_owned(), published, withdrawn, counts: empty() }
    }
}

fn empty() -> Vec<u32> {
    vec![0; BUCKETS]
}

/// Returns each key with the time of its publication and removal.
pub(super) fn key_lifetimes(first_kid: &str, events: &[Event], end: Duration) -> Vec<KeyUsage> {
    let mut keys = vec![KeyUsage::new(first_kid, Duration::ZERO, end)];
    for Event { at, change } in events {
        match change {
            Change::Rotated(kid) => keys.push(KeyUsage::new(kid, *at, end)),
            Change::Cut(kid) => {
                keys.iter_mut().for_each(|usage| usage.withdrawn = usage.withdrawn.min(*at));
                keys.push(KeyUsage::new(kid, *at, end));
            }
            Change::Retired(kid) => {
                keys.iter_mut().filter(|usage| usage.kid == *kid).for_each(|usage| usage.withdrawn = *at);
            }
            Change::OutageStarted | Change::OutageEnded | Change::Revoked => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::observations::ReplyOutcome;
    use crate::drill::testing::{event, ms, observations, reply};

    fn timeline(observations: &Observations) -> Timeline {
        Timeline::of(observations, &Score::of(observations))
    }

    #[test]
    fn every_request_is_counted_in_one_bucket_of_its_key() {
        let mut observations = observations();
        observations.replies.push(reply(9, 3990, 4000, ReplyOutcome::Status(502)));
        let timeline = timeline(&observations);
        let sums: Vec<u32> = timeline.keys.iter().map(|usage| usage.counts.iter().sum()).collect();
        assert_eq!(sums, [2, 2]);
        assert_eq!(timeline.keys[0].counts[0], 1);
        assert_eq!(timeline.keys[1].counts[timeline.column(ms(2130))], 1);
        assert_eq!(timeline.lost[BUCKETS - 1], 1, "the end lies in the last bucket");
        assert_eq!(timeline.max_count(), 1);
    }

    #[test]
    fn a_key_is_published_until_it_is_removed() {
        let events = [
            event(1000, Change::Rotated("b".into())),
            event(2000, Change::Retired("a".into())),
            event(3000, Change::Rotated("c".into())),
            event(4000, Change::Cut("d".into())),
        ];
        let keys = key_lifetimes("a", &events, ms(9000));
        let keys: Vec<_> = keys
            .iter()
            .map(|usage| (usage.kid.as_str(), usage.published.as_millis(), usage.withdrawn.as_millis()))
            .collect();
        assert_eq!(keys, [("a", 0, 2000), ("b", 1000, 4000), ("c", 3000, 4000), ("d", 4000, 9000)]);
    }

    #[test]
    fn a_key_that_was_not_published_has_an_entry() {
        let mut observations = observations();
        observations.events.clear();
        let kids: Vec<_> = timeline(&observations).keys.into_iter().map(|usage| usage.kid).collect();
        assert_eq!(kids, ["a", "b"]);
    }
}
