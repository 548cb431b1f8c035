//! `jwe-gateway health` and `jwe-gateway wait`: whether a running gateway is ready, now or within a time.
//!
//! Both end with 0 or 1 only, also if nothing answers: a container's health check knows no other codes.

use std::time::Duration;

use http::{Method, StatusCode};
use jiff::fmt::friendly::SpanParser;
use serde::Deserialize;
use tokio::time::Instant;

use super::admin_client::{AdminArguments, AdminClient, Answer};
use super::failure::Failure;
use super::output;

/// The limit for one answer. A health check that takes longer is a failed one.
const LIMIT: Duration = Duration::from_secs(3);

/// The pause between two questions of `wait`.
const INTERVAL: Duration = Duration::from_millis(100);

/// A gateway fetches its first key set and token in a second or two. A provider that is down may be back in a minute.
const TIMEOUT: &str = "60s";

#[derive(clap::Args)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// Ask /livez instead of /readyz: whether the process responds, also if the provider is down
    #[arg(long)]
    live: bool,
}

#[derive(clap::Args)]
pub(super) struct WaitArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = TIMEOUT, value_parser = duration)]
    timeout: Duration,
}

pub(super) async fn run(arguments: HealthArguments) -> Result<(), Failure> {
    let client = arguments.admin.client()?;
    let path = if arguments.live { "/livez" } else { "/readyz" };
    ask(&client, path, LIMIT).await.map_err(Failure::new)?;
    output::text(if arguments.live { "alive\n" } else { "ready\n" });
    Ok(())
}

pub(super) async fn wait(arguments: WaitArguments) -> Result<(), Failure> {
    let client = arguments.admin.client()?;
    let deadline = Instant::now() + arguments.timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Err(reason) = ask(&client, "/readyz", LIMIT.min(left)).await else {
            output::text("ready\n");
            return Ok(());
        };
        if deadline.saturating_duration_since(Instant::now()) < INTERVAL {
            return Err(Failure::new(format!("not ready within {} s: {reason}", arguments.timeout.as_secs_f64())));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Returns why the answer is not 200.
async fn ask(client: &AdminClient, path: &str, limit: Duration) -> Result<(), String> {
    let answer = client.send(Method::GET, path, limit).await.map_err(|error| error.to_string())?;
    if answer.status == StatusCode::OK { Ok(()) } else { Err(reason(&answer)) }
}

/// What is missing, as `/readyz` lists it.
fn reason(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Readiness {
        missing: Vec<String>,
    }
    match serde_json::from_str::<Readiness>(&answer.body) {
        Ok(Readiness { missing }) => missing.join("; ").escape_debug().to_string(),
        Err(_) => answer.refusal(),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = SpanParser::new().parse_unsigned_duration(text);
    duration.map_err(|_| "not a duration: write a number and a unit, such as 30s".to_owned())
}
