//! The state of the credential, and its changes at each renewal and refusal: a state machine without I/O.
//!
//! Renewals are numbered in the order in which they start. The number of a renewal is the serial number of its
//! credential. It distinguishes a refused credential from the one that is cached now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};

use super::{Credential, RenewalError, RenewalErrorKind, TokenError};
use crate::clock::{Backoff, Jitter};
use crate::rate_limit::TokenBucket;
use crate::single_flight::FlightLog;

/// A token is renewed after a random part of its lifetime between these two. This leaves time for many attempts. The
/// spread keeps gateways that started together from renewing together.
const RENEW_AT: (f64, f64) = (0.5, 0.75);

/// Shortest time between two scheduled renewals. A token with a lifetime of a second must not cause a request loop.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// First and longest wait after a failure that may be temporary.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// First and longest wait after the token endpoint has refused the credentials. A retry does not correct them, and
/// some providers lock accounts.
const SLOW_BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5 * 60));

/// Shortest time between a failed renewal and the next one while requests need a credential and there is none. The
/// backoff is for a gateway without traffic: callers that wait must be served soon after the token endpoint has
/// returned.
const ON_DEMAND_INTERVAL: Duration = Duration::from_secs(1);

/// The same after the token endpoint has refused the credentials.
const ON_DEMAND_INTERVAL_REFUSED: Duration = Duration::from_secs(5);

/// How long a refusal causes no renewal after a refused token was replaced, unless the new token was accepted before.
/// The cause is then not a revocation, but the audience, a permission or a clock. A new token for each request would
/// overload the token endpoint.
const REFUSAL_PAUSE: Duration = Duration::from_secs(10);

/// How many refused tokens are replaced at once. After that, one is replaced per [`REPLACEMENT_INTERVAL`]. If the
/// provider accepts a token for some calls and refuses it for others, each refusal looks like a revocation. Real
/// revocations are rarer than this limit, and the limit protects the token endpoint.
const REPLACEMENTS: u32 = 5;
const REPLACEMENT_INTERVAL: Duration = Duration::from_secs(4);

/// How often the file of a static credential is read.
const STATIC_POLL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct CredentialsState {
    cached: Option<Arc<CachedCredential>>,
    /// Whether a refused credential is dropped. A static one is kept, because there is no other.
    is_token: bool,
    renewals: FlightLog<RenewalError>,
    /// When the next scheduled renewal may start.
    due: Instant,
    /// When the last renewal ended.
    last_end: Option<Instant>,
    backoff: Backoff,
    slow_backoff: Backoff,
    /// The first renewal that starts after a refusal. One that was under way at the refusal may bring a credential that
    /// was revoked together with the refused one.
    replacement: Option<u64>,
    /// Until then, a refusal causes no renewal unless the cached token was accepted before.
    paused_until: Option<Instant>,
    replacement_budget: TokenBucket,
    counts: RenewalCounts,
    jitter: Jitter,
}

#[derive(Debug)]
pub(super) struct CachedCredential {
    pub(super) credential: Credential,
    obtained: Instant,
    /// `None` for a static credential.
    expires: Option<Instant>,
    pub(super) scope: Option<Arc<str>>,
}

/// The result of a successful renewal.
#[derive(Debug)]
pub(super) struct NewCredential {
    pub(super) header: HeaderName,
    pub(super) value: HeaderValue,
    /// `None` for a static credential.
    pub(super) lifetime: Option<Duration>,
    pub(super) scope: Option<Arc<str>>,
}

/// What to do after the provider has refused a credential.
#[derive(Debug)]
pub(super) enum AfterRefusal {
    /// Use this one: it has replaced the refused one already.
    Use(Credential),
    /// Wait for the renewal with this number.
    Renew(u64),
    /// Keep the refused one: a renewal would not help.
    Keep,
    /// Keep the refused one for other requests, which may succeed. This request gets no other: the token endpoint
    /// gives none at present.
    Unavailable,
}

/// The effect of a renewal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RenewalOutcome {
    Good,
    Failed(RenewalError),
    /// A later renewal had ended before.
    Late,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RenewalCounts {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) refusals: u64,
}

