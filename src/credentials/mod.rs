//! The credential that the gateway adds to requests to one upstream.
//!
//! # Guarantee
//!
//! A request gets a credential that has not expired. The request waits only if there is no such credential.
//! [`Credentials::run_refresh`] renews a token at half to three quarters of its lifetime. While renewals fail, the old
//! token stays in use until it expires. An expired token is never sent: the provider's 401 would not tell the caller
//! the cause.
//!
//! # The hard case
//!
//! The provider may revoke a token before it expires. The only sign is a 401 on a request.
//! [`Credentials::replacement_for`] then drops the token, unless another request has done so before. All refused
//! requests wait for one renewal. That renewal starts after the refusal. A renewal that was already under way may bring
//! a token that was revoked together with the refused one.
//!
//! If the new token is refused within ten seconds, and no request was accepted with it, the token is not the cause.
//! The gateway then renews nothing and relays the provider's 401.
//!
//! If no new token can be obtained, the refused requests get the reason: `credentials_refused` or `token_unavailable`.
//! The provider's 401 would tell the caller to correct its own credential.
//!
//! # Failures
//!
//! - 400, 401 or 403 of the token endpoint: the credentials are wrong. The gateway retries slowly, and at once if the
//!   file of the secret changes. A secret that cannot be read or sent is retried like any other failure, and at once if
//!   its file changes.
//! - 429 or 503: `Retry-After` is honoured.
//! - Any other failure, for instance a 200 without a usable token: backoff of 1 s to 30 s.
//!
//! Callers share renewals: see `crate::single_flight`. A static credential is handled in the same way. Its renewal
//! reads the file again. If the file has not changed, the provider's 401 is relayed: some providers answer 401 for other
//! reasons too, such as a wrong password of an end user.
//!
//! An egress that does not know this gateway answers 401 as well, see [`Refuser`]. The caller must not see that 401 as
//! its own, so the request gets `credentials_refused`.
//!
//! # Rejected
//!
//! - moka's expiry: tests cannot control its clock, and a token must stay in use after its renewal is due.
//! - Keeping every refused token that cannot be renewed: requests with it would reach the provider in vain. One case is
//!   different: the token endpoint refuses the credentials or asks to wait, or the secret cannot be read. A token that
//!   the provider has accepted before is then kept for other requests.

mod config;
mod counters;
mod credential;
mod error;
mod fetch;
mod refusal;
mod report;
mod request;
mod reread;
pub(crate) mod response;
mod snapshot;
mod state;

use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::header::AUTHORIZATION;
use tokio::sync::Notify;
use url::Url;

pub use config::{ClientCredentials, Config, Format};
pub(crate) use config::{RESERVED_MEMBERS, WAIT};
pub(crate) use counters::Counters;
pub(crate) use credential::Credential;
pub(crate) use error::{NoToken, RenewalError, RenewalErrorKind, TokenError};
pub(crate) use refusal::Refuser;
pub(crate) use snapshot::{Kind, Snapshot};

use crate::clock::{Clock, Jitter};
use crate::fetch_history::FetchHistory;
use crate::secret::{Secret, UnreadableSecret};
use crate::single_flight::SingleFlight;
use crate::static_credential::{BadCredential, StaticCredential, header_value};
use report::{RenewalFailures, ReportedRefusal};
use state::{CachedCredential, CredentialsState, NewCredential, RenewalOutcome};

/// How often the file of a faulty secret is read. An operator who has just corrected it is waiting.
const SECRET_POLL: Duration = Duration::from_secs(1);

/// The credentials for one upstream. Clones share their state.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<CredentialsInner>);

struct CredentialsInner {
    name: Arc<str>,
    config: Config,
    http: reqwest::Client,
    clock: Clock,
    /// The same credential as in `state`, for requests that must not wait for a lock.
    cached: ArcSwapOption<CachedCredential>,
    state: Mutex<CredentialsState>,
    renewals: SingleFlight<RenewalResult>,
    /// Notified when the time of the next scheduled renewal changes.
    rescheduled: Notify,
    /// The secret of the last renewal. `None` if it could not be read. A comparison with it shows whether the file has
    /// changed.
    last_secret: Mutex<Option<Secret>>,
    counters: Arc<Counters>,
    failures: RenewalFailures,
    /// The refusal of the credential that the log has reported.
    reported_refusal: Mutex<Option<ReportedRefusal>>,
    /// Whether `reported_refusal` is set. Requests read this flag without a lock.
    is_refused: AtomicBool,
    /// Empty in commands that show no status.
    history: OnceLock<Arc<FetchHistory>>,
}

type RenewalResult = Result<(), RenewalError>;

