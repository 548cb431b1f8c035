//! What is held, for readiness and `/metrics`.

use std::time::{Duration, Instant};

use super::state::State;
use super::{Config, RenewalError, TokenError};

/// The credential as it is at one moment, without its value.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Whether a request would get a credential now, or why not.
    pub usable: Result<(), TokenError>,
    /// How much of the life of the token in hand is left; none for other kinds.
    pub life_left: Option<Duration>,
    /// Why the last renewal failed; none when it succeeded.
    pub last_error: Option<RenewalError>,
    /// Renewals that brought a credential since the start. For a fixed one: readings of its source.
    pub renewals_ok: u64,
    /// Renewals that failed since the start.
    pub renewals_failed: u64,
    /// 401 answers of the provider to the credential that was in hand, since the start.
    pub refusals: u64,
}

impl Snapshot {
    pub(super) fn of(config: &Config, state: &State, now: Instant) -> Self {
        let has_one = matches!(config, Config::None) || state.credential(now).is_some();
        let counts = state.counts();
        Self {
            usable: if has_one { Ok(()) } else { Err(state.why_none(now)) },
            life_left: state.cached().and_then(|cached| cached.life_left(now)),
            last_error: state.last_error().cloned(),
            renewals_ok: counts.ok,
            renewals_failed: counts.failed,
            refusals: counts.refusals,
        }
    }
}
