//! The far side: the provider, and the only place that builds an HTTP client.
//!
//! What [`Upstream::send`] takes as a body is an [`Outgoing`], and an `Outgoing` is made of a
//! sealed message or of nothing. There is no way to hand it bytes, so a body that was not
//! sealed cannot leave by mistake: it does not compile. The one exception needs an [`InClear`],
//! which only the upstream of a provider that takes no JWE gives out.
//!
//! The provider's address comes from configuration alone. Redirects are answers like any
//! other; they are never followed, so neither credentials nor bodies reach another host.
//!
//! A request is sent once. The client below repeats it only where no byte of it was written
//! (a pooled connection that the provider had closed meanwhile); whether a request may be
//! sent a second time is the exchange's decision.

mod body;
mod client;
mod identity;
mod probe;
mod proxy;
mod send;

pub(crate) use body::{InClear, Outgoing, SealTime};
pub use client::Connector;
pub(crate) use client::ConnectorError;
pub(crate) use identity::BadIdentity;
pub use identity::Identity;
pub(crate) use probe::{Probe, ProbeError};
pub use proxy::Proxy;
pub(crate) use send::{SendError, Upstream};

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// DNS, TCP and TLS together. A provider that does not shake hands in five seconds is down;
/// waiting longer only piles callers up.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// The provider's own client library waits a minute for an answer.
pub(crate) const REPLY: Duration = Duration::from_secs(60);

/// A reply that has begun and then says nothing for this long is not coming.
pub(crate) const IDLE: Duration = Duration::from_secs(30);

/// `[[upstream]]`: where the provider is and how long we wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Scheme and authority, and a base path when the API does not live at the root.
    pub url: Url,
    /// Whether bodies go there in clear: `encryption = "off"`.
    pub in_clear: bool,
    /// PEM certificates trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show, where the provider wants one.
    pub identity: Option<Identity>,
    /// The proxy on the way there.
    pub proxy: Option<Proxy>,
    /// Limit for DNS, TCP and TLS together, and for the proxy.
    pub connect: Duration,
    /// Limit from handing a request over to the head of its reply.
    pub reply: Duration,
    /// Limit between two pieces of a reply's body.
    pub idle: Duration,
}

impl Config {
    /// The defaults for the provider at `url`.
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
        }
    }
}
