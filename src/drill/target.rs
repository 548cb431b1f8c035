//! Starts the sandbox and the gateway under test.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use tokio::sync::mpsc;
use url::Url;

use super::client_process::ClientProcess;
use super::request_kind::RequestKind;
use super::{Config, DrillError, Target, load};
use crate::app::{App, Dependencies};
use crate::clock::Clock;
use crate::gateway::access_log::Record;
use crate::sandbox::{Options, Sandbox};
use crate::secret::{Secret, SecretSource};

/// The time limit for the first reply of an external gateway, which a person may have to start.
pub(super) const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// The time that an external client may take from its first reply to its first 200. A client that never gets one is
/// drilled too: the report says why.
const FIRST_200_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two attempts to reach the gateway.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The `max-age` of the key set in scenarios where the gateway must notice changes by itself. A drill of
/// twenty seconds stands for hours of operation, so two seconds stand for the usual five minutes.
const SHORT_MAX_AGE: Duration = Duration::from_secs(2);

/// The token lifetime exceeds the drill by this. Then the gateway renews its token at half to three quarters
/// of the drill, within a long outage, but the old token stays valid until the end.
const TOKEN_OUTLIVES: Duration = Duration::from_secs(5);

/// A fixed secret, so that an external gateway can be configured before the sandbox runs. It is valid in this
/// sandbox only.
const EXTERNAL_SECRET: &str = "drill-secret";

/// One request as recorded by the gateway in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GatewayRecord {
    /// The number in the request's body.
    pub(super) number: u64,
    /// Whether the gateway sealed it again because the provider refused the key.
    pub(super) resealed: bool,
    /// Whether the gateway sent it again because the provider refused the token.
    pub(super) resent: bool,
    /// A summary of the access record.
    pub(super) trace: String,
}

/// The sandbox and the gateway, running.
pub(super) struct RunningTarget {
    pub(super) sandbox: Sandbox,
    pub(super) gateway: Url,
    /// `None` for an external gateway.
    pub(super) app: Option<App>,
    /// The external client, if the drill started it.
    pub(super) client_process: Option<ClientProcess>,
    pub(super) gateway_records: mpsc::UnboundedReceiver<GatewayRecord>,
}

pub(super) async fn setup(config: &Config, run: &Arc<str>, clock: &Clock) -> Result<RunningTarget, DrillError> {
    let (sender, gateway_records) = mpsc::unbounded_channel();
    let mut options = Options { clock: clock.clone(), require_sealed: true, ..Options::default() };
    if config.scenario.needs_refreshes() {
        options.max_age = SHORT_MAX_AGE;
        options.token_lifetime = config.duration + TOKEN_OUTLIVES;
    }
    if let Target::External { url, listen, management, allow_remote_management, command } = &config.target {
        options.address = *listen;
        options.management = *management;
        options.allow_remote_management = *allow_remote_management;
        options.client_secret = Some(EXTERNAL_SECRET.to_owned());
        let sandbox = Sandbox::start(options).await?;
        let client_process = match command.as_slice() {
            [] => None,
            command => Some(ClientProcess::start(command, &sandbox, url).map_err(DrillError::Command)?),
        };
        return Ok(RunningTarget { sandbox, gateway: url.clone(), app: None, client_process, gateway_records });
    }
    let sandbox = Sandbox::start(options).await?;
    let run = Arc::clone(run);
    let observer = Arc::new(move |record: &Record| {
        if let Some(number) = load::parse_request_id(&run, record.request_id.as_str()) {
            // A closed channel means that the drill was cancelled.
            let _ = sender.send(GatewayRecord::of(number, record));
        }
    });
    let dependencies = Dependencies { clock: clock.clone(), observers: vec![observer], ..Dependencies::default() };
    let app = App::build(for_sandbox(&sandbox)?, dependencies).await?;
    let gateway = format!("http://{}", app.address()?);
    Ok(RunningTarget { sandbox, gateway: parsed(&gateway)?, app: Some(app), client_process: None, gateway_records })
}

/// Waits until the gateway relays a 200 from the provider. Some time after its first reply any other reply is enough:
/// the drill then reports the gateway's fault.
pub(super) async fn wait_until_reachable(
    client: &reqwest::Client,
    gateway: &Url,
    clock: &Clock,
    mut process: Option<&mut ClientProcess>,
) -> Result<(), DrillError> {
    let mut deadline = clock.now() + REACH_TIMEOUT;
    let mut has_replied = false;
    let mut last_error = None;
    while clock.now() < deadline {
        if let Some(status) = process.as_mut().and_then(|process| process.exit_status()) {
            return Err(DrillError::ClientEnded(status));
        }
        let url = load::endpoint_url(gateway, RequestKind::Valid);
        // Not longer than the deadline: a client may accept the connection and not reply.
        let remaining = deadline.saturating_duration_since(clock.now());
        let probe = client.post(url).header(CONTENT_TYPE, "application/json").timeout(remaining);
        match probe.body(r#"{"credentials_token":"sandbox-credentials-1"}"#).send().await {
            Ok(reply) if reply.status() == 200 => return Ok(()),
            Ok(_) => {
                last_error = None;
                if !has_replied {
                    has_replied = true;
                    deadline = deadline.min(clock.now() + FIRST_200_LIMIT);
                }
            }
            Err(error) => last_error = Some(load::describe(error)),
        }
        clock.sleep(POLL_INTERVAL).await;
    }
    match last_error {
        None => Ok(()),
        Some(reason) => Err(DrillError::Unreachable { gateway: gateway.to_string(), within: REACH_TIMEOUT, reason }),
    }
}

impl GatewayRecord {
    fn of(number: u64, record: &Record) -> Self {
        let reply = match (record.refusal, record.status) {
            (Some(code), _) => format!("refused: {}", code.row().code),
            (None, Some(status)) => format!("relayed {}", status.as_u16()),
            (None, None) => "no reply".to_owned(),
        };
        let Record { attempts, resealed, resent, duration, outcome, .. } = record;
        let trace = format!(
            "{reply}, {}, attempts {attempts}, resealed {resealed}, resent {resent}, {:.0} ms",
            outcome.as_str(),
            duration.as_secs_f64() * 1e3
        );
        Self { number, resealed: *resealed, resent: *resent, trace }
    }
}

/// The default configuration of the gateway, except that its minimum lifetime of a key set is as short as the
/// drill needs.
fn for_sandbox(sandbox: &Sandbox) -> io::Result<crate::config::Config> {
    let secret = SecretSource::Value(Secret::new(sandbox.client_secret().to_owned()));
    let url = parsed(&sandbox.url())?;
    let mut config = crate::config::Config::for_one("sandbox", url, sandbox.client_id().to_owned(), secret);
    for upstream in &mut config.upstreams {
        upstream.keys.min_lifetime = SHORT_MAX_AGE;
    }
    Ok(config)
}

fn parsed(url: &str) -> io::Result<Url> {
    url.parse().map_err(io::Error::other)
}
