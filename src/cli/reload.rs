//! `jwe-gateway reload`: asks a running gateway to read its configuration again, and prints what has changed.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::admin_client::VerbArguments;
use super::failure::Failure;
use super::output;

/// Longer than the gateway's own limit for a reload.
const LIMIT: Duration = Duration::from_secs(70);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    verb: VerbArguments,
}

/// The answer to `POST /reload`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Report {
    changed: Vec<String>,
    unchanged: usize,
    needs_restart: Vec<String>,
    failed: Vec<String>,
    faults: Vec<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = arguments.verb.client().await?;
    let answer = client.post("/reload", LIMIT).await?;
    if !matches!(answer.status, StatusCode::OK | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) {
        return Err(Failure::new(format!("{client} refused the reload: {}", answer.refusal())));
    }
    let report: Report = serde_json::from_str(&answer.body)
        .map_err(|error| Failure::new(format!("{client} answered something that is not a report: {error}")))?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::CONFLICT => return Err(Failure::new(format!("not reloaded: {}", report.faults.join("; ")))),
        _ => {
            let faults = report.faults.join("\n");
            return Err(Failure::config(format!("not reloaded; the former configuration stays in use\n{faults}")));
        }
    }
    let changed = if report.changed.is_empty() { "nothing".to_owned() } else { report.changed.join(", ") };
    output::text(format_args!("reloaded; changed: {changed}; unchanged: {}\n", report.unchanged));
    for setting in &report.needs_restart {
        output::note(format_args!("warning: {setting} has changed and needs a restart"));
    }
    match report.failed.as_slice() {
        [] => Ok(()),
        failed => {
            Err(Failure::new(format!("reloaded, but these parts failed and are tried again:\n{}", failed.join("\n"))))
        }
    }
}
