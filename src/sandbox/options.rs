//! How a sandbox is started.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::clock::Clock;

/// As documented by the provider.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// Long enough that a client which ignores it is not noticed by load alone, short enough that a
/// rotation is not missed for long by one that heeds it.
const MAX_AGE: Duration = Duration::from_secs(300);

/// How a sandbox is started. `Debug` does not show the secret.
#[derive(Clone)]
pub struct Options {
    /// The provider's door. Default: a free port on 127.0.0.1.
    pub address: SocketAddr,
    /// The management door. Default: a free port on 127.0.0.1.
    pub management: SocketAddr,
    /// The one client there is. Default: `sandbox-client`.
    pub client_id: Option<String>,
    /// Its secret. Default: random.
    pub client_secret: Option<String>,
    /// Life of an access token. Default: 1 hour.
    pub token_lifetime: Duration,
    /// `Cache-Control: max-age` of the key set, in whole seconds. Default: 5 minutes.
    pub max_age: Duration,
    /// What tokens, overlaps and dates go by. Default: the machine's clock.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            address: loopback,
            management: loopback,
            client_id: None,
            client_secret: None,
            token_lifetime: TOKEN_LIFETIME,
            max_age: MAX_AGE,
            clock: Clock::system(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("address", &self.address)
            .field("management", &self.management)
            .field("client_id", &self.client_id)
            .field("token_lifetime", &self.token_lifetime)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}
