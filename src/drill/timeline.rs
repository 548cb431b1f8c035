//! Which key sealed how many requests, over time.

use std::time::Duration;

use super::events::{Change, Event};
use super::observations::Observations;
use super::score::{self, Score};

/// As many columns as fit beside a kid on a terminal of 80.
const BUCKETS: usize = 58;

/// Counts by key and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Length of one bucket.
    pub bucket: Duration,
    /// One for each key, in the order of their publication.
    pub bands: Vec<Band>,
    /// Lost requests in each bucket.
    pub lost: Vec<u32>,
}

/// One key over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// Its kid.
    pub kid: String,
    /// When it was published.
    pub published: Duration,
    /// When it was taken out; the end of the drill when it was not.
    pub withdrawn: Duration,
    /// Requests opened under it in each bucket, by the time of their answer.
    pub counts: Vec<u32>,
}

impl Timeline {
    /// The time line of `evidence`.
    pub(super) fn of(observations: &Observations, score: &Score) -> Self {
        let end = observations.took.max(Duration::from_millis(1));
        // Rounded up, so that the last moment lies in the last bucket.
        let bucket = Duration::from_nanos((end.as_nanos() as u64).div_ceil(BUCKETS as u64) + 1);
        let mut timeline =
            Self { bucket, bands: lives(&observations.first_kid, &observations.events, end), lost: empty() };
        for (ended, kid) in score::openings(observations) {
            let column = timeline.column(ended);
            timeline.band(kid, end).counts[column] += 1;
        }
        for lost in &score.lost {
            let column = timeline.column(lost.ended);
            timeline.lost[column] += 1;
        }
        timeline
    }

    /// The bucket of a moment.
    #[must_use]
    pub fn column(&self, at: Duration) -> usize {
        usize::try_from(at.as_nanos() / self.bucket.as_nanos().max(1)).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1))
    }

    /// Buckets there are.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.lost.len()
    }

    /// The most that any bucket holds, over all keys and lost ones together.
    #[must_use]
    pub fn highest(&self) -> u32 {
        let sum = |column: usize| self.bands.iter().map(|band| band.counts[column]).sum::<u32>() + self.lost[column];
        (0..self.columns()).map(sum).max().unwrap_or(0)
    }

    /// The band of a key; of one that nobody published, a new one over the whole time.
    fn band(&mut self, kid: &str, end: Duration) -> &mut Band {
        let index = self.bands.iter().position(|band| band.kid == kid).unwrap_or_else(|| {
            self.bands.push(Band::new(kid, Duration::ZERO, end));
            self.bands.len() - 1
        });
        &mut self.bands[index]
    }
}

impl Band {
    fn new(kid: &str, published: Duration, withdrawn: Duration) -> Self {
        Self { kid: kid.to_owned(), published, withdrawn, counts: empty() }
    }
}

fn empty() -> Vec<u32> {
    vec![0; BUCKETS]
}

/// From when to when each key was published.
fn lives(first_kid: &str, events: &[Event], end: Duration) -> Vec<Band> {
    let mut bands = vec![Band::new(first_kid, Duration::ZERO, end)];
    for Event { at, change } in events {
        match change {
            Change::Rotated(kid) => bands.push(Band::new(kid, *at, end)),
            Change::Cut(kid) => {
                bands.iter_mut().for_each(|band| band.withdrawn = band.withdrawn.min(*at));
                bands.push(Band::new(kid, *at, end));
            }
            Change::Retired(kid) => {
                bands.iter_mut().filter(|band| band.kid == *kid).for_each(|band| band.withdrawn = *at);
            }
            Change::Broken | Change::Mended | Change::Revoked => {}
        }
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::observations::Answered;
    use crate::drill::testing::{answer, event, ms, observations};

    fn timeline(observations: &Observations) -> Timeline {
        Timeline::of(observations, &Score::of(observations))
    }

    #[test]
    fn every_request_is_in_one_bucket_of_its_key() {
        let mut observations = observations();
        observations.answers.push(answer(9, 3990, 4000, Answered::With(502)));
        let timeline = timeline(&observations);
        let sums: Vec<u32> = timeline.bands.iter().map(|band| band.counts.iter().sum()).collect();
        assert_eq!(sums, [2, 2]);
        assert_eq!(timeline.bands[0].counts[0], 1);
        assert_eq!(timeline.bands[1].counts[timeline.column(ms(2130))], 1);
        assert_eq!(timeline.lost[BUCKETS - 1], 1, "the last moment lies in the last bucket");
        assert_eq!(timeline.highest(), 1);
    }

    #[test]
    fn a_key_lives_from_its_publication_until_it_is_taken_out() {
        let events = [
            event(1000, Change::Rotated("b".into())),
            event(2000, Change::Retired("a".into())),
            event(3000, Change::Rotated("c".into())),
            event(4000, Change::Cut("d".into())),
        ];
        let lives = lives("a", &events, ms(9000));
        let lives: Vec<_> = lives
            .iter()
            .map(|band| (band.kid.as_str(), band.published.as_millis(), band.withdrawn.as_millis()))
            .collect();
        assert_eq!(lives, [("a", 0, 2000), ("b", 1000, 4000), ("c", 3000, 4000), ("d", 4000, 9000)]);
    }

    #[test]
    fn a_key_that_nobody_published_has_a_band_too() {
        let mut observations = observations();
        observations.events.clear();
        let kids: Vec<_> = timeline(&observations).bands.into_iter().map(|band| band.kid).collect();
        assert_eq!(kids, ["a", "b"]);
    }
}
