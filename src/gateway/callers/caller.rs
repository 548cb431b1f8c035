//! A caller that has been authenticated, and the check of its requests against its rules and limits.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::OwnedSemaphorePermit;

use super::state::CallerState;
use crate::clock::Clock;
use crate::gateway::metrics::counters::CallerCounters;

#[derive(Clone, Debug)]
pub(crate) struct Caller {
    state: Arc<CallerState>,
    clock: Clock,
}

/// The parts of a request that the caller's rules and the log need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerRequest<'a> {
    pub method: &'a Method,
    /// The path as the caller sent it.
    pub path: &'a str,
    pub request_id: &'a str,
}

impl Caller {
    pub(super) fn of(state: &Arc<CallerState>, clock: &Clock) -> Self {
        Self { state: Arc::clone(state), clock: clock.clone() }
    }

    #[must_use]
    pub(crate) fn counters(&self) -> &Arc<CallerCounters> {
        &self.state.counters
    }

    /// Checks a request that would be forwarded against the caller's rules and limits. The permit must be
    /// held until the response has been delivered.
    ///
    /// # Errors
    /// See [`Denied`]. Never if the caller's rules are not enforced.
    pub(crate) fn admit(&self, request: &CallerRequest<'_>) -> Result<CallerPermit, Denied> {
        self.enforce(self.state.check_allowed(request.method, request.path), request)?;
        self.acquire(request)
    }

    /// Checks a request against the caller's limits alone. For tokens and the key set: every caller may ask for
    /// them, and no rule is needed.
    ///
    /// # Errors
    /// [`Denied::TooFast`] and [`Denied::TooMany`]. Never if the caller's rules are not enforced.
    pub(crate) fn acquire(&self, request: &CallerRequest<'_>) -> Result<CallerPermit, Denied> {
        self.enforce(self.state.acquire(self.clock.now()), request)
    }

    /// Counts a denial. If the caller's rules are not enforced, logs it and lets the request pass.
    fn enforce<T: Default>(&self, checked: Result<T, Denied>, request: &CallerRequest<'_>) -> Result<T, Denied> {
        let CallerState { name, config, counters, .. } = &*self.state;
        let denied = match checked {
            Ok(permitted) => return Ok(permitted),
            Err(denied) => denied,
        };
        counters.denials.add(denied, config.enforce);
        if config.enforce {
            return Err(denied);
        }
        let CallerRequest { method, path, request_id } = request;
        tracing::warn!(caller = %name, request_id, %method, path, reason = %denied, "dry run: enforce = true would refuse this request");
        Ok(T::default())
    }
}

/// Why a request of a known caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("no rule of the caller allows the request")]
    Forbidden,
    #[error("the caller exceeds its requests per second")]
    TooFast { retry_after: Duration },
    #[error("the caller exceeds its concurrent requests")]
    TooMany,
}

/// Held while a request counts as one of its caller's concurrent requests.
#[derive(Debug, Default)]
pub(crate) struct CallerPermit {
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}
