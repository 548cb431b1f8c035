//! A caller, as far as its connection tells: its identity, its address and its TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ProtocolVersion;

/// The peer of a connection. Without TLS it has no names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    names: Option<Arc<[String]>>,
    /// None for a unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// None without TLS.
    pub(crate) tls: Option<ProtocolVersion>,
}

impl Peer {
    /// A peer whose verified certificate has these subject alternative names (DNS and URI).
    #[must_use]
    pub(crate) fn certified(names: Vec<String>) -> Self {
        Self { names: Some(names.into()), ..Self::default() }
    }

    /// The peer with this address.
    #[must_use]
    pub(crate) fn at(self, address: Option<SocketAddr>) -> Self {
        Self { address, ..self }
    }

    /// The peer of a connection with this TLS version.
    #[must_use]
    pub(crate) fn over(self, tls: Option<ProtocolVersion>) -> Self {
        Self { tls, ..self }
    }

    /// The names of its certificate; empty if it presented none.
    #[must_use]
    pub(crate) fn names(&self) -> &[String] {
        self.names.as_deref().unwrap_or_default()
    }
}
