//! The provider's side, and the only place that builds an HTTP client.
//!
//! [`UpstreamClient::send`] takes an [`Outgoing`] body. An `Outgoing` is made of a sealed message or of
//! nothing; it cannot be made of bytes. Sending a plaintext body by mistake does not compile. The
//! one exception needs an [`InClear`] permit, which only an upstream with `encryption = "off"` has.
//!
//! The provider's address comes from the configuration alone. Redirects are relayed like any other
//! reply and never followed, so neither credentials nor bodies reach another host.
//!
//! A request is sent again only if the provider cannot have processed it: see [`resend`]. Any other second
//! attempt is the decision of the exchange.

mod body;
mod client;
mod connection;
mod identity;
mod probe;
mod proxy;
mod resend;
mod send;
mod turn;

pub(crate) use body::{InClear, Outgoing, SealTime};
pub use client::Connector;
pub(crate) use client::ConnectorError;
pub use connection::ProviderPeer;
pub(crate) use identity::BadIdentity;
pub use identity::Identity;
pub(crate) use probe::{Probe, ProbeError};
pub use proxy::Proxy;
pub(crate) use send::{Head, SendError, UpstreamClient};

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The default limit for DNS, TCP and TLS together. A provider that does not complete a handshake in
/// five seconds is down; a longer wait only makes more callers wait.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// The default limit for a reply's head: the provider's own client library waits a minute.
pub(crate) const REPLY: Duration = Duration::from_secs(60);

/// The default limit between two pieces of a reply's body.
pub(crate) const IDLE: Duration = Duration::from_secs(30);

/// The default limit for the idle time of a connection. Node, uvicorn and Apache close a connection that is
/// idle for five seconds. The gateway closes first, so that it writes no request to a connection that the provider
/// is closing.
pub(crate) const POOL_IDLE: Duration = Duration::from_secs(4);

/// The default limit for the age of a connection. A name that moves to another address is followed within this
/// time, also under steady traffic. The cost is one handshake in five minutes.
pub(crate) const CONNECTION_MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// The interval of HTTP/2 pings, and the limit for their answer. A provider that vanished without closing its
/// connection costs the requests of ten seconds, and not of a minute. A ping has 17 octets.
pub(crate) const PING: Duration = Duration::from_secs(5);

/// `[[upstream]]`: where the provider is, and how long the gateway waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Scheme, authority and, if the API is not at the root, a base path.
    pub url: Url,
    /// Whether bodies are sent in clear (`encryption = "off"`).
    pub in_clear: bool,
    /// A PEM file of certificates that are trusted in addition to the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The client certificate, for a provider that asks for one.
    pub identity: Option<Identity>,
    /// The proxy to use.
    pub proxy: Option<Proxy>,
    /// Limit for DNS, TCP, TLS and the proxy together.
    pub connect: Duration,
    /// Limit from the start of sending a request to the head of its reply.
    pub reply: Duration,
    /// Limit between two pieces of a reply's body.
    pub idle: Duration,
    /// Limit for the idle time of a connection that is kept for further requests.
    pub pool_idle: Duration,
    /// Limit for the age of a connection that is used for further requests.
    pub connection_max_age: Duration,
    /// The interval of HTTP/2 pings while requests are in progress, and the limit for their answer. Not a setting
    /// of the file.
    pub ping: Duration,
}

impl Config {
    /// Returns the defaults for the provider at `url`.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            in_clear: false,
            ca_file: None,
            identity: None,
            proxy: None,
            connect: CONNECT,
            reply: REPLY,
            idle: IDLE,
            pool_idle: POOL_IDLE,
            connection_max_age: CONNECTION_MAX_AGE,
            ping: PING,
        }
    }
}
