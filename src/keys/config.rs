//! The settings of `[upstream.keys]` and their defaults.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::static_credential::StaticCredential;

/// Shortest lifetime. A provider that sends `max-age=0` must not be asked in a loop.
pub(crate) const MIN_LIFETIME: Duration = Duration::from_secs(30);

/// Longest lifetime. The gateway should notice a withdrawn key within an hour, even if the provider states a lifetime of
/// a day.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The lifetime if the response states none. Nimbus, another key cache, uses the same.
pub(crate) const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// How long a set stays in use beyond its lifetime if no newer one can be fetched. This covers an outage of a night and
/// a working day, but a compromised key does not stay in use forever.
pub(crate) const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Limit for a whole fetch, from the connection to the last byte. Ten times as long as a slow fetch takes.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The first wait after a failure. A shorter one would not help while the provider restarts.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest wait between attempts. The end of an outage is noticed within half a minute.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How long a request waits if there has been no key since the start: as long as one fetch may take.
pub(crate) const FIRST_KEY_WAIT: Duration = FETCH_TIMEOUT;

/// The lifetime of a set from a file. A read costs little, and a mounted file (a Kubernetes volume) is replaced without
/// notice.
pub(crate) const FILE_POLL: Duration = Duration::from_secs(10);

/// `[upstream.keys]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the JWK Set is.
    pub source: Source,
    /// Shortest lifetime of a set. Default [`MIN_LIFETIME`].
    pub min_lifetime: Duration,
    /// Longest lifetime of a set. Default [`MAX_LIFETIME`].
    pub max_lifetime: Duration,
    /// Lifetime of a set if the response states none. Default [`DEFAULT_LIFETIME`].
    pub default_lifetime: Duration,
    /// How long the last good set stays in use beyond its lifetime. Default [`MAX_STALE`].
    pub max_stale: Duration,
    /// Limit for a whole fetch. Default [`FETCH_TIMEOUT`].
    pub fetch_timeout: Duration,
    /// First wait after a failed fetch. Each further failure doubles it. Default [`BACKOFF_MIN`].
    pub backoff_min: Duration,
    /// Longest wait between failed fetches. Default [`BACKOFF_MAX`].
    pub backoff_max: Duration,
    /// How long a request waits if there has been no key since the start. Default [`FIRST_KEY_WAIT`].
    pub first_key_wait: Duration,
    /// The keys that may be used, by `kid` or RFC 7638 thumbprint. Empty: any key.
    pub pin: Vec<String>,
    /// The credential for the fetch. A provider's key set is public, but an egress authenticates its sidecars.
    pub credential: Option<StaticCredential>,
    /// File for the last good set, for a restart during an outage. Default: none.
    pub last_known_good: Option<PathBuf>,
}

/// Where a JWK Set is published.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Fetched by GET.
    Url(Url),
    /// Read from disk. The set has the lifetime [`FILE_POLL`].
    File(PathBuf),
}

impl Config {
    /// The defaults for this source.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            min_lifetime: MIN_LIFETIME,
            max_lifetime: MAX_LIFETIME,
            default_lifetime: DEFAULT_LIFETIME,
            max_stale: MAX_STALE,
            fetch_timeout: FETCH_TIMEOUT,
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            first_key_wait: FIRST_KEY_WAIT,
            pin: Vec::new(),
            credential: None,
            last_known_good: None,
        }
    }
}
