//! The plan of a storm: events of every kind at random times.

use std::time::Duration;

use super::{Action, PlannedStep, QUIET_PERIOD, REVOCATION_INTERVAL, key_set_fault, step};

/// Up to this duration, a storm has its full density. In a longer storm the gaps grow, so that the report
/// stays readable.
const FULL_DENSITY: Duration = Duration::from_secs(30);

/// The range of the gap between two episodes.
const GAP: (Duration, Duration) = (Duration::from_millis(600), Duration::from_millis(1600));

/// The range of the length of an overlap or an outage.
const EPISODE_LENGTH: (Duration, Duration) = (Duration::from_millis(1200), Duration::from_secs(3));

/// Plays the episodes one after another, in random order. When all have been played, they are shuffled again.
pub(super) fn plan(duration: Duration, rng: &mut fastrand::Rng) -> Vec<PlannedStep> {
    let stretch = (duration.as_secs_f64() / FULL_DENSITY.as_secs_f64()).max(1.0);
    let end = duration.saturating_sub(QUIET_PERIOD).max(duration / 2);
    let mut storm = Storm { steps: Vec::new(), at: QUIET_PERIOD.min(duration / 4), next_revocation: Duration::ZERO };
    let mut remaining = Vec::new();
    while storm.at < end {
        if remaining.is_empty() {
            remaining.extend(Episode::ALL);
            rng.shuffle(&mut remaining);
        }
        if let Some(episode) = remaining.pop() {
            storm.play(episode, rng);
        }
        storm.at += between(rng, GAP).mul_f64(stretch);
    }
    storm.steps
}

#[derive(Clone, Copy)]
enum Episode {
    HardCut,
    Overlap,
    Outage,
    Revocation,
    /// Key and token become invalid at the same moment.
    CutAndRevocation,
}

impl Episode {
    /// Hard cuts are twice in the list, because the drill is mainly about them.
    const ALL: [Self; 6] =
        [Self::HardCut, Self::HardCut, Self::Overlap, Self::Outage, Self::Revocation, Self::CutAndRevocation];
}

struct Storm {
    steps: Vec<PlannedStep>,
    at: Duration,
    next_revocation: Duration,
}

impl Storm {
    fn play(&mut self, episode: Episode, rng: &mut fastrand::Rng) {
        match episode {
            Episode::HardCut => self.push(Action::HardCut),
            Episode::Revocation => self.revoke(),
            Episode::CutAndRevocation => {
                self.push(Action::HardCut);
                self.revoke();
            }
            Episode::Overlap => {
                self.push(Action::Rotate);
                self.at += between(rng, EPISODE_LENGTH);
                self.push(Action::Retire);
            }
            Episode::Outage => {
                self.push(Action::StartOutage(key_set_fault(rng)));
                let length = between(rng, EPISODE_LENGTH);
                let rotates = rng.bool();
                self.at += length / 2;
                if rotates {
                    self.push(Action::Rotate);
                }
                self.at += length / 2;
                self.push(Action::EndOutage);
                if rotates {
                    self.at += GAP.0;
                    self.push(Action::Retire);
                }
            }
        }
    }

    fn revoke(&mut self) {
        if self.at >= self.next_revocation {
            self.push(Action::Revoke);
            self.next_revocation = self.at + REVOCATION_INTERVAL;
        }
    }

    fn push(&mut self, action: Action) {
        self.steps.push(step(self.at, action));
    }
}

fn between(rng: &mut fastrand::Rng, (low, high): (Duration, Duration)) -> Duration {
    low + (high - low).mul_f64(rng.f64())
}
