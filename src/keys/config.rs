//! What an operator may say about the keys, and what holds when he says nothing.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::static_credential::StaticCredential;

/// No set is asked for again sooner than this, whatever its `Cache-Control` says: a provider
/// that answers `max-age=0` must not be asked in a loop.
pub(crate) const MIN_LIFETIME: Duration = Duration::from_secs(30);

/// No set is believed for longer than this without asking: a withdrawn key should be noticed
/// within the hour even where the provider promises a day.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The lifetime of a set that states none: the usual age of key caches (Nimbus, panva `jose`).
pub(crate) const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// How long beyond its lifetime a set is still sealed with when no newer one can be had: long
/// enough for a night and a working day of outage, short enough that a key withdrawn for cause
/// is not used for ever.
pub(crate) const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A fetch as a whole, from connecting to the last byte: ten times what a slow one needs.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The first wait after a failure: long enough for a restart of the provider to get on.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest wait between attempts: an ended outage is noticed within half a minute.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How long a request waits when no key was ever in hand: as long as one fetch may take.
pub(crate) const FIRST_KEY_WAIT: Duration = FETCH_TIMEOUT;

/// How long a set read from a file is believed: a file costs nothing to read, and a mounted one
/// (a Kubernetes volume) is swapped without a sign.
pub(crate) const FILE_POLL: Duration = Duration::from_secs(10);

/// `[upstream.keys]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the JWK Set is.
    pub source: Source,
    /// Least lifetime of a set. Default [`MIN_LIFETIME`].
    pub min_lifetime: Duration,
    /// Greatest lifetime of a set. Default [`MAX_LIFETIME`].
    pub max_lifetime: Duration,
    /// Lifetime of a set whose answer states none. Default [`DEFAULT_LIFETIME`].
    pub default_lifetime: Duration,
    /// How long beyond its lifetime the last good set serves on. Default [`MAX_STALE`].
    pub max_stale: Duration,
    /// The whole of one fetch. Default [`FETCH_TIMEOUT`].
    pub fetch_timeout: Duration,
    /// First wait after a failed fetch, doubled by each further one. Default [`BACKOFF_MIN`].
    pub backoff_min: Duration,
    /// Longest wait between failed fetches. Default [`BACKOFF_MAX`].
    pub backoff_max: Duration,
    /// How long a request waits when no key was ever in hand. Default [`FIRST_KEY_WAIT`].
    pub first_key_wait: Duration,
    /// Only these keys may be sealed with, by `kid` or by RFC 7638 thumbprint. Empty: any.
    pub pin: Vec<String>,
    /// What is presented when the set is fetched. A provider's set is public; a gateway that serves
    /// one from its cache wants to know who asks.
    pub credential: Option<StaticCredential>,
    /// Where the last good set is kept for a restart during an outage. Default: nowhere.
    pub last_known_good: Option<PathBuf>,
}

/// Where a JWK Set is published.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Fetched by GET.
    Url(Url),
    /// Read from disk, every [`FILE_POLL`] or so.
    File(PathBuf),
}

impl Config {
    /// The defaults, for this source.
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
