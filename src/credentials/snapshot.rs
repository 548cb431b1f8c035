//! The state of the credential, for readiness and `/metrics`.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::state::CredentialsState;
use super::{Config, Counters, Refuser, RenewalError, RenewalErrorKind, TokenError};

/// The credential at one moment, without its value.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Whether a request gets a credential now.
    pub usable: Result<(), TokenError>,
    /// The rest of the cached token's lifetime. `None` for other kinds.
    pub lifetime_left: Option<Duration>,
    /// When the last renewal of this upstream's credential succeeded.
    pub renewed: Option<SystemTime>,
    /// When the last token of this upstream expires or has expired.
    pub expires: Option<SystemTime>,
    /// Time since the cached token or static credential was obtained.
    pub age: Option<Duration>,
    /// The wait for the next scheduled renewal.
    pub next_renewal: Duration,
    pub kind: Kind,
    /// When the last renewal of this upstream's credential succeeded.
    pub renewed: Option<SystemTime>,
    /// When the last token of this upstream expires or has expired.
    pub expires: Option<SystemTime>,
    /// Why the last renewal failed. `None` if it succeeded.
    pub last_error: Option<RenewalError>,
    /// When renewals began to fail. `None` if the last one succeeded.
    pub failing_since: Option<Timestamp>,
    /// Which server refuses the credential, and since when. `None` if it is accepted.
    pub refused: Option<(Refuser, Timestamp)>,
    /// The file of the secret, if it is not given by value.
    pub secret_file: Option<PathBuf>,
}

/// What the gateway presents to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A token of the token endpoint.
    Token,
    Static,
    None,
}

impl Snapshot {
    /// What is wrong with the credential, since when, and the file to correct if the secret is the cause. `None` while
    /// nothing is wrong.
    pub(crate) fn failure(&self) -> Option<String> {
        let since = |time: Option<Timestamp>| time.map(|time| format!(" since {time:.0}")).unwrap_or_default();
        let secret_file = || {
            let file = self.secret_file.as_ref();
            file.map(|file| format!("; secret file {}", file.display())).unwrap_or_default()
        };
        let renewal = self.last_error.as_ref().map(|error| {
            let file = if error.is_about_secret() { secret_file() } else { String::new() };
            format!("the credential could not be renewed{}: {error}{file}", since(self.failing_since))
        });
        let refusal = self.refused.map(|(refuser, time)| {
            let refusal = match refuser {
                Refuser::Provider => "the provider refuses the static credential",
                Refuser::Egress => "the egress does not know the credential",
            };
            format!("{refusal}{}{}", since(Some(time)), secret_file())
        });
        let failures: Vec<String> = renewal.into_iter().chain(refusal).collect();
        (!failures.is_empty()).then(|| failures.join("; "))
    }

    /// Whether the token endpoint refuses the credentials.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.last_error, Some(RenewalError { kind: RenewalErrorKind::Refused { .. }, .. }))
    }

    /// The fields that [`CredentialsState`] can fill in. `Credentials::snapshot` adds when failures began.
    pub(super) fn of(config: &Config, state: &CredentialsState, counters: &Counters, now: Instant) -> Self {
        let has_one = matches!(config, Config::None) || state.credential(now).is_some();
        Self {
            usable: if has_one { Ok(()) } else { Err(state.unavailable_reason(now)) },
            lifetime_left: state.cached().and_then(|cached| cached.lifetime_left(now)),
            age: state.cached().map(|cached| cached.age(now)),
            next_renewal: state.next_renewal().1.saturating_duration_since(now),
            kind: match config {
                Config::ClientCredentials(_) => Kind::Token,
                Config::Static(_) => Kind::Static,
                Config::None => Kind::None,
            },
            last_error: state.last_error().cloned(),
            failing_since: None,
            refused: None,
            secret_file: config.secret_file().map(Into::into),
            renewed: counters.renewals.last_success(),
            expires: counters.expires(),
        }
    }
}
