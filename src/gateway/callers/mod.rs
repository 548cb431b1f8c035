//! Who may send, and what each of them may do.
//!
//! With no callers configured whoever can connect is served, which is why the listener then stays
//! on this machine. With callers, each request must be one's: by a key or a token of ours behind
//! `Authorization: Bearer`, or by the certificate its connection showed. A request that brings an
//! `Authorization` is judged by that alone: a wrong key next to a good certificate is a mistake
//! that somebody should hear of.
//!
//! What a caller may do is a list of rules, a rate and a number of requests at once. A caller whose
//! rules are not `enforce`d is refused nothing, and the log and the figures tell what would have
//! been: the way to bring in a list without breaking a service.

mod caller;
mod key;
mod rule;
mod token;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;

pub(crate) use caller::{Caller, CallerPermit, CallerRequest, Denied, Snapshot};
pub(crate) use key::BadKeyFile;
pub use key::{KeyDigest, KeySource};
pub use rule::{BadRule, Rule};
pub(crate) use token::{BadTokenKey, LIFETIME as TOKEN_LIFETIME, TokenKey};

use self::caller::CallerState;
use self::token::Token;
use crate::clock::Clock;
use crate::gateway::server::peer::Peer;

/// How often key files are looked at: a mounted one (a Kubernetes volume) is swapped without a sign.
const POLL: Duration = Duration::from_secs(10);

/// `[[caller]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What logs and figures call it; also its client id at an emulated token endpoint.
    pub name: String,
    /// The digests of its keys; several while they are being rotated.
    pub keys: Option<KeySource>,
    /// A subject alternative name (DNS or URI) of its certificate, as it stands there.
    pub certificate: Option<String>,
    /// What it may ask for. None: everything.
    pub allow: Option<Vec<Rule>>,
    /// Whether it is refused what it may not do, or that is only told.
    pub enforce: bool,
    /// Requests in a second, and as many at once to begin with.
    pub requests_per_second: Option<u32>,
    /// Requests at once, up to the end of their answers.
    pub concurrent: Option<usize>,
}

impl Config {
    /// A caller that may do everything, and cannot prove yet that it is one.
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

/// All callers. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Callers(Arc<CallerRegistry>);

#[derive(Debug)]
struct CallerRegistry {
    callers: Vec<Arc<CallerState>>,
    tokens: TokenKey,
    clock: Clock,
}

/// The callers cannot be told apart as they are configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCallers {
    /// A caller's digests.
    #[error("caller {name}: key_sha256_file {fault}")]
    Keys {
        /// Whose.
        name: String,
        /// What is wrong with the file.
        fault: BadKeyFile,
    },
    /// One key would be two callers'.
    #[error("callers {one} and {other} have a key in common")]
    SharedKey {
        /// One of them.
        one: String,
        /// And the other.
        other: String,
    },
}

/// The request is nobody's: no key, an unknown one, or one behind another scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request is no configured caller's")]
pub(crate) struct UnknownCaller;

impl Callers {
    /// Reads the key files.
    ///
    /// # Errors
    /// See [`BadCallers`].
    pub(crate) fn new(configs: Vec<Config>, tokens: TokenKey, clock: Clock) -> Result<Self, BadCallers> {
        let callers: Result<Vec<_>, _> =
            configs.into_iter().map(|config| CallerState::new(config, clock.now())).collect();
        let callers = Self(Arc::new(CallerRegistry { callers: callers?, tokens, clock }));
        for state in &callers.0.callers {
            callers.0.check_is_alone(state, &state.keys.load())?;
        }
        Ok(callers)
    }

    /// Whose request it is; none when no callers are configured.
    ///
    /// # Errors
    /// When it is nobody's.
    pub(crate) fn identify(&self, headers: &HeaderMap, peer: &Peer) -> Result<Option<Caller>, UnknownCaller> {
        if self.0.callers.is_empty() {
            return Ok(None);
        }
        let found = if headers.contains_key(AUTHORIZATION) {
            let presented = credential(headers).ok_or(UnknownCaller)?;
            self.0.by_token(presented, SystemTime::now()).or_else(|| self.0.by_key(presented))
        } else {
            self.0.by_certificate(peer)
        };
        found.map(|state| Some(self.caller(state))).ok_or(UnknownCaller)
    }

