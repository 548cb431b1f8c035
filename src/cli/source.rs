//! Where a command finds a JWK Set: at a URL or in a file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::failure::Failure;
use crate::clock::{Clock, Jitter};
use crate::config::{Environment, passes_in_clear, proxy_of_environment};
use crate::keys::{self, Keys, Source};
use crate::secret::SecretSource;
use crate::upstream::Connector;

/// The arguments of the commands that seal or look at keys.
#[derive(clap::Args)]
pub(super) struct KeySource {
    /// The provider's JWK Set, such as `https://api.flanks.io/.well-known/jwks.json`
    #[arg(long, value_name = "URL|FILE", value_parser = Location::from_str)]
    jwks: Location,
    /// PEM certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A file with a key to present as `Authorization: Bearer`, where an egress serves the set to its callers
    #[arg(long, value_name = "FILE")]
    bearer_file: Option<PathBuf>,
    /// Use only this key: a kid or an RFC 7638 thumbprint (may be repeated)
    #[arg(long, value_name = "KEY")]
    pin: Vec<String>,
}

impl KeySource {
    /// The keys, fetched.
    pub(super) async fn fetch(self) -> Result<Keys, Failure> {
        if let (Some(_), Source::Url(url)) = (&self.bearer_file, &self.jwks.0)
            && passes_in_clear(url)
        {
            return Err(Failure::new("a key is not sent over http to another machine: use https"));
        }
        let (proxy, _) = proxy_of_environment(&Environment::of_process()).map_err(Failure::config)?;
        let http = Connector::new(self.ca_file.as_deref())?.with_proxy(proxy).control_client()?;
        let name = self.jwks.to_string();
        let mut config = keys::Config::new(self.jwks.0);
        config.pin = self.pin;
        config.credential = self.bearer_file.map(|file| keys::Credential {
            header: http::header::AUTHORIZATION,
            prefix: "Bearer ".to_owned(),
            secret: SecretSource::File(file),
        });
        let keys = Keys::new(&name, config, http, Clock::system(), Jitter::random());
        keys.refresh().await.map_err(Failure::unavailable)?;
        Ok(keys)
    }
}

/// A URL when it looks like one, a file otherwise.
#[derive(Clone, Debug)]
pub(super) struct Location(pub(super) Source);

/// What logs may say of it: of a URL the host, since the rest may hold secrets.
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
