//! Key rotations under load, with a verdict.
//!
//! A drill starts a sandbox and a gateway in front of it, sends requests through the gateway at a steady
//! rate, and performs a plan of provider events: rotations, hard cuts, revocations, outages. At the end it
//! compares, request by request, what the clients received with what the provider opened.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use jwe_gateway::clock::Clock;
//! use jwe_gateway::drill::{Config, Drill, DrillError, RATE, Scenario, Target};
//!
//! # async fn example() -> Result<(), DrillError> {
//! let config = Config {
//!     scenario: Scenario::HardCut,
//!     rate: RATE,
//!     duration: Duration::from_secs(20),
//!     seed: 1,
//!     target: Target::InProcess,
//! };
//! let report = Drill::start(config, Clock::system()).await?.run(|_progress| {}).await?;
//! assert!(report.verdict.is_pass(), "{report}");
//! # Ok(())
//! # }
//! ```
//!
//! # What counts as lost
//!
//! A request is lost if its final reply is not the provider's 200, or if the provider did not open exactly
//! the body that was sent. Each body contains a number, and the drill matches both sides by this number. A
//! gateway that responds with 200 by itself therefore loses every request. A body that the provider accepted
//! twice is a duplicate. Duplicates fail the drill as losses do.
//!
//! In `noisy-400` half of the requests are wrong, and the provider responds to them with an ordinary 400. Such
//! a request is lost if its final reply is not this 400, byte for byte. The 400s must also be fast: the drill
//! fails if their 99th percentile is more than 50 ms above that of the other requests.
//!
//! # Where each measurement comes from
//!
//! | measurement | source |
//! |---|---|
//! | replies, latency | the clients: from the time when a request was due, so that a stalled gateway cannot hide by slowing the load down |
//! | opened bodies, kids, refusals | the sandbox's recorded calls |
//! | resealed, resent | the gateway's access log; not known for an external gateway |
//! | adoption of a key | the key from the sandbox's recorded calls, the time from the client's reply |
//!
//! # What a plan never contains
//!
//! A hard cut or a revocation during an outage. No gateway can learn a new key or token while the endpoint
//! that provides it fails.
//!
//! # Rejected
//!
//! - Closed-loop load, where the next request follows the previous reply: during a stall it sends nothing, so
//!   it does not measure the stall.
//! - A second process for the load: its clock would have to be synchronised with the sandbox's.

mod causes;
mod checks;
mod client_process;
mod events;
mod latency;
mod load;
mod monitor;
mod observations;
mod plan;
mod quantiles;
mod report;
mod request_kind;
mod scenario;
mod score;
mod target;
mod timeline;

#[cfg(test)]
mod testing;

use std::io;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use url::Url;
use uuid::Uuid;

pub use self::causes::{CAUSES, Cause};
pub use self::checks::Check;
pub use self::events::{Change, Event};
pub use self::latency::LatencyOverTime;
pub use self::monitor::Progress;
pub use self::plan::{Action, PlannedStep, plan};
pub use self::quantiles::Quantiles;
pub use self::report::{Report, Verdict};
pub use self::scenario::Scenario;
pub use self::score::{LostRequest, Score};
pub use self::timeline::{KeyUsage, Timeline};

use self::client_process::ClientProcess;
use self::events::Executor;
use self::load::Load;
use self::monitor::Monitor;
use self::observations::Observations;
use self::target::{GatewayRecord, RunningTarget};
use crate::app::{App, BuildError, Shutdown};
use crate::clock::Clock;
use crate::sandbox::Sandbox;
use crate::upstream::{Connector, ConnectorError};

/// The default number of requests per second. The product promises no loss at 100; two cores can seal and
/// open many more than 150.
pub const RATE: u32 = 150;

/// The highest rate. Beyond it the drill would measure the sandbox, which opens each message on the same
/// machine.
pub const MAX_RATE: u32 = 2000;

/// The longest duration. All observations stay in memory: ten minutes at the highest rate need a few hundred
/// MiB.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 60);

