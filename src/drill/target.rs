//! The sandbox, and who is drilled against it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use tokio::sync::mpsc;
use url::Url;

use super::{Config, DrillError, Target, load};
use crate::app::{App, Dependencies};
use crate::clock::Clock;
use crate::gateway::access_log::Record;
use crate::sandbox::{Options, Sandbox};
use crate::secret::{Secret, SecretSource};

/// How long another's gateway may take to be there, started by hand if need be.
pub(super) const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks whether it is there.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Of the key set, where the gateway must see changes by itself: a drill of twenty seconds stands
/// for hours, so its five minutes are two seconds.
const SHORT_MAX_AGE: Duration = Duration::from_secs(2);

/// A token outlives the drill by this. It is renewed at half to three quarters of its life, so
/// within an outage that takes most of the drill, and is good to the end without.
const TOKEN_OUTLIVES: Duration = Duration::from_secs(5);

/// Made up once and for all, so that a gateway can be set up before the sandbox is there. Worth
/// nothing elsewhere.
const EXTERNAL_SECRET: &str = "drill-secret";

/// One request as the gateway in this process recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GatewayRecord {
    /// Which one.
    pub(super) number: u64,
    /// Whether it was sealed again after the provider's refusal of the key.
    pub(super) resealed: bool,
    /// Whether it was sent again after the provider's refusal of the token.
    pub(super) resent: bool,
    /// How it looked to the gateway, for a trace.
    pub(super) trace: String,
}

/// Everything around the load.
pub(super) struct RunningTarget {
    pub(super) sandbox: Sandbox,
    pub(super) gateway: Url,
    /// Not when the gateway is another's.
    pub(super) app: Option<App>,
    pub(super) gateway_records: mpsc::UnboundedReceiver<GatewayRecord>,
}

/// Starts what there is to start.
pub(super) async fn setup(config: &Config, run: &Arc<str>, clock: &Clock) -> Result<RunningTarget, DrillError> {
    let (sender, gateway_records) = mpsc::unbounded_channel();
    let mut options = Options { clock: clock.clone(), ..Options::default() };
    if config.scenario.needs_refreshes() {
        options.max_age = SHORT_MAX_AGE;
        options.token_lifetime = config.duration + TOKEN_OUTLIVES;
    }
    if let Target::External { gateway, listen, management } = &config.target {
        options.address = *listen;
        options.management = *management;
        options.client_secret = Some(EXTERNAL_SECRET.to_owned());
        let sandbox = Sandbox::start(options).await?;
        return Ok(RunningTarget { sandbox, gateway: gateway.clone(), app: None, gateway_records });
    }
    let sandbox = Sandbox::start(options).await?;
    let run = Arc::clone(run);
    let observer = Arc::new(move |record: &Record| {
        if let Some(number) = load::parse_request_id(&run, record.request_id.as_str()) {
            // The drill that no longer listens has been given up.
            let _ = sender.send(GatewayRecord::of(number, record));
        }
    });
    let dependencies = Dependencies { clock: clock.clone(), observers: vec![observer], ..Dependencies::default() };
    let app = App::build(for_sandbox(&sandbox)?, dependencies).await?;
    let gateway = format!("http://{}", app.address()?);
    Ok(RunningTarget { sandbox, gateway: parsed(&gateway)?, app: Some(app), gateway_records })
}

/// Waits until the gateway gives the provider's 200; when that takes too long, until it gave any
/// answer at all, since what is wrong with it is then the drill's to say.
pub(super) async fn wait_until_reachable(
    client: &reqwest::Client,
    gateway: &Url,
    clock: &Clock,
) -> Result<(), DrillError> {
    let deadline = clock.now() + REACH_TIMEOUT;
    let mut last = None;
    while clock.now() < deadline {
        let probe =
            client.post(load::endpoint_url(gateway)).header(CONTENT_TYPE, "application/json").timeout(REACH_TIMEOUT);
        match probe.body(r#"{"credentials_token":"sandbox-credentials-1"}"#).send().await {
            Ok(reply) if reply.status() == 200 => return Ok(()),
            Ok(_) => last = None,
            Err(error) => last = Some(load::describe(error)),
        }
        clock.sleep(POLL_INTERVAL).await;
    }
    match last {
        None => Ok(()),
        Some(reason) => Err(DrillError::Unreachable { gateway: gateway.to_string(), within: REACH_TIMEOUT, reason }),
    }
}

impl GatewayRecord {
    fn of(number: u64, record: &Record) -> Self {
        let reply = match (record.refusal, record.status) {
            (Some(code), _) => format!("refused: {}", code.row().code),
            (None, Some(status)) => format!("relayed {}", status.as_u16()),
            (None, None) => "no answer".to_owned(),
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

/// The gateway as it is by default, but for where it listens and how short a key set's life may
/// be.
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
