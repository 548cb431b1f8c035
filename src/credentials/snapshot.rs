//! The state of the credential, for readiness and `/metrics`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

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
    /// When renewals began to fail in this way. `None` if the last one succeeded.
    pub failing_since: Option<Timestamp>,
    /// The file of the secret, if it is not given by value.
    pub secret_file: Option<PathBuf>,
    /// Successful renewals since the start. For a static credential: reads of its source.
    pub renewals_ok: u64,
    /// Failed renewals since the start.
    pub renewals_failed: u64,
    /// 401 responses of the provider to the cached credential since the start.
    pub refusals: u64,
}

impl Snapshot {
    /// Why renewals fail, since when, and the file to correct if the secret is the cause. `None` if the last one
    /// succeeded.
    pub(crate) fn failure(&self) -> Option<String> {
        let error = self.last_error.as_ref()?;
        let since = self.failing_since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        let file = self.secret_file.as_ref().filter(|_| error.is_about_secret());
        let file = file.map(|file| format!("; secret file {}", file.display())).unwrap_or_default();
        Some(format!("the credential could not be renewed{since}: {error}{file}"))
    }

    pub(super) fn of(
        config: &Config,
        state: &CredentialsState,
        failing_since: Option<Timestamp>,
        now: Instant,
    ) -> Self {
        let has_one = matches!(config, Config::None) || state.credential(now).is_some();
        let counts = state.counts();
        Self {
            usable: if has_one { Ok(()) } else { Err(state.unavailable_reason(now)) },
            lifetime_left: state.cached().and_then(|cached| cached.lifetime_left(now)),
            last_error: state.last_error().cloned(),
            failing_since,
            secret_file: config.secret_file().map(Into::into),
            renewals_ok: counts.ok,
            renewals_failed: counts.failed,
            refusals: counts.refusals,
        }
    }
}
