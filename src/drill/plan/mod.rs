//! What a provider does during a drill, and when: a list made beforehand from a seed.
//!
//! A plan holds what a gateway can survive and a provider may do. Not in it, because nobody can
//! survive it: a cut or a revocation while the endpoint that gives out the next key or token
//! fails.

mod storm;

use std::time::Duration;

use super::scenario::Scenario;
use crate::sandbox::KeySetFault;

/// So many, whatever the duration: the report stays readable.
const HARD_CUTS: u32 = 8;

/// A gateway may fetch five key sets in a burst and then one a second; a plan of cuts that come
/// faster would measure the gateway's budget, not its recovery.
const CUT_INTERVAL: Duration = Duration::from_millis(600);

/// With an overlap each; fewer than cuts, as each takes its time.
const ROTATIONS: u32 = 4;

/// How much of the time between two rotations the older key stays.
const OVERLAP: f64 = 0.6;

/// The gateway replaces no more than one refused token in four seconds for long, lest a call that
/// is never allowed become an attack on the token endpoint.
const REVOCATION_INTERVAL: Duration = Duration::from_millis(4_500);

/// Where an outage lies in its scenario: calm before, and an end that is seen.
const OUTAGE: (f64, f64) = (0.1, 0.9);

/// Before the first event, and after the last one: traffic to compare with.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// What the provider does at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// Since the first request was due.
    pub at: Duration,
    /// What.
    pub action: Action,
}

/// Something the provider does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publishes a key; the older ones stay.
    Rotate,
    /// Takes out every key but the newest.
    Retire,
    /// Publishes a key and takes the older ones out in the same moment.
    HardCut,
    /// The key set is answered like this from now on, and the token endpoint with a 500.
    BeginOutage(KeySetFault),
    /// Both endpoints answer again.
    EndOutage,
    /// No token issued so far is good any more.
    Revoke,
}

/// The steps of `scenario`, in order, within `duration`. The same seed gives the same plan.
#[must_use]
pub fn plan(scenario: Scenario, duration: Duration, seed: u64) -> Vec<PlannedStep> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut steps = match scenario {
        Scenario::Overlap => overlap(duration),
        Scenario::HardCut => hard_cut(duration),
        Scenario::JwksOutage => vec![
            step(duration.mul_f64(OUTAGE.0), Action::BeginOutage(key_set_fault(&mut rng))),
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

/// Each rotation early in its share of the time, so that the older key's end lies in it too.
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
    let moments = std::iter::successors(Some(first), |at| Some(*at + REVOCATION_INTERVAL));
    moments.take_while(|at| *at < duration).map(|at| step(at, Action::Revoke)).collect()
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
    fn a_hard_cut_drill_has_eight_cuts_and_a_short_one_as_many_as_fit() {
        let cuts = |seconds: f64| count(&plan(Scenario::HardCut, SECONDS.mul_f64(seconds), 1), &Action::HardCut);
        assert_eq!([cuts(0.5), cuts(2.0), cuts(5.0), cuts(20.0), cuts(600.0)], [1, 3, 8, 8, 8]);
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_another() {
        let storm = |seed| plan(Scenario::Storm, SECONDS * 20, seed);
        assert_eq!(storm(1), storm(1));
        assert_ne!(storm(1), storm(2));
    }

    #[test]
    fn a_storm_has_something_of_everything() {
        for seed in 0..50 {
            let steps = plan(Scenario::Storm, SECONDS * 20, seed);
            assert!(count(&steps, &Action::HardCut) >= 2, "{steps:?}");
            assert!(count(&steps, &Action::Revoke) >= 1, "{steps:?}");
            assert!(count(&steps, &Action::Rotate) >= 1, "{steps:?}");
            assert!(steps.iter().any(|step| matches!(step.action, Action::BeginOutage(_))), "{steps:?}");
        }
    }

    #[test]
    fn no_plan_asks_for_the_impossible() {
        for scenario in Scenario::value_variants() {
            for (seconds, seed) in (1..=60).flat_map(|seconds| (0..20).map(move |seed| (seconds, seed))) {
                let steps = plan(*scenario, SECONDS * seconds, seed);
                let mut is_broken = false;
                let mut revoked: Option<Duration> = None;
                assert!(!steps.is_empty(), "{scenario} of {seconds} s");
                assert!(steps.is_sorted_by_key(|step| step.at));
                for step in &steps {
                    match step.action {
                        Action::BeginOutage(_) => is_broken = true,
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
    fn the_longest_storm_has_no_more_events_than_a_page_can_show() {
        for seed in 0..20 {
            assert!(plan(Scenario::Storm, SECONDS * 600, seed).len() < 60);
        }
    }
}
