//! `jwe-gateway open`: reads a compact JWE from stdin and writes its content to stdout. It needs private
//! keys, such as those of a sandbox.

use tokio::io::AsyncReadExt;

use super::failure::Failure;
use super::output;
use super::source::Location;
use crate::jose::{DecryptionKey, open};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// JWK Set with private keys, such as http://127.0.0.1:8091/keys/private of a sandbox
    #[arg(long, value_name = "URL|FILE")]
    keys: Location,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let jwks = arguments.keys.read_jwks(None).await?;
    let keys = jwks.iter().map(DecryptionKey::from_jwk).collect::<Result<Vec<DecryptionKey>, _>>();
    let keys =
        keys.map_err(|error| Failure::new(format!("--keys: a key of the set is not a usable private key: {error}")))?;
    let mut message = Vec::new();
    tokio::io::stdin().read_to_end(&mut message).await?;
    let opened = open(message.trim_ascii_end(), &keys)?;
    output::bytes(&opened.plaintext)?;
    Ok(())
}
