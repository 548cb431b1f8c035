//! Authentication and authorisation of callers.
//!
//! If no `[[caller]]` is configured, any client that can connect is served. The configuration therefore
//! refuses a listener that other machines reach, unless it has callers or mTLS, or `anonymous = true`.
//!
//! If callers are configured, each request must be authenticated as one of them: by a key or an emulated
//! token in `Authorization: Bearer`, or by the client certificate of its connection. If the request has an
//! `Authorization` field, that field alone decides. A wrong key beside a valid certificate is a mistake,
//! and the caller should notice it.
//!
//! A caller has a list of rules, a rate, and a limit of concurrent requests. `enforce = false` is a dry run:
//! violations are logged and counted, not refused. An operator can so introduce rules without breaking a
//! service.

mod caller;
mod key;
mod key_file;
mod rule;
mod state;
mod token;

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use http::header::AUTHORIZATION;

pub(crate) use caller::{Caller, CallerPermit, CallerRequest, Denied};
pub(crate) use key::BadKeyFile;
pub use key::{KeyDigest, KeySource};
pub use rule::{BadRule, Rule};
pub(crate) use state::Snapshot;
pub(crate) use token::{BadTokenKey, LIFETIME as TOKEN_LIFETIME, TokenKey};

use self::key_file::{KeyFile, KeyOwners};
use self::state::CallerState;
use self::token::Token;
use crate::clock::Clock;
use crate::gateway::server::peer::Peer;
use crate::watched_files::{self, FileAge, PollOutcome, Reloaded};

/// `[[caller]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name in logs and metrics, and the client id at an emulated token endpoint.
    pub name: String,
    /// The digests of the caller's keys; several during a rotation.
    pub keys: Option<KeySource>,
    /// A subject alternative name (DNS or URI) of the caller's certificate. Must match exactly.
    pub certificate: Option<String>,
    /// The requests that the caller may send; all if none.
    pub allow: Option<Vec<Rule>>,
    /// Whether violations are refused. If false, they are only logged and counted.
    pub enforce: bool,
    /// Requests per second. As many may come in one burst.
    pub requests_per_second: Option<u32>,
    /// Concurrent requests. A request counts until its response has been delivered.
    pub concurrent: Option<usize>,
}

impl Config {
    /// Returns a caller without limits. It needs `keys` or a `certificate` before it can authenticate.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            keys: None,
            certificate: None,
            allow: None,
            enforce: true,
            requests_per_second: None,
            concurrent: None,
        }
    }
}

/// All callers. Clones share their state.
#[derive(Clone, Debug)]
pub(crate) struct Callers(Arc<CallerRegistry>);

#[derive(Debug)]
struct CallerRegistry {
    callers: Vec<Arc<CallerState>>,
    tokens: TokenKey,
    clock: Clock,
}

/// Why the configured callers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCallers {
    #[error("caller {name}: key_sha256_file {cause}")]
    KeyFile { name: String, cause: BadKeyFile },
    #[error("callers {one} and {other} have a key in common")]
    SharedKey { one: String, other: String },
}

/// The caller could not be authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller could not be authenticated")]
pub(crate) struct UnknownCaller;

impl Callers {
    /// Reads the key files. A caller that `former` has too keeps its counts, and its limits if they are the same. If
    /// `concurrent` changes, requests in flight do not count towards the new limit.
    ///
    /// # Errors
    /// See [`BadCallers`].
    pub(crate) fn new(
        configs: Vec<Config>,
        tokens: TokenKey,
        clock: Clock,
        former: Option<&Self>,
    ) -> Result<Self, BadCallers> {
        let owners = Arc::new(KeyOwners::default());
        let former = |name: &str| former?.0.callers.iter().find(|state| *state.name == *name);
        let state = |config: Config| {
            let former = former(&config.name);
            CallerState::new(config, &owners, clock.now(), former.map(|state| &**state))
        };
        let callers: Result<Vec<_>, _> = configs.into_iter().map(state).collect();
        Ok(Self(Arc::new(CallerRegistry { callers: callers?, tokens, clock })))
    }

