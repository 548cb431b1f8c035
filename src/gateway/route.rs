//! A provider with what we hold for it: its keys, our credentials, the way there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::uri::PathAndQuery;
use http::{StatusCode, Uri};

use crate::credentials::Credentials;
use crate::gateway::capacity::Capacity;
use crate::gateway::endpoints::jwks;
use crate::gateway::request::target::{self, TargetFault};
use crate::keys::{Keys, PublishedKeys};
use crate::path_prefix::PathPrefix;
use crate::upstream::{InClear, Upstream};

/// `encryption`: who seals the bodies that go to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// This gateway. A JWE that a caller made passes, too.
    #[default]
    Seal,
    /// A gateway before this one, which therefore never sees a body in clear.
    RequireSealed,
    /// Nobody: the provider takes no JWE.
    Off,
}

/// `token_endpoint`: what becomes of a caller's own call of the provider's token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenEndpoint {
    /// It is refused: the gateway holds the credentials.
    #[default]
    Refuse,
    /// The gateway answers it, with a token of its own for a caller of its own.
    Emulate,
}

/// One configured upstream. Cheap to clone; clones share what is held.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// As configured, for logs and metrics.
    pub name: Arc<str>,
    /// The paths it serves: this one and those below it.
    pub prefix: PathPrefix,
    /// Whether the prefix is taken off before a request goes on.
    pub strip_prefix: bool,
    /// Who seals, with what that takes.
    pub body_policy: BodyPolicy,
    /// What becomes of calls of its token endpoint.
    pub token_endpoint: TokenEndpoint,
    /// What to authenticate with.
    pub credentials: Credentials,
    /// The target by which a request would come to where it gives out tokens, if there is one.
    pub token_path: Option<Arc<str>>,
    /// Where to send.
    pub upstream: Upstream,
    /// The statuses by which it can mean that it cannot open a message.
    pub key_refusals: Arc<[StatusCode]>,
    /// How much of it there may be at a time.
    pub capacity: Capacity,
    /// Messages that were passed on under a kid that is not published.
    pub unknown_kids: UnknownKids,
}

/// Who seals, with what that takes. What can take a body in clear any further is a key to seal it with, or
/// the permission to send it so; a gateway behind one that seals has neither.
#[derive(Clone, Debug)]
pub(crate) enum BodyPolicy {
    /// [`Encryption::Seal`].
    Seal(Keys),
    /// [`Encryption::RequireSealed`].
    RequireSealed(PublishedKeys),
    /// [`Encryption::Off`].
    Off(InClear),
}

impl BodyPolicy {
    /// The provider's keys, where they matter.
    #[must_use]
    pub(crate) fn keys(&self) -> Option<PublishedKeys> {
        match self {
            Self::Seal(keys) => Some(keys.known()),
            Self::RequireSealed(keys) => Some(keys.clone()),
            Self::Off(_) => None,
        }
    }
}

/// Counts messages that were passed on under a kid that is not published.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnknownKids(Arc<AtomicU64>);

impl UnknownKids {
    /// How many so far.
    #[must_use]
    pub(crate) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Route {
    /// Whether a reply of this status can mean that the provider no longer has the key.
    #[must_use]
    pub(crate) fn may_mean_key_unknown(&self, status: StatusCode) -> bool {
        self.key_refusals.contains(&status)
    }

    /// Compares a caller's kid with the published ones, without asking anybody. An unknown one is
    /// counted and named in the log, and its message forwarded all the same: the sealing side may
    /// have fetched later than we have.
    pub(crate) fn note_kid(&self, kid: Option<&str>, keys: &PublishedKeys) {
        if kid.is_some_and(|kid| keys.publishes(kid)) {
            return;
        }
        self.unknown_kids.0.fetch_add(1, Ordering::Relaxed);
        let kid = kid.map(|kid| kid.escape_debug().to_string());
        tracing::warn!(upstream = %self.name, kid, "a caller sealed under a key that is not published");
    }

    /// What of `uri` goes on to the provider: path and query byte for byte, the prefix taken off
    /// where that is configured.
    ///
    /// # Errors
    /// When the prefix cannot be taken off, because an escaped slash ends it.
    pub(crate) fn target(&self, uri: &Uri) -> Result<PathAndQuery, TargetFault> {
        let whole = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        if !self.strip_prefix {
            return Ok(whole);
        }
        let path = self.prefix.strip(whole.path()).ok_or(TargetFault::EscapedSlash)?;
        let stripped = match whole.query() {
            Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
            None => PathAndQuery::try_from(path),
        };
        stripped.map_err(|_| TargetFault::NotOriginForm)
    }

    /// Whether a request for `uri` asks for a token that the gateway gives in the provider's place.
    #[must_use]
    pub(crate) fn emulates(&self, uri: &Uri) -> bool {
        self.token_endpoint == TokenEndpoint::Emulate
            && self.target(uri).is_ok_and(|target| self.is_token_endpoint(&target))
    }

    /// Whether a request for `target` asks for the key set. That is below the prefix, taken off or not: what
    /// is elsewhere is another's.
    #[must_use]
    pub(crate) fn is_key_set(&self, target: &PathAndQuery) -> bool {
        let path = if self.strip_prefix { Some(target.path()) } else { self.prefix.strip(target.path()) };
        path.is_some_and(|path| target::may_equal(path, jwks::PATH))
    }

    /// Whether a request for `target` would go to where the provider gives out tokens. A caller
    /// who could go there through us would get one of ours.
    #[must_use]
    pub(crate) fn is_token_endpoint(&self, target: &PathAndQuery) -> bool {
        self.token_path.as_ref().is_some_and(|endpoint| target::may_equal(target.path(), endpoint))
    }
}

/// All providers, the one with the longest prefix first.
#[derive(Clone, Debug)]
pub(crate) struct Routes(Arc<[Route]>);

impl Routes {
    /// The order of `providers` does not matter; their prefixes differ.
    #[must_use]
    pub(crate) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.as_str().len()));
        Self(routes.into())
    }

    /// The provider that serves `path`, however it is spelt: `/%760` is below `/v0`.
    #[must_use]
    pub(crate) fn at(&self, path: &str) -> Option<&Route> {
        self.0.iter().find(|route| route.prefix.contains(path))
    }
}
