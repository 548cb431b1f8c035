//! `jwe-gateway seal`: reads JSON from stdin and writes a compact JWE to stdout, as the gateway would send
//! it. For scripts, and for tests with other implementations.

use tokio::io::AsyncReadExt;

use super::failure::Failure;
use super::output;
use super::source::KeySetArguments;
use crate::jose::{Plaintext, seal};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: KeySetArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let keys = arguments.source.fetch().await?;
    let key = keys.current().await.map_err(Failure::unavailable)?;
    let mut body = Vec::new();
    tokio::io::stdin().read_to_end(&mut body).await?;
    let message = seal(&Plaintext::json(body.into())?, &key)?;
    output::bytes(&message.into_bytes()?)?;
    Ok(())
}
