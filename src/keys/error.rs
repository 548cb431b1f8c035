//! Why there is no key, and why a fetch failed.

use std::io;
use std::time::Duration;

use super::{EntryState, Source};
use crate::error_chain::io_cause;
use crate::static_credential::BadCredential;
use crate::transport_error;

/// There is nothing to seal with. The provider's fault or the operator's, never the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoUsableKey {
    /// No good set was ever in hand: not since the start, and not in the last-known-good file.
    #[error("no key set was fetched yet{}", last(.last_error.as_ref()))]
    NeverFetched {
        /// Why the last attempt failed; none when it has not ended.
        last_error: Option<FetchError>,
    },
    /// The last good set is older than its lifetime and the bound of staleness together.
    #[error("the key set is {} s old, beyond the bound of staleness{}", .age.as_secs(), last(.last_error.as_ref()))]
    Expired {
        /// Time since the set was last confirmed by the provider.
        age: Duration,
        /// Why the last attempt failed.
        last_error: Option<FetchError>,
    },
    /// The set is good, but the configured pins match none of its usable keys.
    #[error("none of the {published} usable keys of the set is pinned: `pin` in the configuration matches nothing")]
    PinsMatchNothing {
        /// How many usable keys the set has.
        published: usize,
    },
    /// The provider was to be asked anew and could not be.
    #[error("the provider did not confirm the key set: {error}")]
    NotConfirmed {
        /// Why.
        error: FetchError,
    },
}

fn last(error: Option<&FetchError>) -> String {
    error.map(|error| format!("; the last attempt failed: {error}")).unwrap_or_default()
}

/// A fetch that brought no good set. The cached set, if there is one, stays in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {kind}")]
pub(crate) struct FetchError {
    location: String,
    pub(crate) kind: FetchErrorKind,
}

impl FetchError {
    pub(super) fn new(source: &Source, kind: FetchErrorKind) -> Self {
        let location = match source {
            Source::Url(url) => transport_error::location(url),
            Source::File(path) => path.display().to_string(),
        };
        Self { location, kind }
    }
}

/// Why a fetch failed. The text contains no byte of the response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchErrorKind {
    /// The whole fetch took longer than allowed.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Name resolution, connecting, TLS or HTTP failed. The cause is the client's, without the URL.
    #[error("{0}")]
    Transport(String),
    /// A redirect, which is never followed: it could lead to another origin.
    #[error("status {0}: redirects are not followed")]
    Redirect(u16),
    /// Any other status than 200.
    #[error("status {0}")]
    Status(u16),
    /// 304 to a request that was not conditional (RFC 9110 section 15.4.5 forbids it).
    #[error("status 304 to an unconditional request")]
    NotModifiedUnasked,
    #[error(transparent)]
    Credential(#[from] BadCredential),
    /// The file could not be read.
    #[error("cannot be read: {}", io_cause(*.0))]
    File(io::ErrorKind),
    /// More than 1 MiB.
    #[error("longer than {} bytes", super::set::MAX_BYTES)]
    TooLarge,
    /// Not JSON: HTML, nothing, half a document.
    #[error("not JSON, at line {line} column {column}")]
    NotJson {
        /// From 1; 0 when there was nothing to read.
        line: usize,
        /// From 1; 0 when there was nothing to read.
        column: usize,
    },
    /// JSON, but no object with an array `keys`.
    #[error("not a JWK Set: no array `keys`")]
    NotAKeySet,
    /// More than 100 entries.
    #[error("{entries} keys; more than {} are not accepted", super::set::MAX_ENTRIES)]
    TooManyKeys {
        /// How many.
        entries: usize,
    },
    /// A JWK Set none of whose entries can be sealed with.
    #[error("none of the {entries} keys is usable{}", .first.as_ref().map(|why| format!("; the first: {why}")).unwrap_or_default())]
    NothingUsable {
        /// How many entries it has.
        entries: usize,
        /// What speaks against the first of them.
        first: Option<Box<EntryState>>,
    },
    /// The fetch was given up because the process is ending, or by a fault of ours.
    #[error("the fetch was abandoned")]
    Abandoned,
}
