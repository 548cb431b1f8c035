//! What is known about the credential, and what follows from it: a state machine without I/O.
//!
//! Renewals are numbered in the order in which they start. The number is the serial of the
//! credential they bring, by which a refused one is told from the one now in hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};

use super::{Credential, RenewalError, RenewalErrorKind, TokenError};
use crate::clock::{Backoff, Jitter};
use crate::rate_limit::TokenBucket;
use crate::single_flight::FlightLog;

/// The part of its life at which a token is renewed: early enough for many failed attempts,
/// spread because fleets started together expire together.
const RENEW_AT: (f64, f64) = (0.5, 0.75);

/// No renewal by the timer sooner than this after the one before: a token of one second must not
/// become a request loop.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Waits after a failure that may pass by itself.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Waits after the credentials were refused: they will not get better by asking, and some
/// providers lock accounts out.
const SLOW_BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5 * 60));

/// When a token that replaced a refused one is refused in turn, without ever having been accepted,
/// no refusal causes another renewal for this long: then it is not the token that is wrong
/// (audience, permissions, clocks), and a new one for each request would be an attack on the token
/// endpoint.
const REFUSAL_PAUSE: Duration = Duration::from_secs(10);

/// A token that is accepted by some calls and refused by others looks revoked at each refusal.
/// So many may be replaced at once, and then one in [`REPLACEMENT_EVERY`]: more often than anybody
/// revokes, and no attack on the token endpoint.
const REPLACEMENTS: u32 = 5;
const REPLACEMENT_EVERY: Duration = Duration::from_secs(4);

/// How often a fixed credential's file is read again.
const STATIC_POLL: Duration = Duration::from_secs(10);

/// Everything that is known about the credential.
#[derive(Debug)]
pub(super) struct State {
    cached: Option<Arc<CachedCredential>>,
    /// Whether a refused credential is thrown away: a fixed one is all there is.
    is_minted: bool,
    renewals: FlightLog<RenewalError>,
    /// No renewal by the timer before.
    due: Instant,
    backoff: Backoff,
    slow_backoff: Backoff,
    /// The first renewal that began after a refusal. One that was under way then may bring a
    /// credential that was revoked together with the refused one.
    replacing: Option<u64>,
    /// No renewal because of a refusal before, while the token in hand has not been accepted.
    paused_until: Option<Instant>,
    replacements: TokenBucket,
    counts: Counts,
    jitter: Jitter,
}

/// A credential in hand.
#[derive(Debug)]
pub(super) struct CachedCredential {
    pub(super) credential: Credential,
    /// None for a fixed one.
    expires: Option<Instant>,
    pub(super) scope: Option<Arc<str>>,
}

/// What a renewal brought.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) header: HeaderName,
    pub(super) value: HeaderValue,
    /// None for a fixed credential.
    pub(super) life: Option<Duration>,
    pub(super) scope: Option<Arc<str>>,
}

/// What follows from the provider's refusal of a credential.
#[derive(Debug)]
pub(super) enum AfterRefusal {
    /// Another one is in hand already.
    Other(Credential),
    /// The renewal with this number is to bring another one.
    Renew(u64),
    /// It was renewed just now for the same reason: leave it.
    Leave,
}

/// What came of a renewal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RenewalOutcome {
    Good,
    Failed(RenewalError),
    /// A later one had ended before.
    Late,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) refusals: u64,
}

impl CachedCredential {
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    pub(super) fn life_left(&self, now: Instant) -> Option<Duration> {
        self.expires.map(|expires| expires.saturating_duration_since(now))
    }
}

