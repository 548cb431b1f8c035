//! `jwe-gateway open`: a compact JWE from stdin, its content on stdout. For whoever holds the
//! private keys: a sandbox's, or a test's.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::source::Location;
use super::{exit, output};
use crate::jose::{DecryptionKey, open};
use crate::keys::Source;
use crate::upstream::Tls;

/// Private key sets are at hand or they are nowhere.
const FETCH: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A JWK Set with private keys, such as a sandbox's management address and /keys/private
    #[arg(long, value_name = "URL|FILE")]
    keys: Location,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let set = match load(&arguments.keys.0).await {
        Ok(set) => set,
        Err(error) => return output::fail(exit::UNAVAILABLE, &format!("--keys: {error:#}")),
    };
    let mut keys = Vec::new();
    let Some(jwks) = set["keys"].as_array() else {
        return output::fail(1, &"--keys: not a JWK Set: it has no array `keys`");
    };
    for jwk in jwks {
        match DecryptionKey::from_jwk(jwk) {
            Ok(key) => keys.push(key),
            Err(why) => return output::fail(1, &format!("--keys: {why}")),
        }
    }
    let mut message = Vec::new();
    if let Err(error) = tokio::io::stdin().read_to_end(&mut message).await {
        return output::fail(1, &error);
    }
    let opened = match open(message.trim_ascii_end(), &keys) {
        Ok(opened) => opened,
        Err(error) => return output::fail(1, &error),
    };
    match output::bytes(&opened.plaintext) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(1, &error),
    }
}

async fn load(source: &Source) -> anyhow::Result<Value> {
    let bytes = match source {
        Source::File(path) => {
            tokio::fs::read(path).await.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?
        }
        Source::Url(url) => {
            let fetch = Tls::new(None)?.control_client()?.get(url.clone()).timeout(FETCH).send();
            fetch.await?.error_for_status()?.bytes().await?.to_vec()
        }
    };
    // The text of a JSON error repeats none of the content, which is private here.
    serde_json::from_slice(&bytes).map_err(Into::into)
}