impl Credentials {
    /// Creates the credentials of upstream `name`, without I/O. `http` must not follow redirects. The new
    /// part continues the counts in `counters`.
    #[must_use]
    pub(crate) fn new(
        name: &str,
        config: Config,
        http: reqwest::Client,
        clock: Clock,
        jitter: Jitter,
        counters: Arc<Counters>,
    ) -> Self {
        let is_token = matches!(config, Config::ClientCredentials(_));
        let state = CredentialsState::new(is_token, clock.now(), jitter, Arc::clone(&counters));
        Self(Arc::new(CredentialsInner {
            name: name.into(),
            config,
            http,
            clock,
            cached: ArcSwapOption::empty(),
            state: Mutex::new(state),
            renewals: SingleFlight::new(),
            rescheduled: Notify::new(),
            last_secret: Mutex::new(None),
            counters,
            failures: RenewalFailures::new(),
            reported_refusal: Mutex::new(None),
            is_refused: AtomicBool::new(false),
            history: OnceLock::new(),
        }))
    }

    /// The same credentials, which record their renewals in `history` from now on.
    #[must_use]
    pub(crate) fn recorded_in(self, history: Arc<FetchHistory>) -> Self {
        self.0.history.get_or_init(|| history);
        self
    }

    /// The credential for a request.
    ///
    /// Waits only if there is none, for at most the configured `wait`. Does not wait if no attempt is due in that time.
    ///
    /// # Errors
    /// If there is none: see [`TokenError`].
    pub(crate) async fn current(&self) -> Result<Credential, TokenError> {
        if let Some(credential) = self.usable() {
            return Ok(credential);
        }
        if self.state().bring_forward(self.0.clock.now()) {
            self.0.rescheduled.notify_one();
        }
        self.wait_for(0).await
    }

