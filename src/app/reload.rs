//! Reads again, on demand, all that can change while the gateway runs.
//!
//! Without it, each part finds a change by itself within ten seconds (files) or at its next fetch (key sets, tokens).
//! After a reload, an operator does not have to wait, and the log says at once whether the new files are good.
//!
//! Nothing is interrupted. If a part cannot be read, its former value stays in use.

use std::fmt::Display;

use tokio::task::JoinSet;

use crate::gateway::callers::Callers;
use crate::gateway::route::Route;
use crate::gateway::server::tls::ServerTls;
use crate::upstream::Connector;
use crate::watched_files::{Change, PollOutcome};

/// The settings that a reload does not read.
const NEEDS_RESTART: &str = "the configuration file, flags and environment variables, ca_file, token_key_file";

/// Reads secrets, certificates, caller keys and key sets again. Clones share the gateway.
#[derive(Clone, Debug)]
pub struct Reloader {
    pub(super) routes: Vec<Route>,
    pub(super) connectors: Vec<Connector>,
    pub(super) callers: Callers,
    pub(super) tls: Option<ServerTls>,
}

impl Reloader {
    /// Reads all parts side by side, and writes one log line with the outcome of each. Takes as long as the
    /// slowest fetch of a key set or a token.
    pub async fn reload(&self) {
        let mut parts = JoinSet::new();
        let callers = self.callers.clone();
        parts.spawn(async move { callers.reread().await });
        if let Some(tls) = self.tls.clone() {
            parts.spawn(async move { tls.reread().await });
        }
        for connector in self.connectors.clone() {
            parts.spawn(async move { connector.reread().await });
        }
        for Route { name, body_policy, credentials, .. } in self.routes.clone() {
            if let Some(keys) = body_policy.keys() {
                let name = format!("the key set of {name}");
                parts.spawn(async move { vec![outcome(name, keys.refresh_now().await)] });
            }
            let name = format!("the credential of {name}");
            parts.spawn(async move {
                let reread = credentials.reread().await;
                reread.map(|result| outcome(name, result)).into_iter().collect()
            });
        }
        let mut outcomes = Vec::new();
        while let Some(part) = parts.join_next().await {
            match part {
                Ok(outcome) => outcomes.extend(outcome),
                Err(error) => tracing::error!(%error, "a part of the reload failed"),
            }
        }
        log(outcomes);
    }
}

/// `result` says whether the part has changed.
fn outcome(name: String, result: Result<bool, impl Display>) -> PollOutcome {
    let change = |has_changed| if has_changed { Change::InUse } else { Change::None };
    PollOutcome { name, result: result.map(change).map_err(|error| error.to_string()) }
}

fn log(mut outcomes: Vec<PollOutcome>) {
    outcomes.sort_by(|one, other| one.name.cmp(&other.name));
    let (mut changed, mut failed, mut unchanged) = (Vec::new(), Vec::new(), 0);
    for PollOutcome { name, result } in outcomes {
        match result {
            Ok(Change::InUse) => changed.push(name),
            Ok(Change::None) => unchanged += 1,
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    let (changed, failed, needs_restart) = (changed.join(", "), failed.join("; "), NEEDS_RESTART);
    if failed.is_empty() {
        tracing::info!(
            changed,
            unchanged,
            needs_restart,
            "secrets, certificates, caller keys and key sets were read again"
        );
    } else {
        tracing::warn!(
            changed,
            unchanged,
            failed,
            needs_restart,
            "secrets, certificates, caller keys and key sets were read again; parts that failed keep their former values"
        );
    }
}
