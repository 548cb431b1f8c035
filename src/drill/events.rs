//! What the provider did, and when.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::scenario::{Action, PlannedStep};
use crate::clock::Clock;
use crate::sandbox::{Fault, Rotation, Sandbox, TokenFault};

/// Making a key takes tens of milliseconds, now and then a second. What was planned apart must not
/// fall together because of it: a cut within an outage would lose requests by the plan's fault.
const APART: Duration = Duration::from_millis(500);

/// Something the provider did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was done, since the first request was due.
    pub at: Duration,
    /// What.
    pub change: Change,
}

/// What the provider did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Published this key; the older ones stayed.
    Rotated(String),
    /// Took this key out.
    Retired(String),
    /// Published this key and took the older ones out.
    Cut(String),
    /// Its key set and token endpoints failed from now on.
    Broken,
    /// They answered again.
    Mended,
    /// Revoked all tokens.
    Revoked,
}

impl Change {
    /// The key that was published.
    #[must_use]
    pub fn published(&self) -> Option<&str> {
        match self {
            Self::Rotated(kid) | Self::Cut(kid) => Some(kid),
            Self::Retired(_) | Self::Broken | Self::Mended | Self::Revoked => None,
        }
    }

    /// One word, for a mark on a time line.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Rotated(_) => "rotated",
            Self::Retired(_) => "retired",
            Self::Cut(_) => "cut",
            Self::Broken => "down",
            Self::Mended => "up",
            Self::Revoked => "revoked",
        }
    }

    /// One letter, for a mark in a terminal.
    #[must_use]
    pub fn letter(&self) -> char {
        match self {
            Self::Rotated(_) => 'R',
            Self::Retired(_) => 'r',
            Self::Cut(_) => 'C',
            Self::Broken => '(',
            Self::Mended => ')',
            Self::Revoked => 'T',
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotated(kid) => write!(f, "new key {kid}, the older one stays"),
            Self::Retired(kid) => write!(f, "key {kid} taken out"),
            Self::Cut(kid) => write!(f, "hard cut: new key {kid}, the older ones gone"),
            Self::Broken => f.write_str("key set and token endpoints down"),
            Self::Mended => f.write_str("key set and token endpoints up again"),
            Self::Revoked => f.write_str("all tokens revoked"),
        }
    }
}

/// Does to the sandbox what a plan says, and writes down what was done.
pub(super) struct Executor<'a> {
    sandbox: &'a Sandbox,
    clock: &'a Clock,
    begun: Instant,
    first_kid: String,
    events: Mutex<Vec<Event>>,
}

impl<'a> Executor<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, clock: &'a Clock, begun: Instant) -> Self {
        let jwks = sandbox.private_jwks();
        let first_kid = jwks["keys"][0]["kid"].as_str().unwrap_or_default().to_owned();
        Self { sandbox, clock, begun, first_kid, events: Mutex::default() }
    }

    /// The key that was published before the first step.
    pub(super) fn first_kid(&self) -> &str {
        &self.first_kid
    }

    /// Whether the endpoints fail now.
    pub(super) fn is_broken(&self) -> bool {
        let events = self.events();
        let last = events.iter().rev().find(|event| matches!(event.change, Change::Broken | Change::Mended));
        last.is_some_and(|event| event.change == Change::Broken)
    }

    /// What was done so far.
    pub(super) fn done(&self) -> Vec<Event> {
        self.events().clone()
    }

    /// Does each step at its moment, or as soon after it as the step before allows.
    pub(super) async fn perform(&self, plan: &[PlannedStep]) -> io::Result<()> {
        let mut before = Duration::ZERO;
        let mut done = self.begun;
        for step in plan {
            let apart = (step.at - before).min(APART);
            self.clock.sleep_until((self.begun + step.at).max(done + apart)).await;
            self.act(&step.action).await?;
            before = step.at;
            done = self.clock.now();
        }
        Ok(())
    }

    async fn act(&self, action: &Action) -> io::Result<()> {
        let sandbox = self.sandbox;
        match action {
            Action::Rotate => self.note(Change::Rotated(sandbox.rotate(Rotation::Overlap).await?)),
            Action::HardCut => self.note(Change::Cut(sandbox.rotate(Rotation::HardCut).await?)),
            Action::Retire => {
                for kid in kids(sandbox).into_iter().skip(1) {
                    if sandbox.retire(&kid) {
                        self.note(Change::Retired(kid));
                    }
                }
            }
            Action::Break(fault) => {
                sandbox.arm(Fault::KeySet(fault.clone()));
                sandbox.arm(Fault::Token(TokenFault::ServerError));
                self.note(Change::Broken);
            }
            Action::Mend => {
                sandbox.disarm_all();
                self.note(Change::Mended);
            }
            Action::Revoke => {
                sandbox.revoke_tokens();
                self.note(Change::Revoked);
            }
        }
        Ok(())
    }

    fn note(&self, change: Change) {
        let at = self.clock.now() - self.begun;
        self.events().push(Event { at, change });
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        // A poisoned lock only means that another thread panicked between two notes.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The published keys, newest first.
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
    async fn a_plan_is_performed_in_order_and_written_down() {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let (clock, control) = Clock::manual();
        let executor = Executor::new(&sandbox, &clock, clock.now());
        let actions = [
            Action::Rotate,
            Action::Retire,
            Action::HardCut,
            Action::Break(KeySetFault::Html),
            Action::Mend,
            Action::Revoke,
        ];
        let plan: Vec<_> =
            (1..).zip(actions).map(|(s, action)| PlannedStep { at: Duration::from_secs(s), action }).collect();
        let (performed, ()) = tokio::join!(executor.perform(&plan), async {
            for done in 1..=plan.len() {
                control.advance(Duration::from_secs(1));
                while executor.events().len() < done {
                    tokio::task::yield_now().await;
                }
                assert_eq!(executor.is_broken(), done == 4);
                assert_eq!(sandbox.armed().len(), if done == 4 { 2 } else { 0 });
            }
        });
        performed.unwrap();
        let (first, last) = (executor.first_kid().to_owned(), kids(&sandbox));
        let events = executor.done();
        let changes: Vec<_> = events.iter().map(|event| event.change.clone()).collect();
        let Change::Rotated(second) = &changes[0] else { panic!("{changes:?}") };
        let third = last[0].clone();
        assert_ne!(*second, third);
        assert_eq!(
            changes[1..],
            [Change::Retired(first), Change::Cut(third), Change::Broken, Change::Mended, Change::Revoked]
        );
        assert_eq!(events[5].at, Duration::from_secs(6));
    }
}
