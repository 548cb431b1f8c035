//! Performs a plan on the sandbox and records the events with their times.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::plan::{Action, PlannedStep};
use crate::clock::Clock;
use crate::sandbox::{Fault, Rotation, Sandbox, TokenFault};

/// The minimum gap between two events that the plan has at different times. Generating a key takes tens of
/// milliseconds, sometimes a second. Without the gap, a delayed event could coincide with the next one, and a
/// hard cut within an outage would lose requests by the plan's fault.
const MIN_GAP: Duration = Duration::from_millis(500);

/// An event: what the provider did, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The time since the first request was due.
    pub at: Duration,
    /// What the provider did.
    pub change: Change,
}

/// What the provider did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Published this key; the older keys stayed.
    Rotated(String),
    /// Removed this key.
    Retired(String),
    /// Published this key and removed the older keys.
    Cut(String),
    /// The key set and token endpoints began to fail.
    OutageStarted,
    /// The key set and token endpoints work again.
    OutageEnded,
    /// Revoked all tokens.
    Revoked,
}

impl Change {
    /// The `kid` of the published key, if this change publishes one.
    #[must_use]
    pub fn published(&self) -> Option<&str> {
        match self {
            Self::Rotated(kid) | Self::Cut(kid) => Some(kid),
            Self::Retired(_) | Self::OutageStarted | Self::OutageEnded | Self::Revoked => None,
        }
    }

    /// One word for the change: the label in charts and the member `change` of the JSON report.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Rotated(_) => "rotated",
            Self::Retired(_) => "retired",
            Self::Cut(_) => "cut",
            Self::OutageStarted => "down",
            Self::OutageEnded => "up",
            Self::Revoked => "revoked",
        }
    }

    /// One letter for the change, for the chart in a terminal.
    #[must_use]
    pub fn letter(&self) -> char {
        match self {
            Self::Rotated(_) => 'R',
            Self::Retired(_) => 'r',
            Self::Cut(_) => 'C',
            Self::OutageStarted => '(',
            Self::OutageEnded => ')',
            Self::Revoked => 'T',
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotated(kid) => write!(f, "new key {kid} published, older keys stay"),
            Self::Retired(kid) => write!(f, "key {kid} removed"),
            Self::Cut(kid) => write!(f, "hard cut: new key {kid} published, older keys removed"),
            Self::OutageStarted => f.write_str("key set and token endpoints down"),
            Self::OutageEnded => f.write_str("key set and token endpoints up again"),
            Self::Revoked => f.write_str("all tokens revoked"),
        }
    }
}

/// Performs a plan and records the events.
pub(super) struct Executor<'a> {
    sandbox: &'a Sandbox,
    clock: &'a Clock,
    started: Instant,
    first_kid: String,
    events: Mutex<Vec<Event>>,
}

impl<'a> Executor<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, clock: &'a Clock, started: Instant) -> Self {
        let jwks = sandbox.private_jwks();
        let first_kid = jwks["keys"][0]["kid"].as_str().unwrap_or_default().to_owned();
        Self { sandbox, clock, started, first_kid, events: Mutex::default() }
    }

    /// The `kid` that was published before the first event.
    pub(super) fn first_kid(&self) -> &str {
        &self.first_kid
    }

    /// Whether an outage is in progress.
    pub(super) fn is_broken(&self) -> bool {
        let events = self.lock_events();
        let last =
            events.iter().rev().find(|event| matches!(event.change, Change::OutageStarted | Change::OutageEnded));
        last.is_some_and(|event| event.change == Change::OutageStarted)
    }

    /// The events so far.
    pub(super) fn events(&self) -> Vec<Event> {
        self.lock_events().clone()
    }

    /// Performs each step at its time, or as soon after it as the previous step allows.
    pub(super) async fn run(&self, plan: &[PlannedStep]) -> io::Result<()> {
        let mut previous = Duration::ZERO;
        let mut done = self.started;
        for step in plan {
            let gap = (step.at - previous).min(MIN_GAP);
            self.clock.sleep_until((self.started + step.at).max(done + gap)).await;
            self.perform(&step.action).await?;
            previous = step.at;
            done = self.clock.now();
        }
        Ok(())
    }

    async fn perform(&self, action: &Action) -> io::Result<()> {
        let sandbox = self.sandbox;
        match action {
            Action::Rotate => self.record(Change::Rotated(sandbox.rotate(Rotation::Overlap).await?)),
            Action::HardCut => self.record(Change::Cut(sandbox.rotate(Rotation::HardCut).await?)),
            Action::Retire => {
                for kid in kids(sandbox).into_iter().skip(1) {
                    if sandbox.retire(&kid) {
                        self.record(Change::Retired(kid));
                    }
                }
            }
            Action::StartOutage(fault) => {
                sandbox.arm(Fault::KeySet(fault.clone()));
                sandbox.arm(Fault::Token(TokenFault::ServerError));
                self.record(Change::OutageStarted);
            }
            Action::EndOutage => {
                sandbox.disarm_all();
                self.record(Change::OutageEnded);
            }
            Action::Revoke => {
                sandbox.revoke_tokens();
                self.record(Change::Revoked);
            }
        }
        Ok(())
    }

    fn record(&self, change: Change) {
        let at = self.clock.now() - self.started;
        self.lock_events().push(Event { at, change });
    }

    fn lock_events(&self) -> MutexGuard<'_, Vec<Event>> {
        // A panic in another thread cannot leave the list incomplete, because a change is one push.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The published kids, newest first.
fn kids(sandbox: &Sandbox) -> Vec<String> {
    let jwks = sandbox.private_jwks();
    let keys = jwks["keys"].as_array().into_iter().flatten();
    keys.filter_map(|key| Some(key["kid"].as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::KeySetFault;
    use crate::sandbox::Options;

    #[tokio::test]
    async fn a_plan_is_performed_in_order_and_its_events_are_recorded() {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let (clock, control) = Clock::manual();
        let executor = Executor::new(&sandbox, &clock, clock.now());
        let actions = [
            Action::Rotate,
            Action::Retire,
            Action::HardCut,
            Action::StartOutage(KeySetFault::Html),
            Action::EndOutage,
            Action::Revoke,
        ];
        let plan: Vec<_> =
            (1..).zip(actions).map(|(s, action)| PlannedStep { at: Duration::from_secs(s), action }).collect();
        let (performed, ()) = tokio::join!(executor.run(&plan), async {
            for done in 1..=plan.len() {
                control.advance(Duration::from_secs(1));
                while executor.lock_events().len() < done {
                    tokio::task::yield_now().await;
                }
                assert_eq!(executor.is_broken(), done == 4);
                assert_eq!(sandbox.armed().len(), if done == 4 { 2 } else { 0 });
            }
        });
        performed.unwrap();
        let (first, last) = (executor.first_kid().to_owned(), kids(&sandbox));
        let events = executor.events();
        let changes: Vec<_> = events.iter().map(|event| event.change.clone()).collect();
        let Change::Rotated(second) = &changes[0] else { panic!("{changes:?}") };
        let third = last[0].clone();
        assert_ne!(*second, third);
        assert_eq!(
            changes[1..],
            [Change::Retired(first), Change::Cut(third), Change::OutageStarted, Change::OutageEnded, Change::Revoked]
        );
        assert_eq!(events[5].at, Duration::from_secs(6));
    }
}
