//! Reads the sandbox several times per second, for the progress line, and because the sandbox keeps only the
//! latest calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::Executor;
use super::load::LoadCounters;
use super::observations::ProviderCall;
use super::scenario::Scenario;
use crate::clock::Clock;
use crate::sandbox::Sandbox;

/// The interval between two readings of the recorded calls. Each reading copies all of them; at the highest
/// rate the sandbox keeps ten seconds.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// The progress of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The time since the first request was due.
    pub elapsed: Duration,
    /// The time during which requests are sent.
    pub duration: Duration,
    /// The number of requests sent.
    pub sent: u64,
    /// The number of replies with another status than the expected one, and of requests without a reply.
    pub failed: u64,
    /// The `kid` of the last message that the provider opened.
    pub kid: Option<String>,
    /// The time since the key set was last requested without a fault, as seen by the provider.
    pub key_set_age: Option<Duration>,
    /// Whether an outage of the key set and token endpoints is in progress.
    pub is_broken: bool,
}

pub(super) struct Monitor<'a> {
    sandbox: &'a Sandbox,
    scenario: Scenario,
    run_id: Arc<str>,
    clock: Clock,
    started: Instant,
    calls: Vec<ProviderCall>,
    /// The number of the last call that was read.
    read: u64,
    unread_calls: u64,
    next_reading: Instant,
    kid: Option<String>,
    fetches: u64,
    fetched: Option<Instant>,
    token_requests: u64,
    requested: Requested,
}

/// When the client requested key sets and tokens, to within one update.
#[derive(Clone, Debug, Default)]
pub(super) struct Requested {
    pub(super) key_set: Vec<Duration>,
    pub(super) token: Vec<Duration>,
}

impl<'a> Monitor<'a> {
    /// Ignores the calls that the provider received before.
    pub(super) fn new(
        sandbox: &'a Sandbox,
        scenario: Scenario,
        run_id: Arc<str>,
        clock: Clock,
        started: Instant,
    ) -> Self {
        let fetches = sandbox.jwks_fetches();
        Self {
            sandbox,
            scenario,
            run_id,
            clock,
            started,
            calls: Vec::new(),
            read: sandbox.received_total(),
            unread_calls: 0,
            next_reading: started,
            kid: None,
            fetches,
            fetched: (fetches > 0).then_some(started),
            token_requests: sandbox.token_requests(),
            requested: Requested::default(),
        }
    }

    pub(super) fn update(&mut self, counters: &LoadCounters, duration: Duration, executor: &Executor<'_>) -> Progress {
        let now = self.clock.now();
        if now >= self.next_reading {
            self.read_new_calls();
            self.next_reading = now + READ_INTERVAL;
        }
        let fetches = self.sandbox.jwks_fetches();
        let is_broken = executor.is_broken();
        if fetches > self.fetches && !is_broken {
            self.fetched = Some(now);
        }
        let (elapsed, token_requests) = (now - self.started, self.sandbox.token_requests());
        self.requested.key_set.extend((self.fetches..fetches).map(|_| elapsed));
        self.requested.token.extend((self.token_requests..token_requests).map(|_| elapsed));
        (self.fetches, self.token_requests) = (fetches, token_requests);
        Progress {
            elapsed,
            duration,
            sent: counters.sent(),
            failed: counters.failed(),
            kid: self.kid.clone(),
            key_set_age: self.fetched.map(|fetched| now - fetched),
            is_broken,
        }
    }

    /// Returns all calls since the start, how many of them the sandbox dropped before they were read, and the requests
    /// for key sets and tokens.
    pub(super) fn finish(mut self) -> (Vec<ProviderCall>, u64, Requested) {
        self.read_new_calls();
        (self.calls, self.unread_calls, self.requested)
    }

    fn read_new_calls(&mut self) {
        let received = self.sandbox.received();
        let first_new = received.partition_point(|call| call.number <= self.read);
        for received in &received[first_new..] {
            self.unread_calls += received.number - self.read - 1;
            self.read = received.number;
            if let Some(call) = ProviderCall::of(received, &self.run_id, self.scenario, self.started) {
                if call.is_accepted() {
                    self.kid.clone_from(&call.kid);
                }
                self.calls.push(call);
            }
        }
    }
}
