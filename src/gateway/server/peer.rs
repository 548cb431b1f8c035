//! Who is at the other end of a connection, as far as the connection itself tells.

use std::sync::Arc;

use http::Extensions;

/// Travels in the extensions of each request of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    names: Option<Arc<[String]>>,
}

impl Peer {
    /// One that proved by its certificate to be each of `names` (subject alternative names of type
    /// DNS and URI).
    #[must_use]
    pub(crate) fn certified(names: Vec<String>) -> Self {
        Self { names: Some(names.into()) }
    }

    /// The peer that sent the request with these extensions; one that proved nothing when nobody
    /// said.
    #[must_use]
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// The names of its certificate; none when it showed none.
    #[must_use]
    pub(crate) fn names(&self) -> &[String] {
        self.names.as_deref().unwrap_or_default()
    }
}
