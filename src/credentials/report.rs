//! The log messages about renewals.
//!
//! The log reports a failure when it begins, when it changes and when it ends, not at each attempt. A long outage must
//! not fill the log, and the end of a failure must be as visible as its beginning. Each attempt is logged at debug
//! level.

use jiff::Timestamp;

use super::state::RenewalOutcome;
use super::{Credentials, RenewalError, RenewalErrorKind};

/// A failure of the last renewals, as the log has reported it.
#[derive(Debug)]
pub(super) struct ReportedFailure {
    error: RenewalError,
    has_token: bool,
    /// When the first renewal failed in this way.
    pub(super) since: Timestamp,
}

impl Credentials {
    /// Logs the outcome of a renewal if it differs from what the log has reported before. `has_token` says whether
    /// requests still get a credential.
    pub(super) fn report(&self, outcome: &RenewalOutcome, has_token: bool) {
        let upstream = &*self.0.name;
        match outcome {
            RenewalOutcome::Good => match self.reported_failure().take() {
                Some(ended) => {
                    tracing::info!(upstream, failed_since = %ended.since, "the credential is renewed again");
                }
                None => tracing::debug!(upstream, "the credential was renewed"),
            },
            RenewalOutcome::Failed(error) => self.report_failure(error, has_token),
            RenewalOutcome::Late => {}
        }
    }

    fn report_failure(&self, error: &RenewalError, has_token: bool) {
        let (since, is_known) = {
            let mut reported = self.reported_failure();
            let same = reported.as_ref().filter(|reported| reported.error.is_same_failure(error));
            let since = same.map_or_else(Timestamp::now, |reported| reported.since);
            let is_known = same.is_some_and(|reported| reported.has_token == has_token);
            *reported = Some(ReportedFailure { error: error.clone(), has_token, since });
            (since, is_known)
        };
        let upstream = &*self.0.name;
        if is_known {
            return tracing::debug!(upstream, %error, %since, has_token, "the credential could not be renewed again");
        }
        let secret_file = self.secret_file().map(|file| tracing::field::display(file.display()));
        match &error.kind {
            RenewalErrorKind::Refused { .. } => {
                tracing::error!(upstream, %error, %since, has_token, secret_file, "the token endpoint refuses the credentials");
            }
            RenewalErrorKind::Credential(_) => {
                tracing::error!(upstream, %error, %since, has_token, secret_file, "the secret cannot be used");
            }
            _ => tracing::warn!(upstream, %error, %since, has_token, "the credential could not be renewed"),
        }
    }
}
