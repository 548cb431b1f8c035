//! The options of a sandbox.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::clock::Clock;

/// As the Flanks documentation says.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// Long enough that a test notices a client which fetches the set for each request, short enough that a
/// client which respects it soon learns of a rotation.
const MAX_AGE: Duration = Duration::from_secs(300);

const SEED: u64 = 1;

/// The options of [`Sandbox::start`](super::Sandbox::start). `Debug` omits the secret.
#[derive(Clone)]
pub struct Options {
    /// The address of the provider's API. Default: a free port on 127.0.0.1.
    pub address: SocketAddr,
    /// The address of the management interface. Default: a free port on 127.0.0.1.
    pub management: SocketAddr,
    /// Whether `management` may be an address that other hosts can reach. They then get private keys and the
    /// plaintext of every call without a credential. Default: false.
    pub allow_remote_management: bool,
    /// The `client_id` of the only client. Default: `sandbox-client`.
    pub client_id: Option<String>,
    /// The secret of that client. Default: random.
    pub client_secret: Option<String>,
    /// The lifetime of an access token. Default: 1 hour.
    pub token_lifetime: Duration,
    /// `Cache-Control: max-age` of the key set, rounded down to whole seconds. Default: 5 minutes.
    pub max_age: Duration,
    /// The seed of the simulated data. The same seed gives the same data on the same day. Default: 1.
    pub seed: u64,
    /// Whether a plain JSON body is refused with 415, so that a client that forgets to seal fails. Token requests are
    /// exempt, and the paths of Flinks, which does not accept sealed bodies. Default: false.
    pub require_sealed: bool,
    /// Names that `Host` may have in requests to the management interface, besides `localhost` and addresses. With
    /// `tls` the certificate is also valid for them. Default: none.
    pub allowed_hosts: Vec<String>,
    /// Whether the provider's API uses HTTPS, with a certificate of a new authority:
    /// [`Sandbox::ca_pem`](super::Sandbox::ca_pem). Default: false.
    pub tls: bool,
    /// The clock for token lifetimes, overlaps of keys, delays and dates. Default: the system clock.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            address: loopback,
            management: loopback,
            allow_remote_management: false,
            client_id: None,
            client_secret: None,
            token_lifetime: TOKEN_LIFETIME,
            max_age: MAX_AGE,
            seed: SEED,
            require_sealed: false,
            allowed_hosts: Vec::new(),
            tls: false,
            clock: Clock::system(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("address", &self.address)
            .field("management", &self.management)
            .field("allow_remote_management", &self.allow_remote_management)
            .field("client_id", &self.client_id)
            .field("token_lifetime", &self.token_lifetime)
            .field("max_age", &self.max_age)
            .field("seed", &self.seed)
            .field("require_sealed", &self.require_sealed)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
