//! The JWK Set that a command reads: at a URL or in a file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::failure::Failure;
use crate::clock::{Clock, Jitter};
use crate::config::{Environment, StaticCredential, passes_in_clear, proxy_of_environment};
use crate::error_chain;
use crate::keys::set::MAX_BYTES;
use crate::keys::{self, FetchErrorKind, Keys, Source};
use crate::secret::SecretSource;
use crate::upstream::Connector;

/// The limit for fetching a JWK Set that a command only reads once.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The arguments that `keys` and `seal` have in common.
#[derive(clap::Args)]
pub(super) struct KeySetArguments {
    /// The provider's JWK Set, such as `https://api.flanks.io/.well-known/jwks.json`
    // `--jwks` is the name that these commands had first.
    #[arg(long, alias = "jwks", value_name = "URL|FILE", value_parser = Location::from_str)]
    keys: Location,
    /// PEM certificates to trust in addition to the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File that holds a caller's key, sent as `Authorization: Bearer` to an egress that serves the set
    #[arg(long, value_name = "FILE")]
    bearer_file: Option<PathBuf>,
    /// Use only this key: a kid or an RFC 7638 thumbprint; may be repeated
    #[arg(long, value_name = "KEY")]
    pin: Vec<String>,
}

impl KeySetArguments {
    /// Fetches the keys.
    pub(super) async fn fetch(self) -> Result<Keys, Failure> {
        if let (Some(_), Source::Url(url)) = (&self.bearer_file, &self.keys.0)
            && passes_in_clear(url)
        {
            return Err(Failure::new(
                "--bearer-file: a key must not be sent over plain http to another machine: use https",
            ));
        }
        let (proxy, _) = proxy_of_environment(&Environment::of_process()).map_err(Failure::config)?;
        let http = Connector::new(self.ca_file.as_deref())?.with_proxy(proxy).control_client()?;
        let name = self.keys.to_string();
        let mut config = keys::Config::new(self.keys.0);
        config.pin = self.pin;
        config.credential = self.bearer_file.map(|file| StaticCredential {
            header: http::header::AUTHORIZATION,
            prefix: "Bearer ".to_owned(),
            secret: SecretSource::File(file),
        });
        let keys = Keys::new(&name, config, http, Clock::system(), Jitter::random(), Arc::default());
        keys.refresh().await.map_err(Failure::unavailable)?;
        Ok(keys)
    }
}

/// A URL if the text begins with `http://` or `https://`, otherwise a file.
#[derive(Clone, Debug)]
pub(super) struct Location(pub(super) Source);

impl Location {
    /// Reads the entries of the JWK Set. `ca_file` has certificates to trust in addition to the system's.
    pub(super) async fn read_jwks(&self, ca_file: Option<&Path>) -> Result<Vec<Value>, Failure> {
        let bytes = match &self.0 {
            Source::File(path) => {
                let failure = |error| Failure::new(format!("--keys: {}: {error}", path.display()));
                let file = tokio::fs::File::open(path).await.map_err(failure)?;
                let bytes = read_at_most(MAX_BYTES, file).await.map_err(failure)?;
                bytes.ok_or_else(|| Failure::new(format!("--keys: {}", FetchErrorKind::TooLarge)))?
            }
            Source::Url(url) => {
                let unavailable =
                    |error: reqwest::Error| Failure::unavailable(format!("--keys: {}", error_chain::chain(&error)));
                let mut connector = Connector::new(ca_file)?;
                // Over plain http a proxy could read the keys, which may be private.
                if url.scheme() == "https" {
                    let (proxy, _) = proxy_of_environment(&Environment::of_process()).map_err(Failure::config)?;
                    connector = connector.with_proxy(proxy);
                }
                let client = connector.control_client()?;
                let fetch = client.get(url.clone()).timeout(FETCH_TIMEOUT).send();
                let response = fetch.await.and_then(reqwest::Response::error_for_status).map_err(unavailable)?;
                keys::read_key_set(response)
                    .await
                    .map_err(|error| Failure::unavailable(format!("--keys: {}", error_chain::chain(&error))))?
            }
        };
        // The text of a JSON error contains nothing of the keys, which may be private.
        let mut set: Value =
            serde_json::from_slice(&bytes).map_err(|error| Failure::new(format!("--keys: not JSON: {error}")))?;
        match set.get_mut("keys").map(Value::take) {
            Some(Value::Array(keys)) => Ok(keys),
            _ => Err(Failure::new("--keys: not a JWK Set: it has no array `keys`")),
        }
    }
}

/// Reads `input` to its end. `None` if it is longer than `limit` bytes.
pub(super) async fn read_at_most(limit: usize, input: impl AsyncRead + Unpin) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // One byte more than the limit shows that the input is too long.
    input.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// For logs: the host of a URL, because the rest may hold a secret, or the path of a file.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Url(url) => f.write_str(url.host_str().unwrap_or_default()),
            Source::File(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for Location {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        Ok(Self(match scheme.as_deref() {
            Some("http" | "https") => Source::Url(text.parse()?),
            _ => Source::File(text.into()),
        }))
    }
}