impl CachedCredential {
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.obtained)
    }

    pub(super) fn lifetime_left(&self, now: Instant) -> Option<Duration> {
        self.expires.map(|expires| expires.saturating_duration_since(now))
    }
}

impl CredentialsState {
    pub(super) fn new(is_token: bool, now: Instant, jitter: Jitter) -> Self {
        Self {
            cached: None,
            is_token,
            renewals: FlightLog::new(),
            due: now,
            last_end: None,
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1, jitter.clone()),
            slow_backoff: Backoff::new(SLOW_BACKOFF.0, SLOW_BACKOFF.1, jitter.clone()),
            replacement: None,
            paused_until: None,
            replacement_budget: TokenBucket::new(REPLACEMENTS, REPLACEMENT_INTERVAL, now),
            counts: RenewalCounts::default(),
            jitter,
        }
    }

    pub(super) fn cached(&self) -> Option<&Arc<CachedCredential>> {
        self.cached.as_ref()
    }

    pub(super) fn counts(&self) -> RenewalCounts {
        self.counts
    }

    pub(super) fn last_error(&self) -> Option<&RenewalError> {
        self.renewals.last_error()
    }

    fn last_error_kind(&self) -> Option<&RenewalErrorKind> {
        self.last_error().map(|error| &error.kind)
    }

    /// The number of the renewal that a caller can join or start, and when the schedule may start it.
    pub(super) fn next_renewal(&self) -> (u64, Instant) {
        (self.replacement.unwrap_or(0).max(self.renewals.next()), self.due)
    }

    /// The number of the first renewal that starts after this call.
    pub(super) fn next_start(&self) -> u64 {
        self.renewals.next_start()
    }

    /// Records that renewal `number` starts.
    ///
    /// # Errors
    /// If it has already ended: returns its outcome.
    pub(super) fn start(&mut self, number: u64) -> Result<(), Result<(), RenewalError>> {
        self.renewals.start(number)
    }

    /// The cached credential, unless it has expired.
    pub(super) fn credential(&self, now: Instant) -> Option<Credential> {
        self.cached.as_ref().filter(|cached| cached.is_alive(now)).map(|cached| cached.credential.clone())
    }

    /// Why a request gets no credential.
    pub(super) fn unavailable_reason(&self, now: Instant) -> TokenError {
        match self.last_error_kind() {
            Some(RenewalErrorKind::Refused { status }) => TokenError::CredentialsRefused { status: *status },
            _ => TokenError::Unavailable { retry_after: self.due.saturating_duration_since(now).max(MIN_INTERVAL) },
        }
    }

    /// Whether no credential can arrive before the deadline: the next attempt is later, or it will use the same refused
    /// secret.
    pub(super) fn cannot_arrive_by(&self, now: Instant, deadline: Instant) -> bool {
        now < self.due && (self.is_refused() || self.due >= deadline)
    }

    /// Whether the token endpoint refused the credentials at the last renewal.
    fn is_refused(&self) -> bool {
        matches!(self.last_error_kind(), Some(RenewalErrorKind::Refused { .. }))
    }

    /// Whether the last renewal failed because of the secret: another secret may succeed.
    pub(super) fn is_secret_faulty(&self) -> bool {
        self.is_refused() || matches!(self.last_error_kind(), Some(RenewalErrorKind::Credential(_)))
    }

    /// A request needs a credential and there is none: brings the next renewal forward, whatever the backoff says. A
    /// wait that the token endpoint asked for stays. Returns whether the time of the renewal has changed.
    pub(super) fn bring_forward(&mut self, now: Instant) -> bool {
        let interval = match self.last_error_kind() {
            Some(RenewalErrorKind::Busy { retry_after: Some(_), .. }) => return false,
            Some(RenewalErrorKind::Refused { .. }) => ON_DEMAND_INTERVAL_REFUSED,
            _ => ON_DEMAND_INTERVAL,
        };
        let earliest = self.last_end.map_or(now, |end| (end + interval).max(now));
        let is_earlier = earliest < self.due;
        self.due = self.due.min(earliest);
        is_earlier
    }

    /// The secret differs from the faulty one: the next renewal is due at once.
    pub(super) fn secret_changed(&mut self, now: Instant) {
        if self.is_secret_faulty() {
            self.slow_backoff.reset();
            self.due = now;
        }
    }

    /// Records the outcome of renewal `number`.
    pub(super) fn finish(
        &mut self,
        number: u64,
        outcome: Result<NewCredential, RenewalError>,
        now: Instant,
    ) -> RenewalOutcome {
        if !self.renewals.end(number, outcome.as_ref().map(|_| ()).map_err(Clone::clone)) {
            return RenewalOutcome::Late;
        }
        self.last_end = Some(now);
        // For a static credential, a failed read counts as an attempt too.
        if self.replacement.is_some_and(|first| number >= first) && (outcome.is_ok() || !self.is_token) {
            self.replacement = None;
            self.paused_until = Some(now + REFUSAL_PAUSE);
        }
        match outcome {
            Ok(new) => {
                self.store(number, new, now);
                if self.replacement.is_some() {
                    // This renewal started before the refusal: the replacement must still follow.
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

    fn store(&mut self, number: u64, new: NewCredential, now: Instant) {
        self.due = now
            + match new.lifetime {
                Some(lifetime) => self.jitter.between(lifetime, RENEW_AT.0, RENEW_AT.1).max(MIN_INTERVAL),
                None => STATIC_POLL,
            };
        // A static credential that has not changed keeps its serial number: the request must not be resent.
        let same = self.cached.as_ref().filter(|cached| !self.is_token && cached.credential.has_value(&new.value));
        if same.is_none() {
            let credential = Credential::new(new.header, new.value, number);
            let expires = new.lifetime.map(|lifetime| now + lifetime);
            self.cached = Some(Arc::new(CachedCredential { credential, obtained: now, expires, scope: new.scope }));
        }
        self.backoff.reset();
        self.slow_backoff.reset();
        self.counts.ok += 1;
    }

    fn wait_after(&mut self, error: &RenewalErrorKind) -> Duration {
        match error {
            RenewalErrorKind::Refused { .. } => self.slow_backoff.next_wait(),
            // The wait is a little longer than asked for, and differs between gateways.
            RenewalErrorKind::Busy { retry_after: Some(wait), .. } => {
                self.jitter.between((*wait).max(MIN_INTERVAL), 1.0, 1.1)
            }
            _ => self.backoff.next_wait(),
        }
    }

    /// The provider answered 401 to the credential with this serial.
    pub(super) fn refused(&mut self, serial: u64, now: Instant) -> AfterRefusal {
        let next = self.renewals.next_start();
        match &self.cached {
            Some(cached) if cached.credential.serial() != Some(serial) && cached.is_alive(now) => {
                AfterRefusal::Use(cached.credential.clone())
            }
            Some(cached) if cached.credential.serial() == Some(serial) => {
                self.counts.refusals += 1;
                if !self.is_token {
                    // Its file may have changed. A read costs little, and all refused requests share it.
                    self.due = self.due.min(now);
                    return AfterRefusal::Renew(*self.replacement.get_or_insert(next));
                }
                let accepted = cached.credential.was_accepted();
                let is_paused = self.paused_until.is_some_and(|until| now < until);
                let must_wait =
                    self.is_secret_faulty() || matches!(self.last_error_kind(), Some(RenewalErrorKind::Busy { .. }));
                if must_wait {
                    let _ = self.bring_forward(now);
                }
                if is_paused && !accepted {
                    return AfterRefusal::Keep;
                }
                // While no other token can be obtained, one that some calls may use is better than none.
                if must_wait && now < self.due && accepted {
                    return AfterRefusal::Unavailable;
                }
                if self.replacement_budget.take(now).is_err() {
                    return AfterRefusal::Keep;
                }
                // Another refusal may have asked for it already.
                let number = *self.replacement.get_or_insert(next);
                // The schedule and the backoff do not delay this renewal. A wait that the token endpoint asked for
                // does.
                if !must_wait {
                    self.due = self.due.min(now);
                }
                self.cached = None;
                AfterRefusal::Renew(number)
            }
            // The refused credential was dropped or has expired, and is not replaced yet.
            _ => AfterRefusal::Renew(self.next_renewal().0),
        }
    }
}

#[cfg(test)]
mod tests;