impl State {
    pub(super) fn new(is_minted: bool, now: Instant, jitter: Jitter) -> Self {
        Self {
            cached: None,
            is_minted,
            renewals: FlightLog::new(),
            due: now,
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1, jitter.clone()),
            slow_backoff: Backoff::new(SLOW_BACKOFF.0, SLOW_BACKOFF.1, jitter.clone()),
            replacing: None,
            paused_until: None,
            replacements: TokenBucket::new(REPLACEMENTS, REPLACEMENT_EVERY, now),
            counts: Counts::default(),
            jitter,
        }
    }

    pub(super) fn cached(&self) -> Option<&Arc<CachedCredential>> {
        self.cached.as_ref()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn last_error(&self) -> Option<&RenewalError> {
        self.renewals.last_error()
    }

    fn last_error_kind(&self) -> Option<&RenewalErrorKind> {
        self.last_error().map(|error| &error.kind)
    }

    /// Number of the renewal that a caller can join or start, and when the timer may start it.
    pub(super) fn next_renewal(&self) -> (u64, Instant) {
        (self.replacing.unwrap_or(0).max(self.renewals.next()), self.due)
    }

    /// Renewal `number` is sent.
    pub(super) fn begin(&mut self, number: u64) -> Result<(), Result<(), RenewalError>> {
        self.renewals.start(number)
    }

    /// The credential in hand, unless it has expired.
    pub(super) fn credential(&self, now: Instant) -> Option<Credential> {
        self.cached.as_ref().filter(|cached| cached.is_alive(now)).map(|cached| cached.credential.clone())
    }

    /// Why a request that found no credential gets none.
    pub(super) fn why_none(&self, now: Instant) -> TokenError {
        match self.last_error_kind() {
            Some(RenewalErrorKind::Refused { status }) => TokenError::CredentialsRefused { status: *status },
            _ => TokenError::Unavailable { retry_after: self.due.saturating_duration_since(now).max(MIN_INTERVAL) },
        }
    }

    /// Whether waiting is in vain: the credentials were refused and are not tried again yet, or
    /// the next attempt lies beyond the deadline.
    pub(super) fn is_hopeless(&self, now: Instant, deadline: Instant) -> bool {
        now < self.due && (self.is_refused() || self.due >= deadline)
    }

    /// Whether only another secret would help.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.last_error_kind(), Some(RenewalErrorKind::Refused { .. }))
    }

    /// The secret is no longer the one that was refused: try it at once.
    pub(super) fn secret_changed(&mut self, now: Instant) {
        if self.is_refused() {
            self.slow_backoff.reset();
            self.due = now;
        }
    }

    /// Renewal `number` ended.
    pub(super) fn finish(&mut self, number: u64, outcome: Result<Grant, RenewalError>, now: Instant) -> RenewalOutcome {
        if !self.renewals.end(number, outcome.as_ref().map(|_| ()).map_err(Clone::clone)) {
            return RenewalOutcome::Late;
        }
        // A fixed credential is read from disk; that counts as tried also when it failed.
        if self.replacing.is_some_and(|first| number >= first) && (outcome.is_ok() || !self.is_minted) {
            self.replacing = None;
            self.paused_until = Some(now + REFUSAL_PAUSE);
        }
        match outcome {
            Ok(grant) => {
                self.hold(number, grant, now);
                if self.replacing.is_some() {
                    // It had been sent before the refusal: the one that replaces is still to come.
                    self.due = now;
                }
                RenewalOutcome::Good
            }
            Err(error) => {
                self.due = now + self.wait_after(&error.kind);
                self.counts.failed += 1;
                RenewalOutcome::Failed(error)
            }
        }
    }

    fn hold(&mut self, number: u64, grant: Grant, now: Instant) {
        self.due = now
            + match grant.life {
                Some(life) => self.jitter.between(life, RENEW_AT.0, RENEW_AT.1).max(MIN_INTERVAL),
                None => STATIC_POLL,
            };
        // A fixed credential that is still the same keeps its serial: there is nothing to resend with.
        let same = self.cached.as_ref().filter(|cached| !self.is_minted && cached.credential.carries(&grant.value));
        if same.is_none() {
            let credential = Credential::new(grant.header, grant.value, number);
            let expires = grant.life.map(|life| now + life);
            self.cached = Some(Arc::new(CachedCredential { credential, expires, scope: grant.scope }));
        }
        self.backoff.reset();
        self.slow_backoff.reset();
        self.counts.ok += 1;
    }

    fn wait_after(&mut self, error: &RenewalErrorKind) -> Duration {
        match error {
            RenewalErrorKind::Refused { .. } => self.slow_backoff.next_wait(),
            // A little later than asked for, each of a fleet at another moment.
            RenewalErrorKind::Busy { retry_after: Some(asked), .. } => {
                self.jitter.between((*asked).max(MIN_INTERVAL), 1.0, 1.1)
            }
            _ => self.backoff.next_wait(),
        }
    }

    /// The provider answered 401 to the credential with this serial.
    pub(super) fn refused(&mut self, serial: u64, now: Instant) -> AfterRefusal {
        let next = self.renewals.next_start();
        match &self.cached {
            Some(cached) if cached.credential.serial() != Some(serial) && cached.is_alive(now) => {
                AfterRefusal::Other(cached.credential.clone())
            }
            Some(cached) if cached.credential.serial() == Some(serial) => {
                self.counts.refusals += 1;
                let accepted = cached.credential.was_accepted();
                let is_paused = self.paused_until.is_some_and(|until| now < until);
                // While no other can be had, one that some calls accept is better than none.
                let is_barred = matches!(
                    self.last_error_kind(),
                    Some(RenewalErrorKind::Refused { .. } | RenewalErrorKind::Busy { .. })
                ) && now < self.due;
                if (is_paused && !accepted) || (is_barred && accepted) || self.replacements.take(now).is_err() {
                    return AfterRefusal::Leave;
                }
                // Already wanted, unless what it brought has just been refused as well.
                let number = *self.replacing.get_or_insert(next);
                // Neither the timer nor a passing failure holds this one up; what the token
                // endpoint asked for does.
                if !matches!(
                    self.last_error_kind(),
                    Some(RenewalErrorKind::Refused { .. } | RenewalErrorKind::Busy { .. })
                ) {
                    self.due = self.due.min(now);
                }
                if self.is_minted {
                    self.cached = None;
                }
                AfterRefusal::Renew(number)
            }
            // Forgotten or expired, and not replaced yet.
            _ => AfterRefusal::Renew(self.next_renewal().0),
        }
    }
}

#[cfg(test)]
mod tests;
