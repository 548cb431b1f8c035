//! `jwe-gateway open`: reads a compact JWE from stdin and writes its content to stdout. It needs private
//! keys, such as those of a sandbox.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::failure::Failure;
use super::output;
use super::source::Location;
use crate::error_chain;
use crate::jose::{DecryptionKey, open};
use crate::keys::Source;
use crate::upstream::Connector;

/// Private keys are on this machine or a near one, so a fetch is fast or fails.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// JWK Set with private keys, such as http://127.0.0.1:8091/keys/private of a sandbox
    #[arg(long, value_name = "URL|FILE")]
    keys: Location,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let set = load(&arguments.keys.0).await?;
    let Some(jwks) = set["keys"].as_array() else {
        return Err(Failure::new("--keys: not a JWK Set: it has no array `keys`"));
    };
    let keys = jwks.iter().map(DecryptionKey::from_jwk).collect::<Result<Vec<DecryptionKey>, _>>();
    let keys =
        keys.map_err(|error| Failure::new(format!("--keys: a key of the set is not a usable private key: {error}")))?;
    let mut message = Vec::new();
    tokio::io::stdin().read_to_end(&mut message).await?;
    let opened = open(message.trim_ascii_end(), &keys)?;
    output::bytes(&opened.plaintext)?;
    Ok(())
}

async fn load(source: &Source) -> Result<Value, Failure> {
    let bytes = match source {
        Source::File(path) => {
            let failure = |error| Failure::new(format!("--keys: {}: {error}", path.display()));
            tokio::fs::read(path).await.map_err(failure)?
        }
        Source::Url(url) => {
            let unavailable =
                |error: reqwest::Error| Failure::unavailable(format!("--keys: {}", error_chain::chain(&error)));
            let fetch = Connector::new(None)?.control_client()?.get(url.clone()).timeout(FETCH_TIMEOUT).send();
            let response = fetch.await.and_then(reqwest::Response::error_for_status).map_err(unavailable)?;
            response.bytes().await.map_err(unavailable)?.to_vec()
        }
    };
    // The text of a JSON error contains nothing of the private keys.
    serde_json::from_slice(&bytes).map_err(|error| Failure::new(format!("--keys: not JSON: {error}")))
}
