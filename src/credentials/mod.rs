//! The credential that we put on requests to one upstream.
//!
//! # Promise
//!
//! A request gets a credential that has not expired, and waits for it only when there is none.
//! [`Credentials::run_refresh`] renews a token at half to three quarters of its life; while renewals
//! fail, the old one serves until its very end. An expired token is no token: sent on, it would
//! come back as a 401 that nobody can explain.
//!
//! # The hard case
//!
//! The provider may revoke a token before its end and says so only by a 401 on a call.
//! [`Credentials::replacement_for`] forgets the token if it is still the one in hand (of a thousand
//! requests refused together, the first does; the others find it gone, or replaced), and all of
//! them wait for one renewal, which began after the refusal: one that was under way may bring a
//! token that was revoked with the other. If the new token is refused as well within ten seconds, and no call
//! accepted it meanwhile, the token is not what is wrong: nothing is renewed, and the provider's
//! 401 stands.
//!
//! # Failures
//!
//! - 400, 401, 403 from the token endpoint: our credentials are bad. Asked again slowly, and at
//!   once when the secret's file changes.
//! - 429, 503: Retry-After is honoured.
//! - All else, a 200 without a usable token included: backoff of 1 s to 30 s.
//!
//! Renewals are numbered. Whoever needs one joins the next number that has not ended, and moka's map
//! makes it one request for all of them, with one outcome, failures included. It runs in a task
//! of its own, so a caller who leaves takes nothing from the others.
//!
//! A fixed credential goes the same way: its renewal is to read the file again.
//!
//! # Rejected
//!
//! - moka's own expiry: its clock cannot be steered, and a token must outlive its refresh time.
//! - Serving on a refused token while it cannot be renewed: the provider has said that it is bad,
//!   and 503 with Retry-After tells a caller more than a 401 that is not about him.

mod config;
mod credential;
mod error;
mod fetch;
mod request;
pub(crate) mod response;
mod retry_after;
mod snapshot;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::AUTHORIZATION;
use tokio::sync::Notify;
use url::Url;

pub use config::{ClientCredentials, Config, Format};
pub(crate) use config::{RESERVED_MEMBERS, WAIT};
pub(crate) use credential::Credential;
pub(crate) use error::{NoToken, RenewalError, RenewalErrorKind, TokenError};
pub(crate) use snapshot::Snapshot;

use crate::clock::{Clock, Jitter};
use crate::secret::{Secret, SecretSource};
use crate::single_flight::SingleFlight;
use crate::static_credential::{BadCredential, StaticCredential, header_value};
use state::{AfterRefusal, CachedCredential, Grant, RenewalOutcome, State};

/// How often the secret's file is looked at while its content is refused: a person who has just
/// corrected it is watching.
const SECRET_POLL: Duration = Duration::from_secs(2);

/// The credentials we hold for one upstream. Cheap to clone; all clones are one holder.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<Holder>);

struct Holder {
    name: Arc<str>,
    config: Config,
    http: reqwest::Client,
    clock: Clock,
    /// What requests see: a copy of what `state` holds.
    cached: ArcSwapOption<CachedCredential>,
    state: Mutex<State>,
    renewals: SingleFlight<RenewalResult>,
    /// The timer's next renewal has moved.
    rescheduled: Notify,
    /// The secret of the last token request, to tell whether its file has changed since.
    tried: Mutex<Option<Secret>>,
}

type RenewalResult = Result<(), RenewalError>;

impl Credentials {
    /// No I/O here. Logs call the upstream by `name`. `http` must not follow redirects.
    #[must_use]
    pub(crate) fn new(name: &str, config: Config, http: reqwest::Client, clock: Clock, jitter: Jitter) -> Self {
        let is_minted = matches!(config, Config::ClientCredentials(_));
        let state = State::new(is_minted, clock.now(), jitter);
        Self(Arc::new(Holder {
            name: name.into(),
            config,
            http,
            clock,
            cached: ArcSwapOption::empty(),
            state: Mutex::new(state),
            renewals: SingleFlight::new(),
            rescheduled: Notify::new(),
            tried: Mutex::new(None),
        }))
    }

    /// The credential for a request.
    ///
    /// Waits only when there is none, for at most the configured `wait`, and not at all when no
    /// attempt is due in that time.
    ///
    /// # Errors
    /// When there is none: see [`TokenError`].
    pub(crate) async fn current(&self) -> Result<Credential, TokenError> {
        match self.usable() {
            Some(credential) => Ok(credential),
            None => self.awaited(0).await,
        }
    }

    /// The provider answered 401 to `refused`: forgets it if it is still the one held, renews it,
    /// and gives another one to send the request again with.
    ///
    /// None when there is none to be had, or when `refused` had itself replaced a refused one within
    /// the last ten seconds.
    pub(crate) async fn replacement_for(&self, refused: &Credential) -> Option<Credential> {
        let serial = refused.serial()?;
        let verdict = {
            let mut state = self.state();
            let verdict = state.refused(serial, self.0.clock.now());
            self.0.cached.store(state.cached().cloned());
            verdict
        };
        self.0.rescheduled.notify_one();
        let renewed = match verdict {
            AfterRefusal::Other(credential) => return Some(credential),
            AfterRefusal::Leave => {
                let upstream = &*self.0.name;
                tracing::debug!(
                    upstream,
                    "the provider refuses a credential that was just renewed; it is left as it is"
                );
                return None;
            }
            AfterRefusal::Renew(number) if matches!(self.0.config, Config::Static(_)) => {
                // Its outcome is judged by what is in hand afterwards.
                let _ = self.join(number).await;
                self.usable()
            }
            AfterRefusal::Renew(number) => self.awaited(number).await.ok(),
        };
        renewed.filter(|credential| credential.serial() != Some(serial))
    }

