//! The identity of a caller, as far as its connection proves it.

use std::sync::Arc;

/// The peer of a connection. Without TLS it has no names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    names: Option<Arc<[String]>>,
}

impl Peer {
    /// A peer whose verified certificate has these subject alternative names (DNS and URI).
    #[must_use]
    pub(crate) fn certified(names: Vec<String>) -> Self {
        Self { names: Some(names.into()) }
    }

    /// The names of its certificate; empty if it presented none.
    #[must_use]
    pub(crate) fn names(&self) -> &[String] {
        self.names.as_deref().unwrap_or_default()
    }
}
