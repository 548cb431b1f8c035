//! The conditions of `/readyz`.

use crate::admin::{Checks, Readiness};
use crate::credentials::TokenError;
use crate::gateway::generation::Current;
use crate::gateway::route::Route;
use crate::gateway::server::drain::Drain;

/// The gateway is ready if it is not stopping, and at least one upstream has a usable key and a usable
/// credential.
pub(super) fn checks(current: Current, drain: Drain) -> Checks {
    Box::new(move || {
        let routes = &current.generation().routes;
        Readiness {
            stopping: drain.is_announced().then(|| "the gateway is stopping".to_owned()),
            missing: routes.iter().map(missing).collect(),
            warnings: routes.iter().filter_map(credential_warning).collect(),
        }
    })
}

/// The key and the credential of an upstream, as far as it lacks them.
fn missing(route: &Route) -> Vec<String> {
    let Route { name, body_policy, credentials, .. } = route;
    let key = body_policy.keys().and_then(|keys| keys.snapshot().usable.err());
    let snapshot = credentials.snapshot();
    let failure = |why: &TokenError| snapshot.failure().unwrap_or_else(|| why.to_string());
    let token = snapshot.usable.as_ref().err().map(failure);
    let key = key.map(|why| format!("{name}: no key: {why}"));
    key.into_iter().chain(token.map(|why| format!("{name}: no token: {why}"))).collect()
}

/// Reports renewals that fail while the present credential is still usable.
fn credential_warning(route: &Route) -> Option<String> {
    let Route { name, credentials, .. } = route;
    let snapshot = credentials.snapshot();
    let failure = snapshot.failure().filter(|_| snapshot.usable.is_ok());
    failure.map(|failure| format!("{name}: {failure}; the present credential stays in use"))
}
