//! Limits per upstream: requests in flight, responses in progress and buffered bytes.
//!
//! A request is in flight until the head of its reply. A caller that does not read its response then holds nothing
//! but a connection to the provider. [`RESPONSES`] limits these connections.
//!
//! Each upstream has its own quota of the gateway's limits. A provider that hangs fills only the quota of its
//! upstream, with waiting requests and their bodies. Rejected: lending unused quota to other upstreams. A slow
//! provider stays slow for so long that the owner of the quota would be refused requests.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gateway::Limits;
use crate::gateway::request::body::Budget;

/// The limits that the configuration sets for one upstream. A limit that is not set is an even share of the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaOverrides {
    /// Maximum bytes of one body.
    pub max_body: Option<usize>,
    /// Maximum bytes of all buffered bodies.
    pub buffered: Option<usize>,
    /// Maximum requests in flight. A request is in flight until the head of its reply arrives.
    pub in_flight: Option<usize>,
}

/// The limits of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub max_body: usize,
    pub buffered: usize,
    pub in_flight: usize,
}

/// Divides `limits`: an upstream with an override gets exactly that, the others share the rest evenly.
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

fn even_share(total: usize, overrides: impl Iterator<Item = Option<usize>>) -> usize {
    let (reserved, others) = overrides.fold((0usize, 0usize), |(reserved, others), limit| match limit {
        Some(limit) => (reserved.saturating_add(limit), others),
        None => (reserved, others + 1),
    });
    total.saturating_sub(reserved) / others.max(1)
}

/// Requests in flight and responses in progress together may be this many times `in_flight`. Responses rarely take
/// longer than the wait for them, so only callers that do not read come near the limit.
pub(crate) const RESPONSES: usize = 2;

/// The default limit of concurrent requests per caller: three quarters of the responses of the smallest upstream. A
/// caller whose responses are not read leaves the rest to the other callers, at each upstream.
#[must_use]
pub(crate) fn default_concurrent(quotas: &[Quota]) -> Option<usize> {
    let smallest = quotas.iter().map(|quota| quota.in_flight).min()?;
    let responses = smallest.max(1).saturating_mul(RESPONSES);
    Some(responses - responses.div_ceil(4))
}

/// The unused part of a [`Quota`]. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Capacity {
    pub max_body: usize,
    pub budget: Budget,
    in_flight: Arc<Semaphore>,
    responses: Arc<Semaphore>,
    size: Size,
}

/// The number of permits of each kind.
#[derive(Clone, Copy, Debug)]
struct Size {
    buffered: usize,
    in_flight: usize,
    responses: usize,
}

/// All permits of the upstream are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream has as many requests in flight, or responses in progress, as its quota allows")]
pub(crate) struct UpstreamFull;

/// A permit for one request in flight to the upstream. Dropping it frees the permit.
#[derive(Debug)]
pub(crate) struct UpstreamPermit {
    _permit: OwnedSemaphorePermit,
    response: ResponsePermit,
}

impl UpstreamPermit {
    /// The request is no longer in flight. The rest of the permit is for its response.
    #[must_use]
    pub(crate) fn into_response(self) -> ResponsePermit {
        self.response
    }
}

/// Held until the response has ended.
#[derive(Debug)]
pub(crate) struct ResponsePermit {
    _permit: OwnedSemaphorePermit,
}

impl Capacity {
    #[must_use]
    pub(crate) fn of(quota: Quota) -> Self {
        // A quota that the limit of descriptors reduced may be zero. The upstream still gets one request at a time.
        let in_flight = quota.in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let responses = in_flight.saturating_mul(RESPONSES).min(Semaphore::MAX_PERMITS);
        let size = Size { buffered: quota.buffered.min(Semaphore::MAX_PERMITS), in_flight, responses };
        Self {
            max_body: quota.max_body,
            budget: Budget::new(size.buffered),
            in_flight: Arc::new(Semaphore::new(in_flight)),
            responses: Arc::new(Semaphore::new(responses)),
            size,
        }
    }

