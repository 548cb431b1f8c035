//! The log messages about renewals, and about refusals of the credential.
//!
//! `crate::failure_log` decides which failures are reported. Each attempt is logged at debug level.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::error::FailureKind;
use super::state::RenewalOutcome;
use super::{Credentials, Refuser, RenewalError, RenewalErrorKind};
use crate::failure_log::{Failure, FailureLog};

/// How long after the last refusal the acceptance of the same credential counts as the end of the refusal. One replica
/// of an egress may know the credential while another does not. Without this wait, the log would have two lines per
/// request.
const ACCEPTANCE: Duration = Duration::from_secs(10);

/// The effect of a failure is whether requests still get a credential.
pub(super) type RenewalFailures = FailureLog<FailureKind, bool>;

/// A credential that an egress or a provider refuses, as the log has reported it.
#[derive(Debug)]
pub(super) struct ReportedRefusal {
    pub(super) refuser: Refuser,
    /// The credential that was refused last, and when.
    serial: Option<u64>,
    last: Instant,
    /// When the first one was refused.
    pub(super) since: Timestamp,
}

impl Credentials {
    /// Logs that the credential with this serial is refused, unless the log says so already.
    pub(super) fn report_refusal(&self, serial: Option<u64>, refuser: Refuser) {
        let last = self.0.clock.now();
        let first = {
            let mut reported = self.reported_refusal();
            let known = reported.as_ref().map(|reported| reported.since);
            let since = known.unwrap_or_else(Timestamp::now);
            *reported = Some(ReportedRefusal { refuser, serial, last, since });
            self.0.is_refused.store(true, Ordering::Relaxed);
            known.is_none().then_some(since)
        };
        if let Some(since) = first {
            let upstream = &*self.0.name;
            let secret_file = self.secret_file().map(|file| tracing::field::display(file.display()));
            match refuser {
                Refuser::Provider => {
                    tracing::error!(upstream, %since, secret_file, "the provider refuses the static credential");
                }
                Refuser::Egress => {
                    tracing::error!(upstream, %since, secret_file, "the egress does not know the credential");
                }
            }
        }
    }

    /// Logs that the credential is accepted again, once the refusal has ended.
    pub(super) fn report_acceptance(&self, serial: Option<u64>) {
        let now = self.0.clock.now();
        let ended = {
            let mut reported = self.reported_refusal();
            let ended = reported.take_if(|reported| serial > reported.serial || now >= reported.last + ACCEPTANCE);
            if ended.is_some() {
                self.0.is_refused.store(false, Ordering::Relaxed);
            }
            ended
        };
        if let Some(ended) = ended {
            let upstream = &*self.0.name;
            tracing::info!(upstream, refused_since = %ended.since, "the credential is accepted again");
        }
    }

    /// Logs the outcome of a renewal if it differs from what the log has reported before. `has_token` says whether
    /// requests still get a credential.
    pub(super) fn report(&self, outcome: &RenewalOutcome, has_token: bool) {
        let upstream = &*self.0.name;
        match outcome {
            RenewalOutcome::Good => match self.0.failures.succeeded() {
                Some(since) => {
                    tracing::info!(upstream, failed_since = %since, "the credential is renewed again");
                }
                None => tracing::debug!(upstream, "the credential was renewed"),
            },
            RenewalOutcome::Failed(error) => self.report_failure(error, has_token),
            RenewalOutcome::Late => {}
        }
    }

    fn report_failure(&self, error: &RenewalError, has_token: bool) {
        let Failure { since, is_news } = self.0.failures.failed(error.failure_kind(), has_token, self.0.clock.now());
        let upstream = &*self.0.name;
        if !is_news {
            return tracing::debug!(upstream, %error, %since, has_token, "the credential still cannot be renewed");
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
