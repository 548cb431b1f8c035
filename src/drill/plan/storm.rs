//! The plan of a storm: events of every kind at random moments.

use std::time::Duration;

use super::{Action, PlannedStep, QUIET_PERIOD, REVOCATION_INTERVAL, key_set_fault, step};

/// A storm of this length is as dense as it gets; a longer one stretches, so that its report
/// stays readable.
const STORM: Duration = Duration::from_secs(30);

/// Between two episodes of a storm.
const STORM_GAP: (Duration, Duration) = (Duration::from_millis(600), Duration::from_millis(1600));

/// Length of an overlap or an outage within a storm.
const STORM_EPISODE: (Duration, Duration) = (Duration::from_millis(1200), Duration::from_secs(3));

/// One episode after the other, drawn from a shuffled deck; when the deck is empty, a new one.
pub(super) fn plan(duration: Duration, rng: &mut fastrand::Rng) -> Vec<PlannedStep> {
    let pace = (duration.as_secs_f64() / STORM.as_secs_f64()).max(1.0);
    let end = duration.saturating_sub(QUIET_PERIOD).max(duration / 2);
    let mut storm = Storm { steps: Vec::new(), at: QUIET_PERIOD.min(duration / 4), next_revocation: Duration::ZERO };
    let mut deck = Vec::new();
    while storm.at < end {
        if deck.is_empty() {
            deck.extend(Episode::DECK);
            rng.shuffle(&mut deck);
        }
        if let Some(episode) = deck.pop() {
            storm.play(episode, rng);
        }
        storm.at += between(rng, STORM_GAP).mul_f64(pace);
    }
    storm.steps
}

#[derive(Clone, Copy)]
enum Episode {
    HardCut,
    Overlap,
    Outage,
    Revocation,
    /// Key and token in the same moment.
    CutAndRevocation,
}

impl Episode {
    /// Cuts are what the drill is about.
    const DECK: [Self; 6] =
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
                self.at += between(rng, STORM_EPISODE);
                self.push(Action::Retire);
            }
            Episode::Outage => {
                self.push(Action::BeginOutage(key_set_fault(rng)));
                let length = between(rng, STORM_EPISODE);
                let rotates = rng.bool();
                self.at += length / 2;
                if rotates {
                    self.push(Action::Rotate);
                }
                self.at += length / 2;
                self.push(Action::EndOutage);
                if rotates {
                    self.at += STORM_GAP.0;
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