/// The interval between two updates of the progress line.
const MONITOR_INTERVAL: Duration = Duration::from_millis(200);

/// The gateway writes its access record just after the reply, so two seconds are ample.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// The parameters of a drill.
#[derive(Clone, Debug)]
pub struct Config {
    /// The events that the provider performs.
    pub scenario: Scenario,
    /// Requests per second, limited to the range from 1 to [`MAX_RATE`].
    pub rate: u32,
    /// The time during which requests are sent, limited to [`MAX_DURATION`].
    pub duration: Duration,
    /// The seed of the plan. The same seed gives the same plan.
    pub seed: u64,
    /// The gateway under test.
    pub target: Target,
}

/// The gateway under test.
#[derive(Clone, Debug)]
pub enum Target {
    /// This crate's gateway, in the same process.
    InProcess,
    /// Another client: any program that accepts plain JSON over HTTP and sends it sealed.
    External {
        /// The URL that accepts plain JSON.
        url: Url,
        /// The address of the sandbox.
        listen: SocketAddr,
        /// The address of the sandbox's management interface.
        management: SocketAddr,
        /// Whether other hosts may reach `management`.
        allow_remote_management: bool,
        /// The program and its arguments, if the drill is to start it. It gets `PROVIDER_URL`, `CLIENT_ID`,
        /// `CLIENT_SECRET`, and the port of `url` as `PORT`. It is ended with the drill.
        command: Vec<String>,
    },
}

