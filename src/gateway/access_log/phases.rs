//! The phases of a request: what took its time, when, and for how long.
//!
//! A request is in at most one phase at a time, so a phase ends when the next one begins. Sealing is the exception: it
//! goes on while the body is sent to the provider. Only what happened has a phase: a request that found a key at once
//! did not wait for one.
//!
//! Rejected: a list that grows. A request has at most one body, three attempts and two renewals of its credential, so
//! an array is long enough, and no request allocates for it.

use std::time::{Duration, Instant};

/// A part of the time of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The body arrives from the caller. Begins at the end of the head.
    Body,
    /// The request waits for the first key set.
    KeyWait,
    /// The request waits for a credential, or for a newer one after the provider refused it.
    CredentialWait,
    /// The reply waits for a key check.
    KeyCheck,
    /// The gateway seals the body. Overlaps with [`Provider`](Self::Provider).
    Seal,
    /// The gateway waits for the head of the provider's reply. Each attempt has its own span.
    Provider,
    /// The gateway relays the reply to the caller.
    Relay,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 7] =
        [Self::Body, Self::KeyWait, Self::CredentialWait, Self::KeyCheck, Self::Seal, Self::Provider, Self::Relay];

    /// The value of the label `phase` in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::KeyWait => "key_wait",
            Self::CredentialWait => "credential_wait",
            Self::KeyCheck => "key_check",
            Self::Seal => "seal",
            Self::Provider => "provider",
            Self::Relay => "relay",
        }
    }
}

/// When a request was in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// The time from the end of the request's head to the beginning of the phase.
    pub start: Duration,
    /// How long the phase took. For [`Phase::Seal`]: the sum over all chunks and attempts.
    pub duration: Duration,
}

/// The phases of one request, in the order in which they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    spans: [PhaseSpan; MAX_SPANS],
    len: usize,
}

/// One for the body, the wait for a key, the key check, sealing and relaying; two waits for a credential, and three
/// attempts.
const MAX_SPANS: usize = 10;

impl Default for Phases {
    fn default() -> Self {
        let unused = PhaseSpan { phase: Phase::Body, start: Duration::ZERO, duration: Duration::ZERO };
        Self { spans: [unused; MAX_SPANS], len: 0 }
    }
}

impl Phases {
    /// The spans of all phases.
    #[must_use]
    pub fn spans(&self) -> &[PhaseSpan] {
        &self.spans[..self.len]
    }

    /// The time in `phase`, all its spans together. `None` if the request was never in this phase.
    #[must_use]
    pub fn total(&self, phase: Phase) -> Option<Duration> {
        self.spans().iter().filter(|span| span.phase == phase).map(|span| span.duration).reduce(|sum, one| sum + one)
    }

    pub(super) fn extend(&mut self, span: Option<PhaseSpan>) {
        if let Some(span) = span {
            self.push(span);
        }
    }

    pub(super) fn push(&mut self, span: PhaseSpan) {
        // One is always unused: see `MAX_SPANS`. A request must not fail if that is wrong.
        debug_assert!(self.len < MAX_SPANS, "{self:?} is full, and {span:?} is lost");
        if let Some(unused) = self.spans.get_mut(self.len) {
            *unused = span;
            self.len += 1;
        }
    }
}

/// The phases of a request in progress.
#[derive(Debug)]
pub(super) struct Stopwatch {
    /// The end of the request's head.
    begun: Instant,
    current: Option<(Phase, Instant)>,
    /// The end of the last phase.
    last_end: Instant,
}

impl Stopwatch {
    pub(super) fn new(begun: Instant) -> Self {
        Self { begun, current: None, last_end: begun }
    }

    /// The request enters `phase`. Ends no other phase: the caller has done that.
    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        self.current = Some((phase, now));
    }

    /// The request enters the first phase. It begins with the request.
    pub(super) fn enter_first(&mut self, phase: Phase) {
        self.enter(phase, self.begun);
    }

    pub(super) fn is_in_phase(&self) -> bool {
        self.current.is_some()
    }

    /// The request leaves the phase that it is in. Returns the span of the phase, if there is one.
    pub(super) fn leave(&mut self, now: Instant) -> Option<PhaseSpan> {
        let (phase, since) = self.current.take()?;
        self.last_end = now;
        Some(self.span(phase, since, now - since))
    }

    /// The span of a phase from the end of the last one until `now`.
    pub(super) fn since_last_end(&self, phase: Phase, now: Instant) -> PhaseSpan {
        self.span(phase, self.last_end, now - self.last_end)
    }

    pub(super) fn span(&self, phase: Phase, since: Instant, duration: Duration) -> PhaseSpan {
        PhaseSpan { phase, start: since.saturating_duration_since(self.begun), duration }
    }

    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now - self.begun
    }
}
