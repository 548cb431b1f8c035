//! Rotations under load, with a verdict.
//!
//! A drill is a sandbox, a gateway in front of it, callers that send at a steady rate, and a plan
//! of what the provider does meanwhile: rotate, cut, revoke, fail. When it is over, what the
//! callers were answered is held against what the provider opened, request by request.
//!
//! # What counts as lost
//!
//! A request whose final answer is not the provider's 200, or whose body the provider did not
//! open and find, byte for byte, exactly as it was sent. Each body bears a number, and the number
//! is what joins the two sides, so a gateway that answers 200 by itself loses every request. A
//! body that the provider accepted twice is a duplicate; it fails the drill as a loss does.
//!
//! # What is measured, and by whom
//!
//! | figure | taken from |
//! |---|---|
//! | answers, latency | the callers: from the moment a request was due, so a stalled gateway cannot hide by slowing the load down |
//! | openings, kids, refusals | the provider's record |
//! | resealed, resent | the gateway's own access record; not known of another's gateway |
//! | adoption of a key | the provider's record says under which key, the caller's clock says when the answer was there |
//!
//! # What is not asked of a gateway
//!
//! What nobody can do: learn a new key or token while the endpoint that gives it out fails. A plan
//! holds no cut and no revocation during an outage.
//!
//! # Rejected
//!
//! - Closed-loop load (the next request after the last answer): in a stall it sends nothing and so
//!   sees nothing of it.
//! - A second process for the load: its clock would have to be held against the provider's.

mod events;
mod load;
mod monitor;
mod observations;
mod plan;
mod quantiles;
mod report;
mod scenario;
mod score;
mod target;
mod timeline;

#[cfg(test)]
mod testing;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use url::Url;
use uuid::Uuid;

pub use self::events::{Change, Event};
pub use self::monitor::Progress;
pub use self::plan::{Action, PlannedStep, plan};
pub use self::quantiles::Quantiles;
pub use self::report::{Report, Verdict};
pub use self::scenario::Scenario;
pub use self::score::{LostRequest, Score};
pub use self::timeline::{KeyUsage, Timeline};

use self::events::Executor;
use self::load::Load;
use self::monitor::Monitor;
use self::observations::Observations;
use self::target::{GatewayRecord, RunningTarget};
use crate::app::{App, BuildError, Shutdown};
use crate::clock::Clock;
use crate::sandbox::Sandbox;
use crate::upstream::{Connector, ConnectorError};

/// Requests a second, unless told otherwise: above the hundred that the promise names, and a
/// fraction of what two cores seal and open.
pub const RATE: u32 = 150;

/// More would measure the sandbox, which opens each message beside the gateway on one machine.
pub const MAX_RATE: u32 = 2000;

/// Everything is kept until the verdict; ten minutes at the highest rate are a few hundred MiB.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 60);

/// A look at both sides, and a redrawn line of progress.
const MONITOR_INTERVAL: Duration = Duration::from_millis(200);

/// The gateway writes its record just after the caller has the answer; this is far more than that.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// What is to be drilled.
#[derive(Clone, Debug)]
pub struct Config {
    /// What happens.
    pub scenario: Scenario,
    /// Requests a second; brought within 1 and [`MAX_RATE`].
    pub rate: u32,
    /// For how long they are sent; brought below [`MAX_DURATION`].
    pub duration: Duration,
    /// The same seed gives the same plan.
    pub seed: u64,
    /// Who is drilled.
    pub target: Target,
}

