//! `jwe-gateway seal`: JSON from stdin, a compact JWE on stdout. What the gateway would send,
//! for scripts and for testing against other implementations.

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
