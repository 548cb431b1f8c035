//! What an operator may say about the credentials, and what holds when he says nothing.

use std::time::Duration;

use url::Url;

use crate::secret::SecretSource;
use crate::static_credential::StaticCredential;

/// A token request as a whole, from connecting to the last byte: ten times what a slow one needs.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits when no token is in hand: as long as one token request may take.
pub(crate) const WAIT: Duration = FETCH_TIMEOUT;

/// The members of a token request that are ours to set, so that no extra member may bear their names.
pub(crate) const RESERVED_MEMBERS: [&str; 3] = ["client_id", "client_secret", "grant_type"];

/// `[upstream.credentials]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// Credentials by the client credentials grant (RFC 6749 section 4.4).
    ClientCredentials(ClientCredentials),
    /// A fixed value in a header.
    Static(StaticCredential),
    /// Nothing is put on a request.
    None,
}

/// How to ask for tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCredentials {
    /// The token endpoint.
    pub url: Url,
    /// Who we are.
    pub client_id: String,
    /// Read anew for each request, so that a rotated one needs no restart.
    pub client_secret: SecretSource,
    /// How the request is written.
    pub format: Format,
    /// Further members, such as `scope`. Nothing secret: they are printed with the configuration.
    /// One that bears a name of [`RESERVED_MEMBERS`] is not sent.
    pub extra: Vec<(String, String)>,
    /// The whole of one token request. Default [`FETCH_TIMEOUT`].
    pub fetch_timeout: Duration,
    /// How long a request waits for a token when none is in hand. Default [`WAIT`].
    pub wait: Duration,
}

/// How a token request is written.
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
    /// The defaults: a JSON request, no further members.
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
