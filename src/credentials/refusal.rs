//! What follows from a response of the provider: the credential is refused, or accepted.

use std::sync::atomic::Ordering;

use http::StatusCode;

use super::state::AfterRefusal;
use super::{Credential, Credentials, TokenError, WAIT};

/// The server that answered 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refuser {
    /// The provider.
    Provider,
    /// The upstream is an egress, and this gateway is not among its callers.
    Egress,
}

impl Credentials {
    /// Call this after the provider has answered 401 to `refused`. Drops it if it is still the cached one, and renews it.
    /// Returns another credential for the same request.
    ///
    /// Returns `None` if a renewal would not help: see the module's documentation. The provider's 401 is then the right
    /// response.
    ///
    /// # Errors
    /// If no other credential can be obtained: see [`TokenError`]. The cause lies with the gateway's own credential, so
    /// the provider's 401 would mislead the caller.
    pub(crate) async fn replacement_for(
        &self,
        refused: &Credential,
        refuser: Refuser,
    ) -> Result<Option<Credential>, TokenError> {
        let no_other = || self.check_relay_of_401(refused, refuser).map(|()| None);
        let Some(serial) = refused.serial() else { return no_other() };
        let (decision, is_rescheduled) = {
            let mut state = self.state();
            let before = state.next_renewal();
            let decision = state.refused(serial, self.0.clock.now());
            self.0.cached.store(state.cached().cloned());
            (decision, state.next_renewal() != before)
        };
        // Notify only if the time has changed: each notification restarts the wait before a faulty secret's file is
        // read.
        if is_rescheduled {
            self.0.rescheduled.notify_one();
        }
        match decision {
            AfterRefusal::Use(credential) => Ok(Some(credential)),
            AfterRefusal::Keep => {
                let upstream = &*self.0.name;
                tracing::debug!(upstream, "the provider refused a credential that cannot be replaced now; it is kept");
                no_other()
            }
            AfterRefusal::Unavailable => Err(self.state().unavailable_reason(self.0.clock.now())),
            AfterRefusal::Renew(number) if self.is_static() => {
                // The cached credential shows the outcome. The file may be on a network that hangs.
                tokio::select! {
                    _ = self.join(number) => {}
                    () = self.0.clock.sleep(WAIT) => {}
                }
                match self.usable().filter(|credential| credential.serial() != Some(serial)) {
                    Some(changed) => Ok(Some(changed)),
                    None => no_other(),
                }
            }
            AfterRefusal::Renew(number) => self.wait_for(number).await.map(Some),
        }
    }

    /// Checks whether the 401 may be relayed. Call this if the refused request is not sent again.
    ///
    /// # Errors
    /// If an egress has refused the request: its 401 must not be relayed.
    pub(crate) fn check_relay_of_401(&self, refused: &Credential, refuser: Refuser) -> Result<(), TokenError> {
        if refuser == Refuser::Egress {
            self.report_refusal(refused.serial(), refuser);
            return Err(TokenError::UnknownToEgress);
        }
        // After the credential was accepted, a 401 more probably concerns the request.
        if self.is_static() && !refused.was_accepted() {
            self.report_refusal(refused.serial(), refuser);
        }
        Ok(())
    }

    /// Call this after a response with this status to a request with this credential, unless the response refuses the
    /// credential. Records whether the provider has accepted the credential.
    pub(crate) fn note_accepted(&self, accepted: &Credential, status: StatusCode) {
        if !shows_acceptance(status) {
            return;
        }
        accepted.note_accepted();
        if self.0.is_refused.load(Ordering::Relaxed) {
            self.report_acceptance(accepted.serial());
        }
    }
}

/// Whether a response with this status shows that the provider accepts the credential. A proxy or a load balancer can
/// answer 407, 429 and 5xx without the provider. A 401 shows acceptance if an egress relays it: the egress knows the
/// credential.
fn shows_acceptance(status: StatusCode) -> bool {
    let is_of_proxy = matches!(status, StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::TOO_MANY_REQUESTS);
    !is_of_proxy && !status.is_server_error()
}