    /// What is held: for readiness and `/metrics`.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.0.config, &self.state(), self.0.clock.now())
    }

    /// Keeps a credential in hand for as long as it is polled: the first renewal at once, then
    /// before the end of each one's life, with backoff after failures. Never returns.
    pub(crate) async fn run_refresh(self) {
        if matches!(self.0.config, Config::None) {
            return std::future::pending().await;
        }
        loop {
            let (number, due) = self.state().next_renewal();
            if self.0.clock.now() < due {
                self.wait_until(due).await;
            } else if is_abandoned(&self.join(number).await) {
                // Such a renewal has not ended for the state, which would have it tried again at once.
                self.0.clock.sleep(SECRET_POLL).await;
            }
        }
    }

    /// The token endpoint: the gateway refuses a caller's own calls of it. None for fixed
    /// credentials and for none.
    #[must_use]
    pub(crate) fn endpoint(&self) -> Option<&Url> {
        match &self.0.config {
            Config::ClientCredentials(config) => Some(&config.url),
            Config::Static(_) | Config::None => None,
        }
    }

    /// What the token in hand is good for, where the provider said so (RFC 6749 section 5.1).
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

    /// The credential of renewal `least`, or of a later one.
    async fn awaited(&self, least: u64) -> Result<Credential, TokenError> {
        let clock = &self.0.clock;
        let wait = match &self.0.config {
            Config::ClientCredentials(config) => config.wait,
            Config::Static(_) | Config::None => WAIT,
        };
        let deadline = clock.now() + wait;
        let usable = || self.usable().filter(|credential| credential.serial().is_none_or(|serial| serial >= least));
        let credential = async {
            loop {
                let (number, due) = self.state().next_renewal();
                if let Some(credential) = usable() {
                    return Some(credential);
                }
                if self.state().is_hopeless(clock.now(), deadline) {
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
        credential.ok_or_else(|| self.state().why_none(clock.now()))
    }

    /// Until the moment has come, the schedule has moved, or a refused secret may have changed.
    async fn wait_until(&self, due: std::time::Instant) {
        let clock = &self.0.clock;
        let refused_file = match &self.0.config {
            Config::ClientCredentials(ClientCredentials { client_secret: source @ SecretSource::File(_), .. }) => {
                self.state().is_refused().then_some(source)
            }
            _ => None,
        };
        let wake = refused_file.map_or(due, |_| due.min(clock.now() + SECRET_POLL));
        tokio::select! {
            () = clock.sleep_until(wake) => {}
            () = self.0.rescheduled.notified() => return,
        }
        let Some(source) = refused_file else { return };
        if let Ok(secret) = source.read_aside().await {
            let has_changed = self.tried().as_ref() != Some(&secret);
            if has_changed {
                tracing::info!(upstream = %self.0.name, "the client secret has changed; it is tried at once");
                self.state().secret_changed(clock.now());
            }
        }
    }

    /// Renewal `number`, made once for everyone who asks for it. Ends also when its callers have left.
    async fn join(&self, number: u64) -> RenewalResult {
        let credentials = self.clone();
        let renewal = async move { credentials.renew(number).await };
        self.0.renewals.join(number, renewal).await.unwrap_or_else(|_| Err(RenewalErrorKind::Abandoned.into()))
    }

    async fn renew(&self, number: u64) -> RenewalResult {
        if let Err(outcome) = self.state().begin(number) {
            return outcome;
        }
        let outcome = match &self.0.config {
            Config::ClientCredentials(config) => self.mint(config).await,
            Config::Static(config) => read_static(config).await,
            Config::None => return Ok(()),
        };
        let (outcome_now, has_token) = {
            let mut state = self.state();
            let now = self.0.clock.now();
            let outcome_now = state.finish(number, outcome, now);
            self.0.cached.store(state.cached().cloned());
            (outcome_now, state.credential(now).is_some())
        };
        self.0.rescheduled.notify_one();
        let upstream = &*self.0.name;
        match outcome_now {
            RenewalOutcome::Good => {
                tracing::debug!(upstream, "a credential was renewed");
                Ok(())
            }
            RenewalOutcome::Failed(error) => {
                match &error.kind {
                    RenewalErrorKind::Refused { .. } => {
                        tracing::error!(upstream, %error, has_token, "no new token")
                    }
                    _ => tracing::warn!(upstream, %error, has_token, "no new token"),
                }
                Err(error)
            }
            RenewalOutcome::Late => Ok(()),
        }
    }

    async fn mint(&self, config: &ClientCredentials) -> Result<Grant, RenewalError> {
        let secret = config.client_secret.read_aside().await.map_err(BadCredential::from)?;
        *self.tried() = Some(secret.clone());
        let granted = fetch::fetch(config, &secret, &self.0.http, &self.0.clock).await?;
        let value = header_value("Bearer ", &granted.token)?;
        Ok(Grant { header: AUTHORIZATION, value, life: Some(granted.life), scope: granted.scope.map(Into::into) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Poisoned means that another thread panicked inside `State`, which keeps no half-made change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tried(&self) -> MutexGuard<'_, Option<Secret>> {
        self.0.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_static(config: &StaticCredential) -> Result<Grant, RenewalError> {
    let value = config.header_value().await?;
    Ok(Grant { header: config.header.clone(), value, life: None, scope: None })
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