    /// The key of the tokens that these callers get.
    #[must_use]
    pub(crate) fn token_key(&self) -> TokenKey {
        self.0.tokens.clone()
    }

    /// Authenticates a request. Returns none if no callers are configured.
    ///
    /// # Errors
    /// If callers are configured and the request is from none of them.
    pub(crate) fn identify(&self, headers: &HeaderMap, peer: &Peer) -> Result<Option<Caller>, UnknownCaller> {
        if self.0.callers.is_empty() {
            return Ok(None);
        }
        let found = if headers.contains_key(AUTHORIZATION) {
            let presented = bearer_credential(headers).ok_or(UnknownCaller)?;
            self.0.by_token(presented, SystemTime::now()).or_else(|| self.0.by_key(presented))
        } else {
            self.0.by_certificate(peer)
        };
        found.map(|state| Some(self.caller(state))).ok_or(UnknownCaller)
    }

    /// Issues a token to the caller `name` if `key` is one of its keys. The token is valid for
    /// [`TOKEN_LIFETIME`].
    ///
    /// # Errors
    /// If there is no such caller, or the key is not one of its keys. The error is the same for both.
    pub(crate) fn token(&self, name: &str, key: &str) -> Result<(Caller, String), UnknownCaller> {
        let digest = KeyDigest::of(key);
        let state = self.0.by_digest(&digest).filter(|state| *state.name == *name).ok_or(UnknownCaller)?;
        let token = self.0.tokens.mint(name, &digest, SystemTime::now());
        Ok((self.caller(state), token))
    }

    /// Loads the keys again when the key files change. A file that cannot be used leaves the last good keys
    /// in use. Never returns.
    pub(crate) async fn run_refresh(self) {
        watched_files::run_refresh(&self.0.key_files(), &self.0.clock).await;
    }

    /// Reads the key files now.
    pub(crate) async fn reread(&self) -> Vec<PollOutcome> {
        watched_files::poll(&self.0.key_files()).await
    }

    #[must_use]
    pub(crate) fn file_ages(&self) -> Vec<FileAge> {
        self.0.key_files().iter().flat_map(|file| file.file_ages()).collect()
    }

    #[must_use]
    pub(crate) fn snapshot(&self) -> Vec<Snapshot> {
        self.0.callers.iter().map(|state| state.snapshot()).collect()
    }

    fn caller(&self, state: &Arc<CallerState>) -> Caller {
        Caller::of(state, &self.0.clock)
    }
}

impl CallerRegistry {
    fn key_files(&self) -> Vec<Arc<Reloaded<KeyFile>>> {
        self.callers.iter().filter_map(|state| state.keys.file().cloned()).collect()
    }

    fn by_key(&self, key: &str) -> Option<&Arc<CallerState>> {
        self.by_digest(&KeyDigest::of(key))
    }

    /// Compares all keys of all callers, also after a match: the time it takes reveals nothing.
    fn by_digest(&self, digest: &KeyDigest) -> Option<&Arc<CallerState>> {
        self.callers.iter().fold(None, |found, state| {
            let matches = state.keys.current().iter().fold(false, |matches, own| own.is(digest) | matches);
            if matches { Some(state) } else { found }
        })
    }

    fn by_token(&self, text: &str, now: SystemTime) -> Option<&Arc<CallerState>> {
        let token = Token::parse(text)?;
        self.callers
            .iter()
            .find(|state| state.keys.current().iter().any(|key| self.tokens.verifies(&token, &state.name, key, now)))
    }

    fn by_certificate(&self, peer: &Peer) -> Option<&Arc<CallerState>> {
        let has_name = |name: &String| peer.names().contains(name);
        self.callers.iter().find(|state| state.config.certificate.as_ref().is_some_and(has_name))
    }
}

/// The credential of `Authorization: Bearer` (RFC 6750 section 2.1), if the request has exactly one such
/// field. The case of the scheme does not matter (RFC 9110 section 11.1).
fn bearer_credential(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, credential) = field.to_str().ok()?.split_once(' ')?;
    let credential = credential.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

#[cfg(test)]
mod tests;
