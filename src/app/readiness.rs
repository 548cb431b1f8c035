//! The conditions of `/readyz`.

use crate::admin::{Check, Checks, Warning};
use crate::credentials::TokenError;
use crate::gateway::route::Route;
use crate::gateway::server::drain::Drain;

/// The gateway is ready if it is not stopping, and at least one upstream has a usable key and a usable
/// credential.
pub(super) fn checks(routes: &[Route], drain: &Drain) -> Checks {
    let drain = drain.clone();
    let stopping = move || if drain.is_announced() { Err("the gateway is stopping".to_owned()) } else { Ok(()) };
    Checks {
        always: Box::new(stopping),
        upstreams: routes.iter().cloned().map(route_checks).collect(),
        warnings: routes.iter().cloned().map(credential_warning).collect(),
    }
}

fn route_checks(route: Route) -> Vec<Check> {
    let Route { name, body_policy, credentials, .. } = route;
    let key = {
        let name = name.clone();
        move || match body_policy.keys() {
            Some(keys) => keys.snapshot().usable.map(drop).map_err(|why| format!("{name}: no key: {why}")),
            None => Ok(()),
        }
    };
    let token = move || {
        let snapshot = credentials.snapshot();
        let failure = |why: TokenError| snapshot.failure().unwrap_or_else(|| why.to_string());
        snapshot.usable.clone().map_err(|why| format!("{name}: no token: {}", failure(why)))
    };
    vec![Box::new(key), Box::new(token)]
}

/// Reports renewals that fail while the present credential is still usable.
fn credential_warning(route: Route) -> Warning {
    let Route { name, credentials, .. } = route;
    Box::new(move || {
        let snapshot = credentials.snapshot();
        let failure = snapshot.failure().filter(|_| snapshot.usable.is_ok());
        failure.map(|failure| format!("{name}: {failure}; the present credential stays in use"))
    })
}
