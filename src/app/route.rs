//! The route of one configured upstream, assembled from its parts.

use std::sync::Arc;

use crate::config::Upstream;
use crate::credentials::Credentials;
use crate::gateway::capacity::Capacity;
use crate::gateway::endpoints::token;
use crate::gateway::metrics::counters::UpstreamCounters;
use crate::gateway::route::{BodyPolicy, Encryption, Route, TokenEndpoint};
use crate::gateway::validation::Checks;
use crate::upstream::UpstreamClient;

/// The route of `config`.
pub(super) fn route(
    config: &Upstream,
    client: UpstreamClient,
    body_policy: BodyPolicy,
    credentials: Credentials,
    capacity: Capacity,
    checks: Option<Checks>,
    counters: Arc<UpstreamCounters>,
) -> Route {
    let token_url = credentials.endpoint();
    // Where there is no token endpoint, there is none to keep callers from.
    let has_token_endpoint = token_url.is_some() || config.token_endpoint == TokenEndpoint::Emulate;
    let locate = || token::locate(&config.upstream.url, &config.prefix, config.strip_prefix, token_url);
    let token_location = has_token_endpoint.then(locate).flatten();
    // An egress requires sealed bodies, and its sidecars present a key of their own or nothing.
    let obtains_tokens = matches!(config.credentials, crate::credentials::Config::ClientCredentials(_));
    let may_be_egress = config.encryption == Encryption::Seal && !obtains_tokens;
    Route {
        name: Arc::clone(&counters.name),
        prefix: config.prefix.clone(),
        strip_prefix: config.strip_prefix,
        body_policy,
        is_egress: config.is_egress.unwrap_or(may_be_egress),
        token_endpoint: config.token_endpoint,
        token_path: token_location.map(|location| location.target.into()),
        credentials,
        upstream: client,
        key_refusals: config.key_refusals.as_slice().into(),
        ordinary_refusals: config.ordinary_refusals.as_slice().into(),
        extra_header_members: config.extra_header_members.as_slice().into(),
        capacity,
        checks,
        counters,
    }
}
