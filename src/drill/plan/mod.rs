//! The plan of a drill: what the provider does, and when.
//!
//! A plan is made in advance from a seed. It contains only events that a provider may cause and a gateway can
//! survive. It never contains a hard cut or a revocation during an outage, because no gateway can get the
//! next key or token then.

mod storm;

use std::time::Duration;

use super::scenario::Scenario;
use crate::sandbox::KeySetFault;

/// The number of hard cuts for any duration, so that the report stays readable.
const HARD_CUTS: u32 = 8;

/// The minimum interval between hard cuts. The gateway fetches at most five key sets in a burst and then one
/// per second after refusals, so faster cuts would measure this limit and not the recovery.
const CUT_INTERVAL: Duration = Duration::from_millis(600);

/// The number of rotations with overlap: fewer than hard cuts, because each overlap takes time.
const ROTATIONS: u32 = 4;

/// The overlap, as a fraction of the interval between two rotations.
const OVERLAP: f64 = 0.6;

/// The minimum interval between revocations. In the long run the gateway replaces at most one refused token
/// in four seconds, so that a call which is always refused does not overload the token endpoint.
const REVOCATION_INTERVAL: Duration = Duration::from_millis(4_500);

/// Start and end of the outage, as fractions of the duration. The time before it is for comparison, and the
/// end must lie within the drill.
const OUTAGE: (f64, f64) = (0.1, 0.9);

/// The time before the first event and after the last one, for comparison.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// What the provider does, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// The time since the first request was due.
    pub at: Duration,
    /// What the provider does.
    pub action: Action,
}

/// An action of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publishes a new key; the older keys stay.
    Rotate,
    /// Removes every key except the newest.
    Retire,
    /// Publishes a new key and removes the older keys at the same moment.
    HardCut,
    /// The key set endpoint fails in this way from now on, and the token endpoint responds with 500.
    StartOutage(KeySetFault),
    /// Both endpoints work again.
    EndOutage,
    /// Revokes all tokens issued so far.
    Revoke,
}

/// Returns the steps of `scenario` in order, within `duration`. The same seed gives the same plan.
#[must_use]
pub fn plan(scenario: Scenario, duration: Duration, seed: u64) -> Vec<PlannedStep> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut steps = match scenario {
        Scenario::Overlap => overlap(duration),
        Scenario::HardCut | Scenario::Noisy400 => hard_cut(duration),
        Scenario::JwksOutage => vec![
            step(duration.mul_f64(OUTAGE.0), Action::StartOutage(key_set_fault(&mut rng))),
            step(duration.mul_f64(OUTAGE.1), Action::EndOutage),
        ],
        Scenario::TokenRevoked => token_revoked(duration),
        Scenario::Storm => storm::plan(duration, &mut rng),
    };
    steps.retain(|step| step.at < duration);
    steps
}

fn step(at: Duration, action: Action) -> PlannedStep {
    PlannedStep { at, action }
}

/// Places each rotation early in its share of the duration, so that the overlap ends within the share.
fn overlap(duration: Duration) -> Vec<PlannedStep> {
    let share = duration / ROTATIONS;
    let rotation = |index| {
        let at = share * index + share / 10;
        [step(at, Action::Rotate), step(at + share.mul_f64(OVERLAP), Action::Retire)]
    };
    (0..ROTATIONS).flat_map(rotation).collect()
}

fn hard_cut(duration: Duration) -> Vec<PlannedStep> {
    let share = (duration / HARD_CUTS).max(CUT_INTERVAL);
    (0..HARD_CUTS).map(|index| step(share * index + share / 2, Action::HardCut)).collect()
}

fn token_revoked(duration: Duration) -> Vec<PlannedStep> {
    let first = QUIET_PERIOD.min(duration / 4);
    let times = std::iter::successors(Some(first), |at| Some(*at + REVOCATION_INTERVAL));
    times.take_while(|at| *at < duration).map(|at| step(at, Action::Revoke)).collect()
}

fn key_set_fault(rng: &mut fastrand::Rng) -> KeySetFault {
    let faults = [KeySetFault::ServerError, KeySetFault::Html, KeySetFault::HalfDocument, KeySetFault::Truncated];
    faults[rng.usize(..faults.len())].clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    const SECONDS: Duration = Duration::from_secs(1);

    fn count(steps: &[PlannedStep], wanted: &Action) -> usize {
        steps.iter().filter(|step| step.action == *wanted).count()
    }

    #[test]
    fn a_hard_cut_plan_has_eight_cuts_and_a_short_one_has_fewer() {
        let cuts = |seconds: f64| count(&plan(Scenario::HardCut, SECONDS.mul_f64(seconds), 1), &Action::HardCut);
        assert_eq!([cuts(0.5), cuts(2.0), cuts(5.0), cuts(20.0), cuts(600.0)], [1, 3, 8, 8, 8]);
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_a_different_one() {
        let storm = |seed| plan(Scenario::Storm, SECONDS * 20, seed);
        assert_eq!(storm(1), storm(1));
        assert_ne!(storm(1), storm(2));
    }

    #[test]
    fn a_storm_has_events_of_every_kind() {
        for seed in 0..50 {
            let steps = plan(Scenario::Storm, SECONDS * 20, seed);
            assert!(count(&steps, &Action::HardCut) >= 2, "{steps:?}");
            assert!(count(&steps, &Action::Revoke) >= 1, "{steps:?}");
            assert!(count(&steps, &Action::Rotate) >= 1, "{steps:?}");
            assert!(steps.iter().any(|step| matches!(step.action, Action::StartOutage(_))), "{steps:?}");
        }
    }

    #[test]
    fn no_plan_has_a_cut_or_a_revocation_during_an_outage() {
        for scenario in Scenario::value_variants() {
            for (seconds, seed) in (1..=60).flat_map(|seconds| (0..20).map(move |seed| (seconds, seed))) {
                let steps = plan(*scenario, SECONDS * seconds, seed);
                let mut is_broken = false;
                let mut revoked: Option<Duration> = None;
                assert!(!steps.is_empty(), "{scenario} of {seconds} s");
                assert!(steps.is_sorted_by_key(|step| step.at));
                for step in &steps {
                    match step.action {
                        Action::StartOutage(_) => is_broken = true,
                        Action::EndOutage => is_broken = false,
                        Action::HardCut | Action::Retire => assert!(!is_broken, "{steps:?}"),
                        Action::Revoke => {
                            assert!(!is_broken, "{steps:?}");
                            assert!(revoked.is_none_or(|last| step.at - last >= REVOCATION_INTERVAL), "{steps:?}");
                            revoked = Some(step.at);
                        }
                        Action::Rotate => {}
                    }
                }
            }
        }
    }

    #[test]
    fn the_longest_storm_has_fewer_than_60_events() {
        for seed in 0..20 {
            assert!(plan(Scenario::Storm, SECONDS * 600, seed).len() < 60);
        }
    }
}
