//! Why there is no usable key, and why a fetch failed.

use std::io;
use std::time::Duration;

use super::{EntryState, Source};
use crate::error_chain::io_cause;
use crate::static_credential::BadCredential;
use crate::transport_error;

/// There is no key to seal with. The cause lies with the provider or the operator, never with the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoUsableKey {
    /// No set has been fetched since the start, and the last-known-good file has none.
    #[error("no key set has been fetched yet{}", last(.last_error.as_ref()))]
    NeverFetched {
        /// Why the last fetch failed. `None` if none has ended.
        last_error: Option<FetchError>,
    },
    /// The last good set is older than its lifetime plus `max_stale`.
    #[error("the key set is {} s old, more than its lifetime and `max_stale` allow{}", .age.as_secs(), last(.last_error.as_ref()))]
    Expired {
        /// Time since the provider last sent or confirmed the set.
        age: Duration,
        last_error: Option<FetchError>,
    },
    #[error("none of the {published} usable keys is pinned: compare `pin` with the output of `jwe-gateway keys`")]
    PinsMatchNothing { published: usize },
    /// The fetch that had to confirm the cached set failed.
    #[error("the provider did not confirm the key set: {error}")]
    NotConfirmed { error: FetchError },
}

fn last(error: Option<&FetchError>) -> String {
    error.map(|error| format!("; the last fetch failed: {error}")).unwrap_or_default()
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
    #[error("no complete response within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Name resolution, the connection, TLS or HTTP failed.
    #[error("{0}")]
    Transport(String),
    /// Redirects are not followed, because they may lead to another origin.
    #[error("status {0}: redirects are not followed")]
    Redirect(u16),
    /// 429 or 503.
    #[error("status {status}: the server of the key set is busy")]
    Busy {
        status: u16,
        /// The wait of its Retry-After, at most a minute.
        retry_after: Option<Duration>,
    },
    /// Any other status than 200.
    #[error("status {0}")]
    Status(u16),
    /// RFC 9110 section 15.4.5 forbids this response.
    #[error("status 304, although the request was not conditional")]
    NotModifiedUnasked,
    #[error(transparent)]
    Credential(#[from] BadCredential),
    #[error("cannot be read: {}", io_cause(*.0))]
    File(io::ErrorKind),
    #[error("the key set is longer than {} bytes", super::set::MAX_BYTES)]
    TooLarge,
    /// Such as HTML, an empty body, or half a document.
    #[error("not JSON: error at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("not a JWK Set: it has no array `keys`")]
    NotAKeySet,
    #[error("the set has {entries} entries; at most {} are accepted", super::set::MAX_ENTRIES)]
    TooManyKeys { entries: usize },
    #[error("{}", nothing_usable(*.entries, .first.as_deref()))]
    NothingUsable {
        entries: usize,
        /// Why the first of them cannot be used.
        first: Option<Box<EntryState>>,
    },
    /// The process is ending, or the fetch panicked.
    #[error("the fetch was abandoned")]
    Abandoned,
}

fn nothing_usable(entries: usize, first: Option<&EntryState>) -> String {
    match first {
        Some(why) => format!("none of the {entries} entries is usable; the first one: {why}"),
        None => "the key set has no entries".to_owned(),
    }
}