/// Who is drilled.
#[derive(Clone, Debug)]
pub enum Target {
    /// This gateway, in this process.
    InProcess,
    /// Any sealing client that takes plain JSON over HTTP.
    External {
        /// Where it listens.
        gateway: Url,
        /// Where the sandbox waits for it.
        listen: SocketAddr,
        /// The sandbox's management door.
        management: SocketAddr,
    },
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The sandbox has no address, or no key.
    #[error("sandbox: {0}")]
    Sandbox(#[from] io::Error),
    /// The gateway cannot be built.
    #[error(transparent)]
    Gateway(#[from] BuildError),
    /// There is no HTTP client.
    #[error(transparent)]
    Client(#[from] ConnectorError),
    /// The gateway did not take a request in time.
    #[error("{gateway} cannot be reached within {} s: {reason}", .within.as_secs())]
    Unreachable {
        /// Its address.
        gateway: String,
        /// How long it was tried.
        within: Duration,
        /// The last answer, or why there was none.
        reason: String,
    },
    /// The gateway in this process ended by itself.
    #[error("the gateway ended during the drill")]
    GatewayEnded,
}

/// A sandbox and a gateway, ready for the first request.
pub struct Drill {
    config: Config,
    clock: Clock,
    run_id: Arc<str>,
    sandbox: Sandbox,
    gateway: Url,
    app: Option<App>,
    gateway_records: mpsc::UnboundedReceiver<GatewayRecord>,
    client: reqwest::Client,
}

impl Drill {
    /// Starts the sandbox, and the gateway unless it is another's.
    ///
    /// # Errors
    /// When one of the two cannot start.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, DrillError> {
        let (rate, duration) = (config.rate.clamp(1, MAX_RATE), config.duration.min(MAX_DURATION));
        let config = Config { rate, duration, ..config };
        let run_id: Arc<str> = Uuid::new_v4().simple().to_string()[..8].into();
        let RunningTarget { sandbox, gateway, app, gateway_records } = target::setup(&config, &run_id, &clock).await?;
        let client = Connector::new(None)?.control_client()?;
        Ok(Self { config, clock, run_id, sandbox, gateway, app, gateway_records, client })
    }

    /// The provider of this drill.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// What is about to happen, and for another's gateway how to point it at the sandbox.
    #[must_use]
    pub fn greeting(&self) -> String {
        let Config { scenario, rate, duration, seed, .. } = &self.config;
        let mut text = format!(
            "drill {scenario}: {}, {rate} requests/s for {} s, seed {seed}\n  gateway   {}\n  provider  {} (sandbox)\n",
            scenario.description(),
            duration.as_secs_f64(),
            self.gateway,
            self.sandbox.url(),
        );
        if self.app.is_none() {
            let (url, id, secret) = (self.sandbox.url(), self.sandbox.client_id(), self.sandbox.client_secret());
            text += &format!(
                "\npoint the gateway at the sandbox, for instance:\n\n  JWE_GATEWAY_CLIENT_SECRET={secret} jwe-gateway run \
                 --upstream {url} --client-id {id}\n\nwaiting for it at most {} s\n",
                target::REACH_TIMEOUT.as_secs()
            );
        }
        text
    }

    /// Waits for the gateway, runs the plan under load, and judges. `progress` is told several
    /// times a second how it goes.
    ///
    /// # Errors
    /// When there is nothing to judge: see [`DrillError`].
    pub async fn run(mut self, progress: impl FnMut(&Progress)) -> Result<Report, DrillError> {
        let app = self.app.take();
        let is_own = app.is_some();
        let serving = async {
            match app {
                // However it ended: nobody asked it to.
                Some(app) => drop(app.run(std::future::pending::<Shutdown>()).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = serving => Err(DrillError::GatewayEnded),
            report = self.drill(is_own, progress) => report,
        }
    }

    async fn drill(&mut self, is_own: bool, mut progress: impl FnMut(&Progress)) -> Result<Report, DrillError> {
        let Self { config, clock, run_id, sandbox, gateway, client, gateway_records, .. } = self;
        target::wait_until_reachable(client, gateway, clock).await?;

        let started = clock.now();
        let executor = Executor::new(sandbox, clock, started);
        let load = Load::new(client.clone(), gateway, Arc::clone(run_id), clock.clone());
        let mut monitor = Monitor::new(sandbox, Arc::clone(run_id), clock.clone(), started);
        let counters = load.counters();
        let plan = plan(config.scenario, config.duration, config.seed);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut work = std::pin::pin!(async {
            let mut loading = std::pin::pin!(load.run(config.rate, config.duration, started, sender));
            tokio::select! {
                // What is still planned when the load is over would fall on nobody.
                () = &mut loading => {}
                performed = executor.run(&plan) => {
                    performed?;
                    loading.await;
                }
            }
            Ok::<_, DrillError>(clock.now() - started)
        });
        let took = loop {
            tokio::select! {
                worked = &mut work => break worked?,
                () = clock.sleep(MONITOR_INTERVAL) => progress(&monitor.update(&counters, config.duration, &executor)),
            }
        };
        progress(&monitor.update(&counters, config.duration, &executor));

        let replies: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        let gateway_records =
            if is_own { Some(last_records(gateway_records, replies.len(), clock).await) } else { None };
        let (calls, unread_calls) = monitor.into_calls();
        let observations = Observations {
            took,
            first_kid: executor.first_kid().to_owned(),
            events: executor.events(),
            replies,
            calls,
            unread_calls,
            gateway_records,
            key_set_fetches: sandbox.jwks_fetches(),
            token_requests: sandbox.token_requests(),
        };
        Ok(Report::new(config, gateway.as_str(), &sandbox.url(), &observations))
    }
}

/// The gateway's records of `answers` requests.
async fn last_records(
    gateway_records: &mut mpsc::UnboundedReceiver<GatewayRecord>,
    replies: usize,
    clock: &Clock,
) -> Vec<GatewayRecord> {
    let mut records = Vec::new();
    let all = async {
        while records.len() < replies {
            match gateway_records.recv().await {
                Some(record) => records.push(record),
                None => return,
            }
        }
    };
    // A request that never reached the gateway has no record; the tally says so.
    tokio::select! {
        () = all => {}
        () = clock.sleep(RECORDS_TIMEOUT) => {}
    }
    records
}

impl std::fmt::Debug for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drill")
            .field("config", &self.config)
            .field("sandbox", &self.sandbox)
            .field("gateway", &self.gateway.as_str())
            .finish_non_exhaustive()
    }
}
