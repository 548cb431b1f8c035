//! `[listen]`, `[limits]` and `[deadlines]`, with every default and its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::request::trace_context::Sampler;
use super::server::tls::TlsFiles;
use super::{access_log, callers};
use crate::secret::SecretSource;
use crate::socket::Address;

/// Loopback, because the gateway sends its own credential for any client that can connect.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// A connection buffers at most 64 KiB with HTTP/1.1, and 256 KiB with HTTP/2. 4096 connections
/// buffer at most 256 MiB, or 1 GiB.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// A quarter. No address can keep the others out, and a load balancer or NAT in front of all callers rarely needs
/// more.
pub(crate) const ADDRESS_FRACTION: usize = 4;

/// The largest documented body is a letter with its PDF in Base64. 20 MiB must pass.
pub(crate) const MAX_BODY: usize = 32 * 1024 * 1024;

/// Eight bodies of the maximum size, or thousands of ordinary ones.
pub(crate) const BUFFERED: usize = 256 * 1024 * 1024;

/// More than one provider serves to one client at once. Beyond that, waiting does not help.
pub(crate) const IN_FLIGHT: usize = 1024;

/// hyper's own default.
pub(crate) const HEAD: Duration = Duration::from_secs(30);

/// Long enough for the largest body at 5 Mbit/s.
pub(crate) const BODY: Duration = Duration::from_secs(60);

/// A caller that reads nothing of its response for so long is gone, or not working.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// Time for the reply to a script that closes its sending side after the request. Most callers that close are
/// gone, and their permits should not wait for the provider's reply.
pub(crate) const HALF_CLOSE_GRACE: Duration = Duration::from_secs(10);

/// Shorter than the sum of all steps (body, key, token and up to three attempts, each at its own limit). A
/// caller that has waited for two minutes has given up.
pub(crate) const EXCHANGE: Duration = Duration::from_secs(120);

/// Load balancers check health every few seconds. A sidecar can set 0.
pub(crate) const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// Kubernetes grants 30 s by default, and `drain_delay` comes off that.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

/// The gateway's own settings. Upstreams have theirs elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[listen]`.
    pub listen: Listen,
    /// `[limits]`.
    pub limits: Limits,
    /// `[deadlines]`.
    pub deadlines: Deadlines,
    /// `access` and `access_sample` of `[log]`.
    pub access_log: access_log::Config,
    /// Which traces are exported. None if spans are not exported.
    pub sampler: Option<Sampler>,
    /// `[[caller]]`. If empty, any client that can connect is served.
    pub callers: Vec<callers::Config>,
    /// The secret for emulated tokens, shared by replicas. If none, tokens are valid in this process only.
    pub token_key: Option<SecretSource>,
}

/// `[listen]`: where callers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A TCP address or a unix socket.
    pub address: Address,
    /// Concurrent connections. For a further one, the connection that is idle for longest is closed.
    pub max_connections: usize,
    /// Concurrent connections from one IPv4 address or one IPv6 /64 network, except loopback.
    pub connections_per_address: usize,
    /// The TLS files. If none, callers use HTTP/1.1 without TLS.
    pub tls: Option<TlsFiles>,
    /// Whether other processes of the same user can bind the TCP address too.
    pub reuse_port: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: Address::Tcp(ADDRESS),
            max_connections: MAX_CONNECTIONS,
            connections_per_address: MAX_CONNECTIONS / ADDRESS_FRACTION,
            tls: None,
            reuse_port: false,
        }
    }
}

/// `[limits]`: how much the gateway accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of one request body, in bytes.
    pub max_body: usize,
    /// The size of all buffered bodies together, in bytes.
    pub buffered: usize,
    /// Requests in flight.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body: MAX_BODY, buffered: BUFFERED, in_flight: IN_FLIGHT }
    }
}

/// `[deadlines]`: how long each step may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For the head of a request, and the time that an idle connection is kept.
    pub head: Duration,
    /// For the whole body of a request.
    pub body: Duration,
    /// For a caller to read the next part of its response.
    pub stall: Duration,
    /// From the end of a caller's sending side to the head of the response.
    pub half_close_grace: Duration,
    /// From the head of the request to the head of the response.
    pub exchange: Duration,
    /// From reporting not ready until the gateway stops accepting.
    pub drain_delay: Duration,
    /// For requests in flight to finish, after the gateway has stopped accepting.
    pub drain: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: HEAD,
            body: BODY,
            stall: STALL,
            half_close_grace: HALF_CLOSE_GRACE,
            exchange: EXCHANGE,
            drain_delay: DRAIN_DELAY,
            drain: DRAIN,
        }
    }
}
