//! How the callers' side is set up, with every default and the reason for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::callers;
use super::server::socket::Address;
use super::server::tls::TlsFiles;
use crate::secret::SecretSource;

/// Loopback: the gateway lends its credentials to whoever can connect.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Each connection has a read buffer of at most 64 KiB, with HTTP/2 a window of 256 KiB; those of
/// this many fit a quarter GiB, or one.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// The largest documented body is a letter with its PDF in Base64; 20 MiB of it must pass.
pub(crate) const MAX_BODY: usize = 32 * 1024 * 1024;

/// Eight of the largest bodies at once, or thousands of ordinary ones.
pub(crate) const BUFFERED: usize = 256 * 1024 * 1024;

/// More than one provider will serve to one client; beyond it, waiting helps nobody.
pub(crate) const IN_FLIGHT: usize = 1024;

/// hyper's own default. Also how long an idle connection is kept.
pub(crate) const HEAD: Duration = Duration::from_secs(30);

/// The largest body over a line of 5 Mbit/s.
pub(crate) const BODY: Duration = Duration::from_secs(60);

/// A caller that takes nothing of its answer for so long is gone, or might as well be.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// Body, key, token and up to three attempts, each at its own limit, would be longer; a caller that
/// has waited two minutes has given up.
pub(crate) const EXCHANGE: Duration = Duration::from_secs(120);

/// A load balancer's health check comes every few seconds. A sidecar may set 0.
pub(crate) const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// Within the 30 s that Kubernetes grants by default, less the delay before it.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

/// How the downstream side is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[listen]`.
    pub listen: Listen,
    /// `[limits]`.
    pub limits: Limits,
    /// `[deadlines]`.
    pub deadlines: Deadlines,
    /// `[[caller]]`; none: whoever can connect.
    pub callers: Vec<callers::Config>,
    /// What emulated tokens are made with; none: something that only this process knows.
    pub token_key: Option<SecretSource>,
}

/// `[listen]`: where callers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: Address,
    /// Connections at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// What TLS is made of; without it callers speak HTTP/1.1 in clear.
    pub tls: Option<TlsFiles>,
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: Address::Tcp(ADDRESS), max_connections: MAX_CONNECTIONS, tls: None }
    }
}

/// `[limits]`: how much is taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one body.
    pub max_body: usize,
    /// Bytes of all bodies together.
    pub buffered: usize,
    /// Requests at once.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body: MAX_BODY, buffered: BUFFERED, in_flight: IN_FLIGHT }
    }
}

/// `[deadlines]`: how long each part may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// A request's head, and an idle connection's next one.
    pub head: Duration,
    /// A request's whole body.
    pub body: Duration,
    /// For a caller to take the next piece of its answer.
    pub stall: Duration,
    /// From the end of the head to the head of the reply.
    pub exchange: Duration,
    /// Between saying that we stop and closing the door.
    pub drain_delay: Duration,
    /// For requests in flight to finish after that.
    pub drain: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { head: HEAD, body: BODY, stall: STALL, exchange: EXCHANGE, drain_delay: DRAIN_DELAY, drain: DRAIN }
    }
}
