//! What each upstream may take of the gateway's limits.
//!
//! What one upstream does not use, no other takes from it: a provider that hangs fills its own
//! share, with requests that wait for it and with their bodies, and leaves the others theirs.
//! Rejected: lending what is free. A provider is slow for longer than a loan can wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gateway::Limits;
use crate::gateway::request::body::Budget;
use crate::gateway::response::refusal::{Limit, Refusal};

/// What is written for one upstream, in place of an even share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaOverrides {
    /// Bytes of one body.
    pub max_body: Option<usize>,
    /// Bytes of all bodies together.
    pub buffered: Option<usize>,
    /// Requests at once, up to their reply's head.
    pub in_flight: Option<usize>,
}

/// One upstream's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Bytes of one body.
    pub max_body: usize,
    /// Bytes of all bodies together.
    pub buffered: usize,
    /// Requests at once, up to their reply's head.
    pub in_flight: usize,
}

/// Divides `limits`: who wants something gets it, the others share the rest evenly.
#[must_use]
pub(crate) fn divide(limits: &Limits, overrides: &[QuotaOverrides]) -> Vec<Quota> {
    let buffered = even_share(limits.buffered, overrides.iter().map(|overrides| overrides.buffered));
    let in_flight = even_share(limits.in_flight, overrides.iter().map(|overrides| overrides.in_flight));
    let quota = |overrides: &QuotaOverrides| Quota {
        max_body: overrides.max_body.unwrap_or(limits.max_body),
        buffered: overrides.buffered.unwrap_or(buffered),
        in_flight: overrides.in_flight.unwrap_or(in_flight),
    };
    overrides.iter().map(quota).collect()
}

fn even_share(whole: usize, overrides: impl Iterator<Item = Option<usize>>) -> usize {
    let (taken, others) = overrides.fold((0usize, 0usize), |(taken, others), overrides| match overrides {
        Some(part) => (taken.saturating_add(part), others),
        None => (taken, others + 1),
    });
    whole.saturating_sub(taken) / others.max(1)
}

/// The part of an upstream's places that those may hold of whom nothing is known yet: they ask for a
/// token, and are known when their body is here. Who only dribbles leaves the others to callers.
const UNAUTHENTICATED_FRACTION: usize = 4;

/// What is left of a [`Quota`] while requests come and go.
#[derive(Clone, Debug)]
pub(crate) struct Capacity {
    /// Bytes of one body.
    pub max_body: usize,
    /// Bytes of all bodies together.
    pub budget: Budget,
    in_flight: Arc<Semaphore>,
    unauthenticated: Arc<Semaphore>,
}

/// Held while a request is among those to its upstream.
#[derive(Debug)]
pub(crate) struct UpstreamPermit {
    _permit: OwnedSemaphorePermit,
    _unauthenticated: Option<OwnedSemaphorePermit>,
}

impl Capacity {
    /// All of `share`.
    #[must_use]
    pub(crate) fn of(quota: Quota) -> Self {
        let permits = quota.in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            max_body: quota.max_body,
            budget: Budget::new(quota.buffered),
            in_flight: Arc::new(Semaphore::new(permits)),
            unauthenticated: Arc::new(Semaphore::new((permits / UNAUTHENTICATED_FRACTION).max(1))),
        }
    }

    /// A place for one request.
    ///
    /// # Errors
    /// `overloaded`: full means 503 now, not a queue nobody sees.
    pub(crate) fn acquire(&self) -> Result<UpstreamPermit, Refusal> {
        Ok(UpstreamPermit { _permit: take(&self.in_flight)?, _unauthenticated: None })
    }

    /// A place for a request that is not known to be any caller's.
    ///
    /// # Errors
    /// `overloaded`, also while there are places for known callers.
    pub(crate) fn acquire_unauthenticated(&self) -> Result<UpstreamPermit, Refusal> {
        let unauthenticated = Some(take(&self.unauthenticated)?);
        Ok(UpstreamPermit { _permit: take(&self.in_flight)?, _unauthenticated: unauthenticated })
    }
}

fn take(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(permits).try_acquire_owned().map_err(|_| Refusal::Overloaded(Limit::UpstreamInFlight))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_body: 10, buffered: 300, in_flight: 90 };

    #[test]
    fn who_wants_nothing_in_particular_gets_an_even_share_of_the_rest() {
        let none = QuotaOverrides::default();
        let even = Quota { max_body: 10, buffered: 100, in_flight: 30 };
        assert_eq!(divide(&LIMITS, &[none; 3]), [even; 3]);
        let overrides = QuotaOverrides { buffered: Some(200), in_flight: Some(10), max_body: Some(5) };
        let rest = Quota { max_body: 10, buffered: 50, in_flight: 40 };
        let own = Quota { max_body: 5, buffered: 200, in_flight: 10 };
        assert_eq!(divide(&LIMITS, &[none, overrides, none]), [rest, own, rest]);
        assert_eq!(divide(&LIMITS, &[none])[0].in_flight, 90, "one upstream has it all");
    }

    #[test]
    fn a_full_room_turns_requests_away_until_one_leaves() {
        let capacity = Capacity::of(Quota { max_body: 1, buffered: 1, in_flight: 1 });
        let permit = capacity.acquire().unwrap();
        assert!(matches!(capacity.acquire(), Err(Refusal::Overloaded(Limit::UpstreamInFlight))));
        drop(permit);
        assert!(capacity.acquire().is_ok());
    }

    #[test]
    fn strangers_hold_a_quarter_of_the_places_at_most_and_none_beyond_them() {
        let capacity = Capacity::of(Quota { max_body: 1, buffered: 1, in_flight: 8 });
        let unauthenticated =
            [capacity.acquire_unauthenticated().unwrap(), capacity.acquire_unauthenticated().unwrap()];
        assert!(capacity.acquire_unauthenticated().is_err());
        let known: Vec<_> = std::iter::from_fn(|| capacity.acquire().ok()).collect();
        assert_eq!(known.len(), 6);
        drop(unauthenticated);
        assert_eq!(std::iter::from_fn(|| capacity.acquire().ok()).take(2).collect::<Vec<_>>().len(), 2);
    }
}