    /// A token for the caller `name` if `key` is one of its keys: see [`TOKEN_LIFETIME`].
    ///
    /// # Errors
    /// When it is not, or there is no such caller: the two are not told apart.
    pub(crate) fn token(&self, name: &str, key: &str) -> Result<(Caller, String), UnknownCaller> {
        let digest = KeyDigest::of(key);
        let state = self.0.by_digest(&digest).filter(|state| *state.name == *name).ok_or(UnknownCaller)?;
        let token = self.0.tokens.mint(name, &digest, SystemTime::now());
        Ok((self.caller(state), token))
    }

    /// Reads changed key files again, for as long as it is polled. Digests that cannot be used leave
    /// the last good ones in force. Never returns.
    pub(crate) async fn run_refresh(self) {
        let mut told: HashMap<Arc<str>, BadCallers> = HashMap::new();
        loop {
            self.0.clock.sleep(POLL).await;
            for state in &self.0.callers {
                let callers = self.clone();
                let reading = Arc::clone(state);
                let read = tokio::task::spawn_blocking(move || callers.0.reload(&reading)).await;
                match read {
                    Ok(Ok(changed)) => {
                        if changed {
                            let keys = state.keys.load().len();
                            tracing::info!(caller = %state.name, keys, "the caller's keys were read again");
                        }
                        told.remove(&state.name);
                    }
                    Ok(Err(fault)) if told.get(&state.name) != Some(&fault) => {
                        tracing::error!(caller = %state.name, %fault, "the caller's last good keys stay in force");
                        told.insert(Arc::clone(&state.name), fault);
                    }
                    // Told already, or the runtime is going down.
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        }
    }

    /// Each caller's figures.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Vec<Snapshot> {
        self.0.callers.iter().map(|state| state.snapshot()).collect()
    }

    fn caller(&self, state: &Arc<CallerState>) -> Caller {
        Caller::of(state, &self.0.clock)
    }
}

impl CallerRegistry {
    fn by_key(&self, key: &str) -> Option<&Arc<CallerState>> {
        self.by_digest(&KeyDigest::of(key))
    }

    /// All keys of all callers are compared, whichever fits: the time tells nothing.
    fn by_digest(&self, digest: &KeyDigest) -> Option<&Arc<CallerState>> {
        self.callers.iter().fold(None, |found, state| {
            let fits = state.keys.load().iter().fold(false, |fits, own| own.is(digest) | fits);
            if fits { Some(state) } else { found }
        })
    }

    fn by_token(&self, text: &str, now: SystemTime) -> Option<&Arc<CallerState>> {
        let token = Token::parse(text)?;
        self.callers
            .iter()
            .find(|state| state.keys.load().iter().any(|key| self.tokens.knows(&token, &state.name, key, now)))
    }

    fn by_certificate(&self, peer: &Peer) -> Option<&Arc<CallerState>> {
        let is_shown = |name: &String| peer.names().contains(name);
        self.callers.iter().find(|state| state.config.certificate.as_ref().is_some_and(is_shown))
    }

    /// Whether the file had other digests than before.
    fn reload(&self, state: &CallerState) -> Result<bool, BadCallers> {
        let Some(keys) = state.config.keys.as_ref().filter(|keys| keys.file().is_some()) else { return Ok(false) };
        let fault = |fault| BadCallers::Keys { name: state.name.to_string(), fault };
        let read = keys.read().map_err(fault).and_then(|digests| {
            self.check_is_alone(state, &digests)?;
            Ok(digests)
        });
        if read.is_err() {
            state.counts.reloads_failed.fetch_add(1, Ordering::Relaxed);
        }
        let digests = read?;
        let changed = **state.keys.load() != digests;
        if changed {
            state.keys.store(Arc::new(digests));
        }
        Ok(changed)
    }

    fn check_is_alone(&self, state: &CallerState, digests: &[KeyDigest]) -> Result<(), BadCallers> {
        for other in self.callers.iter().filter(|other| other.name != state.name) {
            if other.keys.load().iter().any(|key| digests.contains(key)) {
                let (one, other) = (state.name.to_string(), other.name.to_string());
                return Err(BadCallers::SharedKey { one, other });
            }
        }
        Ok(())
    }
}

/// The key of an `Authorization: Bearer` (RFC 6750 section 2.1), when there is exactly one line. The
/// scheme's case does not matter (RFC 9110 section 11.1).
fn credential(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, key) = line.to_str().ok()?.split_once(' ')?;
    let key = key.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests;