/// The reason why a drill ended without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The sandbox could not bind an address or generate a key.
    #[error("sandbox: {0}")]
    Sandbox(#[from] io::Error),
    /// The gateway could not be built.
    #[error(transparent)]
    Gateway(#[from] BuildError),
    /// The HTTP client could not be built.
    #[error(transparent)]
    Client(#[from] ConnectorError),
    /// The command of the client could not be started.
    #[error("the client cannot be started: {0}")]
    Command(io::Error),
    /// The client, which the drill had started, ended before it replied.
    #[error("the client ended before it replied: {0}")]
    ClientEnded(ExitStatus),
    /// The external gateway did not reply in time.
    #[error("{gateway} did not reply within {} s: {reason}", .within.as_secs())]
    Unreachable {
        /// The URL of the gateway.
        gateway: String,
        /// The time limit.
        within: Duration,
        /// The error of the last attempt.
        reason: String,
    },
    /// The gateway in this process ended before the drill was finished.
    #[error("the gateway in this process ended during the drill")]
    GatewayEnded,
}

/// A sandbox and a gateway that are ready for the first request.
pub struct Drill {
    config: Config,
    clock: Clock,
    run_id: Arc<str>,
    sandbox: Sandbox,
    gateway: Url,
    app: Option<App>,
    client_process: Option<ClientProcess>,
    gateway_records: mpsc::UnboundedReceiver<GatewayRecord>,
    client: reqwest::Client,
}

impl Drill {
    /// Starts the sandbox, and the gateway unless it is external.
    ///
    /// # Errors
    /// If the sandbox, the gateway or the HTTP client cannot be started: see [`DrillError`].
    pub async fn start(config: Config, clock: Clock) -> Result<Self, DrillError> {
        let (rate, duration) = (config.rate.clamp(1, MAX_RATE), config.duration.min(MAX_DURATION));
        let config = Config { rate, duration, ..config };
        let run_id: Arc<str> = Uuid::new_v4().simple().to_string()[..8].into();
        let RunningTarget { sandbox, gateway, app, client_process, gateway_records } =
            target::setup(&config, &run_id, &clock).await?;
        let client = Connector::new(None)?.control_client()?;
        Ok(Self { config, clock, run_id, sandbox, gateway, app, client_process, gateway_records, client })
    }

    /// The sandbox of this drill.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// A text for people: what the drill will do, and how to point an external gateway at the sandbox.
    #[must_use]
    pub fn greeting(&self) -> String {
        let Config { scenario, rate, duration, seed, .. } = &self.config;
        let mut text = format!(
            "drill {scenario}: {}, {rate} requests/s for {} s, seed {seed}\n  {}   {}\n  provider  {} (sandbox)\n",
            scenario.description(),
            duration.as_secs_f64(),
            if self.app.is_none() { "target " } else { "gateway" },
            self.gateway,
            self.sandbox.url(),
        );
        let limit = target::REACH_TIMEOUT.as_secs();
        if self.client_process.is_some() {
            text += &format!("\nthe client is started; waiting at most {limit} s for its first reply\n");
        } else if self.app.is_none() {
            let (url, id, secret) = (self.sandbox.url(), self.sandbox.client_id(), self.sandbox.client_secret());
            text += &format!(
                "\nstart the client with these settings:\n\n  PROVIDER_URL={url} CLIENT_ID={id} CLIENT_SECRET={secret}\n\n\
                 if it is this product's gateway:\n\n  JWE_GATEWAY_CLIENT_SECRET={secret} jwe-gateway run \
                 --upstream {url} --client-id {id}\n\nwaiting at most {limit} s for its first reply\n",
            );
        }
        text
    }

    /// Waits for the gateway, performs the plan under load, and returns the report. Calls `progress` several
    /// times per second.
    ///
    /// # Errors
    /// If the gateway does not reply in time or ends during the drill, or if the sandbox cannot generate a
    /// key: see [`DrillError`].
    pub async fn run(mut self, progress: impl FnMut(&Progress)) -> Result<Report, DrillError> {
        let app = self.app.take();
        let is_in_process = app.is_some();
        let serving = async {
            match app {
                // Any end is a failure, because nothing requested a shutdown.
                Some(app) => drop(app.run(std::future::pending::<Shutdown>()).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = serving => Err(DrillError::GatewayEnded),
            report = self.drill(is_in_process, progress) => report,
        }
    }

    async fn drill(&mut self, is_in_process: bool, mut progress: impl FnMut(&Progress)) -> Result<Report, DrillError> {
        let Self { config, clock, run_id, sandbox, gateway, client, client_process, gateway_records, .. } = self;
        target::wait_until_reachable(client, gateway, clock, client_process.as_mut()).await?;

        let started = clock.now();
        let executor = Executor::new(sandbox, clock, started);
        let load = Load::new(client.clone(), gateway.clone(), config.scenario, Arc::clone(run_id), clock.clone());
        let mut monitor = Monitor::new(sandbox, config.scenario, Arc::clone(run_id), clock.clone(), started);
        let counters = load.counters();
        let plan = plan(config.scenario, config.duration, config.seed);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut work = std::pin::pin!(async {
            let mut load_run = std::pin::pin!(load.run(config.rate, config.duration, started, sender));
            tokio::select! {
                // Events after the end of the load would affect no request.
                () = &mut load_run => {}
                plan_result = executor.run(&plan) => {
                    plan_result?;
                    load_run.await;
                }
            }
            Ok::<_, DrillError>(clock.now() - started)
        });
        let took = loop {
            tokio::select! {
                result = &mut work => break result?,
                () = clock.sleep(MONITOR_INTERVAL) => progress(&monitor.update(&counters, config.duration, &executor)),
            }
        };
        progress(&monitor.update(&counters, config.duration, &executor));

        let replies: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        let gateway_records =
            if is_in_process { Some(last_records(gateway_records, replies.len(), clock).await) } else { None };
        let (calls, unread_calls, requested) = monitor.finish();
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
            key_set_requested: requested.key_set,
            token_requested: requested.token,
            client_ended: client_process.as_mut().and_then(|client| Some(client.exit_status()?.to_string())),
        };
        Ok(Report::new(config, gateway.as_str(), &sandbox.url(), &observations))
    }
}

/// Returns the access records of `replies` requests.
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
    // A request that never reached the gateway has no record; the score reports it.
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
