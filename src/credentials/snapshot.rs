//! The state of the credential, for readiness and `/metrics`.

use std::time::{Duration, Instant};

use super::state::CredentialsState;
use super::{Config, RenewalError, TokenError};

/// The credential at one moment, without its value.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Whether a request gets a credential now.
    pub usable: Result<(), TokenError>,
    /// The rest of the cached token's lifetime. `None` for other kinds.
    pub lifetime_left: Option<Duration>,
    /// Why the last renewal failed. `None` if it succeeded.
    pub last_error: Option<RenewalError>,
    /// Successful renewals since the start. For a static credential: reads of its source.
    pub renewals_ok: u64,
    /// Failed renewals since the start.
    pub renewals_failed: u64,
    /// 401 responses of the provider to the cached credential since the start.
    pub refusals: u64,
}

impl Snapshot {
    pub(super) fn of(config: &Config, state: &CredentialsState, now: Instant) -> Self {
        let has_one = matches!(config, Config::None) || state.credential(now).is_some();
        let counts = state.counts();
        Self {
            usable: if has_one { Ok(()) } else { Err(state.unavailable_reason(now)) },
            lifetime_left: state.cached().and_then(|cached| cached.lifetime_left(now)),
            last_error: state.last_error().cloned(),
            renewals_ok: counts.ok,
            renewals_failed: counts.failed,
            refusals: counts.refusals,
        }
    }
}
