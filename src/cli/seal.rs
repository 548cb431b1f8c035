//! `jwe-gateway seal`: JSON from stdin, a compact JWE on stdout. What the gateway would send,
//! for scripts and for testing against other implementations.

use std::process::ExitCode;

use tokio::io::AsyncReadExt;

use super::source::KeySource;
use super::{exit, output};
use crate::jose::{Plaintext, seal};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: KeySource,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let keys = match arguments.source.keys() {
        Ok(keys) => keys,
        Err(error) => return output::fail(1, &error),
    };
    if let Err(error) = keys.refresh().await {
        return output::fail(exit::UNAVAILABLE, &error);
    }
    let key = match keys.current().await {
        Ok(key) => key,
        Err(error) => return output::fail(exit::UNAVAILABLE, &error),
    };
    let mut body = Vec::new();
    if let Err(error) = tokio::io::stdin().read_to_end(&mut body).await {
        return output::fail(1, &error);
    }
    let plaintext = match Plaintext::json(body.into()) {
        Ok(plaintext) => plaintext,
        Err(error) => return output::fail(1, &error),
    };
    let message = match seal(&plaintext, &key).and_then(|message| message.into_bytes()) {
        Ok(message) => message,
        Err(error) => return output::fail(1, &error),
    };
    match output::bytes(&message) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(1, &error),
    }
}
