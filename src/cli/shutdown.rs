//! `jwe-gateway shutdown`: asks a running gateway to shut down in order, as SIGTERM does.

use std::time::Duration;

use http::StatusCode;

use super::admin_client::VerbArguments;
use super::failure::Failure;
use super::output;

const LIMIT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    verb: VerbArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = arguments.verb.client().await?;
    let answer = client.post("/shutdown", LIMIT).await?;
    if answer.status != StatusCode::ACCEPTED {
        return Err(Failure::new(format!("{client} refused the shutdown: {}", answer.refusal())));
    }
    output::text("stopping\n");
    Ok(())
}