    /// The present state, for readiness and `/metrics`.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        let failing_since = self.0.failures.since();
        let refused = self.reported_refusal().as_ref().map(|reported| (reported.refuser, reported.since));
        let snapshot = Snapshot::of(&self.0.config, &self.state(), &self.0.counters, self.0.clock.now());
        Snapshot { failing_since, refused, ..snapshot }
    }

    /// Keeps the credential fresh: renews at once, then before each one expires, with backoff after failures. Never
    /// returns.
    pub(crate) async fn run_refresh(self) {
        if matches!(self.0.config, Config::None) {
            return std::future::pending().await;
        }
        loop {
            let (number, due) = self.state().next_renewal();
            if self.0.clock.now() < due {
                self.wait_until(due).await;
            } else if is_abandoned(&self.join(number).await) {
                // The state does not record an abandoned renewal, so it is due again at once. Do not retry in a loop.
                self.0.clock.sleep(SECRET_POLL).await;
            }
        }
    }

    /// The token endpoint. `None` if the configuration requests no tokens.
    #[must_use]
    pub(crate) fn endpoint(&self) -> Option<&Url> {
        match &self.0.config {
            Config::ClientCredentials(config) => Some(&config.url),
            Config::Static(_) | Config::None => None,
        }
    }

    /// The scope of the cached token, if the provider stated one (RFC 6749 section 5.1).
    #[must_use]
    pub(crate) fn scope(&self) -> Option<Arc<str>> {
        self.0.cached.load().as_ref().and_then(|cached| cached.scope.clone())
    }

    fn usable(&self) -> Option<Credential> {
        if matches!(self.0.config, Config::None) {
            return Some(Credential::none());
        }
        let cached = self.0.cached.load();
        cached.as_ref().filter(|cached| cached.is_alive(self.0.clock.now())).map(|cached| cached.credential.clone())
    }

    /// Waits for the credential of renewal `first` or a later one.
    async fn wait_for(&self, first: u64) -> Result<Credential, TokenError> {
        let clock = &self.0.clock;
        let wait = match &self.0.config {
            Config::ClientCredentials(config) => config.wait,
            Config::Static(_) | Config::None => WAIT,
        };
        let deadline = clock.now() + wait;
        let usable = || self.usable().filter(|credential| credential.serial().is_none_or(|serial| serial >= first));
        let credential = async {
            loop {
                let (number, due) = self.state().next_renewal();
                if let Some(credential) = usable() {
                    return Some(credential);
                }
                if self.state().cannot_arrive_by(clock.now(), deadline) {
                    return None;
                }
                clock.sleep_until(due).await;
                if is_abandoned(&self.join(number).await) {
                    return None;
                }
            }
        };
        let credential = tokio::select! {
            credential = credential => credential,
            () = clock.sleep_until(deadline) => usable(),
        };
        credential.ok_or_else(|| self.state().unavailable_reason(clock.now()))
    }

    /// Returns at `due`, or when the schedule changes, or when a faulty secret may have changed.
    async fn wait_until(&self, due: Instant) {
        let clock = &self.0.clock;
        let is_faulty_file = self.secret_file().is_some() && self.state().is_secret_faulty();
        let wake = if is_faulty_file { due.min(clock.now() + SECRET_POLL) } else { due };
        tokio::select! {
            () = clock.sleep_until(wake) => {}
            () = self.0.rescheduled.notified() => return,
        }
        if !is_faulty_file {
            return;
        }
        let secret = match &self.0.config {
            Config::ClientCredentials(config) => config.client_secret.read_line_async().await,
            Config::Static(config) => config.secret.read_async().await,
            Config::None => return,
        };
        if let Ok(secret) = secret
            && self.last_secret().as_ref() != Some(&secret)
        {
            tracing::info!(upstream = %self.0.name, "the secret has changed; the gateway tries it at once");
            self.state().secret_changed(clock.now());
        }
    }

    /// Runs renewal `number`, or joins it.
    async fn join(&self, number: u64) -> RenewalResult {
        let credentials = self.clone();
        let renewal = async move { credentials.renew(number).await };
        self.0.renewals.join(number, renewal).await.unwrap_or_else(|_| Err(RenewalErrorKind::Abandoned.into()))
    }

    async fn renew(&self, number: u64) -> RenewalResult {
        if let Err(outcome) = self.state().start(number) {
            return outcome;
        }
        let begun = self.0.clock.now();
        let outcome = match &self.0.config {
            Config::ClientCredentials(config) => self.request_token(config).await,
            Config::Static(config) => self.read_static(config).await,
            Config::None => return Ok(()),
        };
        let lifetime = outcome.as_ref().ok().and_then(|new| new.lifetime);
        let (result, has_token) = {
            let mut state = self.state();
            let now = self.0.clock.now();
            let result = state.finish(number, outcome, now);
            self.0.cached.store(state.cached().cloned());
            (result, state.credential(now).is_some())
        };
        self.0.rescheduled.notify_one();
        self.0.counters.count(&result, lifetime);
        self.report(&result, has_token);
        self.record(&result, self.0.clock.now() - begun);
        match result {
            RenewalOutcome::Good | RenewalOutcome::Late => Ok(()),
            RenewalOutcome::Failed(error) => Err(error),
        }
    }

    fn record(&self, outcome: &RenewalOutcome, took: Duration) {
        let Some(history) = self.0.history.get() else { return };
        match outcome {
            RenewalOutcome::Good => history.record(took, Ok(())),
            RenewalOutcome::Failed(error) => {
                history.record(took, Err((error.to_string(), counters::reason(&error.kind))));
            }
            RenewalOutcome::Late => {}
        }
    }

    async fn request_token(&self, config: &ClientCredentials) -> Result<NewCredential, RenewalError> {
        let secret = self.next_secret(config.client_secret.read_line_async()).await?;
        let response = fetch::fetch(config, &secret, &self.0.http, &self.0.clock).await?;
        let value = header_value("Bearer ", &response.token)?;
        Ok(NewCredential {
            header: AUTHORIZATION,
            value,
            lifetime: Some(response.lifetime),
            scope: response.scope.map(Into::into),
        })
    }

    async fn read_static(&self, config: &StaticCredential) -> Result<NewCredential, RenewalError> {
        // `header_value` refuses a secret of several lines.
        let value = header_value(&config.prefix, &self.next_secret(config.secret.read_async()).await?)?;
        Ok(NewCredential { header: config.header.clone(), value, lifetime: None, scope: None })
    }

    /// The secret for a renewal.
    async fn next_secret(
        &self,
        read: impl Future<Output = Result<Secret, UnreadableSecret>>,
    ) -> Result<Secret, BadCredential> {
        let secret = read.await;
        *self.last_secret() = secret.as_ref().ok().cloned();
        Ok(secret?)
    }

    /// The file of the secret, if it is not given by value.
    fn secret_file(&self) -> Option<&Path> {
        self.0.config.secret_file()
    }

    fn reported_refusal(&self) -> MutexGuard<'_, Option<ReportedRefusal>> {
        self.0.reported_refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_static(&self) -> bool {
        matches!(self.0.config, Config::Static(_))
    }

    #[cfg(test)]
    fn counters(&self) -> &Counters {
        &self.0.counters
    }

    fn state(&self) -> MutexGuard<'_, CredentialsState> {
        // A poisoned lock means that another thread panicked inside `CredentialsState`. Its methods leave no partial
        // change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_secret(&self) -> MutexGuard<'_, Option<Secret>> {
        self.0.last_secret.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_abandoned(outcome: &RenewalResult) -> bool {
    matches!(outcome, Err(RenewalError { kind: RenewalErrorKind::Abandoned, .. }))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("endpoint", &self.endpoint().map(Url::path)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
