//! A route: one configured upstream with its keys, its credential and its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::uri::PathAndQuery;
use http::{StatusCode, Uri};

use crate::credentials::Credentials;
use crate::gateway::capacity::Capacity;
use crate::gateway::endpoints::jwks;
use crate::gateway::metrics::counters::UpstreamCounters;
use crate::gateway::request::target::{self, TargetFault};
use crate::gateway::response::ordinary_refusal::OrdinaryRefusal;
use crate::gateway::validation::Checks;
use crate::keys::{Keys, PublishedKeys};
use crate::path_prefix::PathPrefix;
use crate::upstream::{InClear, UpstreamClient};

/// `encryption`: which gateway seals the bodies for an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// This gateway. It also forwards a JWE that the caller made.
    #[default]
    Seal,
    /// A gateway in front of this one, so this one never sees a body in clear.
    RequireSealed,
    /// No gateway, because the provider does not accept JWE. Bodies are forwarded in clear.
    Off,
}

/// `token_endpoint`: how the gateway answers a caller's call of the provider's token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenEndpoint {
    /// With a refusal: the gateway holds the credentials.
    #[default]
    Refuse,
    /// With a token of the gateway's own, if the client id and secret are a caller's name and key.
    Emulate,
}

/// One configured upstream. Cheap to clone; clones share keys, credential and limits.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The configured name, for logs and metrics.
    pub name: Arc<str>,
    pub prefix: PathPrefix,
    /// Whether the prefix is removed before a request is forwarded.
    pub strip_prefix: bool,
    pub body_policy: BodyPolicy,
    /// Whether the upstream is an egress of this product, whose members of `Proxy-Status` are relayed.
    pub is_egress: bool,
    pub token_endpoint: TokenEndpoint,
    pub credentials: Credentials,
    /// The target of a request to the provider's token endpoint, if it has one.
    pub token_path: Option<Arc<str>>,
    pub upstream: UpstreamClient,
    /// The statuses that can mean that the provider cannot open a message.
    pub key_refusals: Arc<[StatusCode]>,
    /// Replies with such a status that show that the provider read the message.
    pub ordinary_refusals: Arc<[OrdinaryRefusal]>,
    /// The members that the protected header of a caller's JWE may have in addition to the usual ones.
    pub extra_header_members: Arc<[String]>,
    pub capacity: Capacity,
    /// None if requests are not checked against the description of the API.
    pub checks: Option<Checks>,
    /// They outlive the route.
    pub counters: Arc<UpstreamCounters>,
}

/// What each [`Encryption`] needs. Forwarding a plaintext body needs either a sealing key or an `InClear`
/// permit; `RequireSealed` has neither.
#[derive(Clone, Debug)]
pub(crate) enum BodyPolicy {
    Seal(Keys),
    RequireSealed(PublishedKeys),
    Off(InClear),
}

impl BodyPolicy {
    /// The provider's keys. None if bodies are sent in clear.
    pub(crate) fn keys(&self) -> Option<PublishedKeys> {
        match self {
            Self::Seal(keys) => Some(keys.published()),
            Self::RequireSealed(keys) => Some(keys.clone()),
            Self::Off(_) => None,
        }
    }
}

/// Counts forwarded messages with a kid that is not published.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnknownKids(Arc<AtomicU64>);

impl UnknownKids {
    pub(crate) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Route {
    /// Whether a reply of this status can mean that the provider no longer has the key.
    pub(crate) fn may_mean_key_unknown(&self, status: StatusCode) -> bool {
        self.key_refusals.contains(&status)
    }

    /// Compares a caller's kid with the published ones, without a fetch. An unknown kid is counted and
    /// logged. The message is forwarded all the same, because the caller may have fetched the key set later
    /// than this gateway.
    pub(crate) fn note_kid(&self, kid: Option<&str>, keys: &PublishedKeys) {
        if kid.is_some_and(|kid| keys.publishes(kid)) {
            return;
        }
        self.counters.unknown_kids.0.fetch_add(1, Ordering::Relaxed);
        let kid = kid.map(|kid| kid.escape_debug().to_string());
        tracing::warn!(upstream = %self.name, kid, "a caller sealed with a key that is not published");
    }

    /// The target that is forwarded for `uri`: path and query byte for byte, without the prefix if
    /// `strip_prefix` is set.
    ///
    /// # Errors
    /// [`TargetFault::EscapedSlash`], if an escaped slash ends the prefix.
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

    /// Whether `uri` is the token endpoint and the gateway answers in the provider's place.
    pub(crate) fn emulates(&self, uri: &Uri) -> bool {
        self.token_endpoint == TokenEndpoint::Emulate
            && self.target(uri).is_ok_and(|target| self.is_token_endpoint(&target))
    }

    /// Whether `target` is the key set, which is served below the prefix, stripped or not.
    pub(crate) fn is_key_set(&self, target: &PathAndQuery) -> bool {
        let path = if self.strip_prefix { Some(target.path()) } else { self.prefix.strip(target.path()) };
        path.is_some_and(|path| target::may_equal(path, jwks::PATH))
    }

    /// Whether `target` is the provider's token endpoint. The gateway refuses callers there, because the
    /// provider would answer with a token of the gateway's.
    pub(crate) fn is_token_endpoint(&self, target: &PathAndQuery) -> bool {
        self.token_path.as_ref().is_some_and(|endpoint| target::may_equal(target.path(), endpoint))
    }
}

/// All routes, the longest prefix first.
#[derive(Clone, Debug)]
pub(crate) struct Routes(Arc<[Route]>);

impl Routes {
    pub(crate) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.as_str().len()));
        Self(routes.into())
    }

    /// The route with the longest prefix that contains `path`.
    pub(crate) fn at(&self, path: &str) -> Option<&Route> {
        self.0.iter().find(|route| route.prefix.contains(path))
    }
}
