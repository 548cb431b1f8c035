//! The settings of `[upstream.credentials]` and their defaults.

use std::path::Path;
use std::time::Duration;

use url::Url;

use crate::secret::SecretSource;
use crate::static_credential::StaticCredential;

/// Limit for a whole token request, from the connection to the last byte. Ten times as long as a slow one takes.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits if there is no token: as long as one token request may take.
pub(crate) const WAIT: Duration = FETCH_TIMEOUT;

/// The members of a token request that the gateway sets itself. Extra members must have other names.
pub(crate) const RESERVED_MEMBERS: [&str; 3] = ["client_id", "client_secret", "grant_type"];

/// `[upstream.credentials]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// Tokens by the client credentials grant (RFC 6749 section 4.4).
    ClientCredentials(ClientCredentials),
    /// A fixed value in a header.
    Static(StaticCredential),
    /// Requests get no credential.
    None,
}

impl Config {
    /// Where the secret is read from.
    pub(super) fn secret(&self) -> Option<&SecretSource> {
        match self {
            Self::ClientCredentials(config) => Some(&config.client_secret),
            Self::Static(config) => Some(&config.secret),
            Self::None => None,
        }
    }

    /// The file of the secret, if it is not given by value.
    pub(super) fn secret_file(&self) -> Option<&Path> {
        self.secret().and_then(SecretSource::file)
    }
}

/// How to request tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCredentials {
    /// The token endpoint.
    pub url: Url,
    /// The client id.
    pub client_id: String,
    /// The secret. It is read for each token request, so a rotated one needs no restart.
    pub client_secret: SecretSource,
    /// The format of the request.
    pub format: Format,
    /// Further members, such as `scope`. They are printed with the configuration, so they must not be secret. Members
    /// named in [`RESERVED_MEMBERS`] are not sent.
    pub extra: Vec<(String, String)>,
    /// Limit for a whole token request. Default [`FETCH_TIMEOUT`].
    pub fetch_timeout: Duration,
    /// How long a request waits if there is no token. Default [`WAIT`].
    pub wait: Duration,
}

/// The format of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object, as Flanks documents it.
    Json,
    /// A form with the secret in the body (RFC 6749 section 2.3.1, second form).
    Form,
    /// A form with the secret in `Authorization: Basic` (RFC 6749 section 2.3.1, first form).
    Basic,
}

impl ClientCredentials {
    /// The defaults: a JSON request without further members.
    #[must_use]
    pub fn new(url: Url, client_id: String, client_secret: SecretSource) -> Self {
        Self {
            url,
            client_id,
            client_secret,
            format: Format::Json,
            extra: Vec::new(),
            fetch_timeout: FETCH_TIMEOUT,
            wait: WAIT,
        }
    }
}
