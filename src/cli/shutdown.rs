//! `jwe-gateway shutdown`: asks a running gateway to shut down in order, as SIGTERM does.

use std::time::Duration;

use http::{Method, StatusCode};

use super::admin_client::{AdminArguments, TokenArguments};
use super::failure::Failure;
use super::output;
use super::reload::failure;

const LIMIT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    token: TokenArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = arguments.admin.client_with(arguments.token).await?;
    let answer = client.send(Method::POST, "/shutdown", LIMIT).await.map_err(failure)?;
    if answer.status != StatusCode::ACCEPTED {
        return Err(Failure::new(format!("{client} refused the shutdown: {}", answer.refusal())));
    }
    output::text("stopping\n");
    Ok(())
}