    /// Each limit, with the part of it that is in use and the whole.
    #[must_use]
    pub(crate) fn usage(&self) -> [(&'static str, usize, usize); 3] {
        let Size { buffered, in_flight, responses } = self.size;
        let used = |limit: usize, free: usize| limit.saturating_sub(free);
        [
            ("requests in flight", used(in_flight, self.in_flight.available_permits()), in_flight),
            ("requests and responses", used(responses, self.responses.available_permits()), responses),
            ("buffered bytes", used(buffered, self.budget.available()), buffered),
        ]
    }

    /// The same permits and budget with another quota. Requests that are in flight keep their permits: a lower limit
    /// refuses new requests until enough permits are returned.
    #[must_use]
    pub(crate) fn resized(&self, quota: Quota) -> Self {
        let wanted = Self::of(quota);
        resize(&self.in_flight, self.size.in_flight, wanted.size.in_flight);
        resize(&self.responses, self.size.responses, wanted.size.responses);
        self.budget.resize(self.size.buffered, wanted.size.buffered);
        Self { max_body: wanted.max_body, size: wanted.size, ..self.clone() }
    }

    /// A permit for one request.
    ///
    /// # Errors
    /// When no permit is free. Requests do not wait for one: a queue would hide the overload.
    pub(crate) fn acquire(&self) -> Result<UpstreamPermit, UpstreamFull> {
        // The permit for the response comes first: a reply cannot be refused once the provider has processed the request.
        let response = ResponsePermit { _permit: try_acquire(&self.responses)? };
        Ok(UpstreamPermit { _permit: try_acquire(&self.in_flight)?, response })
    }
}

/// Changes the number of permits. If too many are in use, those that are returned first are removed. Until then, the
/// semaphore has none to give.
pub(crate) fn resize(permits: &Arc<Semaphore>, from: usize, to: usize) {
    if to >= from {
        return permits.add_permits(to - from);
    }
    let mut in_use = from - to - permits.forget_permits(from - to);
    if in_use == 0 {
        return;
    }
    let permits = Arc::clone(permits);
    tokio::spawn(async move {
        while in_use > 0 {
            let count = u32::try_from(in_use).unwrap_or(u32::MAX);
            // The semaphore is never closed.
            let Ok(returned) = permits.acquire_many(count).await else { return };
            returned.forget();
            in_use -= count as usize;
        }
    });
}

fn try_acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, UpstreamFull> {
    Arc::clone(permits).try_acquire_owned().map_err(|_| UpstreamFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_body: 10, buffered: 300, in_flight: 90 };

    #[test]
    fn an_upstream_without_overrides_gets_an_even_share_of_the_rest() {
        let none = QuotaOverrides::default();
        let even = Quota { max_body: 10, buffered: 100, in_flight: 30 };
        assert_eq!(divide(&LIMITS, &[none; 3]), [even; 3]);
        let overrides = QuotaOverrides { buffered: Some(200), in_flight: Some(10), max_body: Some(5) };
        let rest = Quota { max_body: 10, buffered: 50, in_flight: 40 };
        let own = Quota { max_body: 5, buffered: 200, in_flight: 10 };
        assert_eq!(divide(&LIMITS, &[none, overrides, none]), [rest, own, rest]);
        assert_eq!(divide(&LIMITS, &[none])[0].in_flight, 90, "a single upstream gets everything");
    }

    #[test]
    fn by_default_one_caller_cannot_hold_all_responses_of_an_upstream() {
        let quota = |in_flight| Quota { max_body: 1, buffered: 1, in_flight };
        assert_eq!(default_concurrent(&[quota(1024)]), Some(1536));
        assert_eq!(default_concurrent(&[quota(512), quota(512)]), Some(768));
        for in_flight in 1..10 {
            let concurrent = default_concurrent(&[quota(in_flight), quota(100)]).unwrap();
            assert!((1..in_flight * RESPONSES).contains(&concurrent), "{in_flight}: {concurrent}");
        }
        assert_eq!(default_concurrent(&[]), None);
    }

    #[test]
    fn a_request_beyond_the_quota_is_refused_until_a_permit_is_free() {
        let capacity = Capacity::of(Quota { max_body: 1, buffered: 1, in_flight: 1 });
        let permit = capacity.acquire().unwrap();
        assert_eq!(capacity.acquire().err(), Some(UpstreamFull));
        drop(permit);
        assert!(capacity.acquire().is_ok());
    }

    #[test]
    fn responses_in_progress_and_requests_in_flight_have_a_limit_together() {
        let capacity = Capacity::of(Quota { max_body: 1, buffered: 1, in_flight: 2 });
        let mut responses: Vec<_> = (0..3).map(|_| capacity.acquire().unwrap().into_response()).collect();
        let in_flight = capacity.acquire().unwrap();
        assert_eq!(capacity.acquire().err(), Some(UpstreamFull), "one of two permits for requests is free");
        responses.pop();
        assert!(capacity.acquire().is_ok());
        drop(in_flight);
    }
}
