//! The route of one configured upstream, assembled from its configuration.

use std::sync::Arc;

use crate::clock::{Clock, Jitter};
use crate::config::Upstream;
use crate::credentials::Credentials;
use crate::gateway::capacity::{Capacity, Quota};
use crate::gateway::endpoints::token;
use crate::gateway::metrics::counters::Counters;
use crate::gateway::route::{BodyPolicy, Encryption, Route, TokenEndpoint};
use crate::keys::Keys;
use crate::upstream::{self, Connector, ConnectorError};

/// The route of one configured upstream.
pub(crate) fn route(
    config: &Upstream,
    connector: &Connector,
    quota: Quota,
    clock: &Clock,
    jitter: &Jitter,
    counters: &Counters,
) -> Result<Route, ConnectorError> {
    let counters = counters.upstream(&config.name);
    let control = connector.control_client()?;
    let in_clear = config.encryption == Encryption::Off;
    let client = upstream::Config { in_clear, ..config.upstream.clone() };
    let upstream = upstream::UpstreamClient::new(&client, connector, Arc::clone(&counters.connections))?;
    let keys = || {
        let counters = Arc::clone(&counters.keys);
        Keys::new(&config.name, config.keys.clone(), control.clone(), clock.clone(), jitter.clone(), counters)
    };
    let body_policy = match upstream.in_clear() {
        Some(permit) => BodyPolicy::Off(permit),
        None if config.encryption == Encryption::RequireSealed => BodyPolicy::RequireSealed(keys().published()),
        None => BodyPolicy::Seal(keys()),
    };
    let credentials = Credentials::new(
        &config.name,
        config.credentials.clone(),
        control.clone(),
        clock.clone(),
        jitter.clone(),
        Arc::clone(&counters.credentials),
    );
    let token_url = credentials.endpoint();
    // Where there is no token endpoint, there is none to keep callers from.
    let has_token_endpoint = token_url.is_some() || config.token_endpoint == TokenEndpoint::Emulate;
    let locate = || token::locate(&config.upstream.url, &config.prefix, config.strip_prefix, token_url);
    let token_location = has_token_endpoint.then(locate).flatten();
    // An egress requires sealed bodies, and its sidecars present a key of their own or nothing.
    let obtains_tokens = matches!(config.credentials, crate::credentials::Config::ClientCredentials(_));
    let may_be_egress = config.encryption == Encryption::Seal && !obtains_tokens;
    Ok(Route {
        name: Arc::clone(&counters.name),
        prefix: config.prefix.clone(),
        strip_prefix: config.strip_prefix,
        body_policy,
        is_egress: config.is_egress.unwrap_or(may_be_egress),
        token_endpoint: config.token_endpoint,
        token_path: token_location.map(|location| location.target.into()),
        credentials,
        upstream,
        key_refusals: config.key_refusals.as_slice().into(),
        ordinary_refusals: config.ordinary_refusals.as_slice().into(),
        extra_header_members: config.extra_header_members.as_slice().into(),
        capacity: Capacity::of(quota),
        counters,
    })
}
