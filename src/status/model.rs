//! What the status page shows, and what `GET /status` returns: one value for both.
//!
//! The JSON is versioned: a member is not removed or changed without another [`VERSION`]. New members do not change it.
//! `docs/operations.md` lists the members, and a test compares the two. A member without a value is `null`.
//!
//! No member holds a secret, a token, a body or a value of a query.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::gateway::permits;

/// The version of the JSON.
pub(super) const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Status {
    pub version: u32,
    /// When this was true.
    pub at: Time,
    pub gateway: GatewayStatus,
    pub verdict: Verdict,
    pub upstreams: Vec<UpstreamStatus>,
    /// All requests, also those that reached no upstream.
    pub traffic: TrafficStatus,
    /// The last refused requests, the latest first.
    pub refusals: Vec<RefusalStatus>,
    /// What limits the gateway as a whole.
    pub limits: Vec<Usage>,
    pub configuration: ConfigurationStatus,
    pub log: LogStatus,
    /// The listener's certificate. `None` without TLS.
    pub certificate_expires: Option<Time>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct GatewayStatus {
    pub version: &'static str,
    pub started: Time,
    pub ready: bool,
}

/// Whether all is well, or what is wrong.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    pub state: State,
    /// What is wrong first, since when, and what to look at.
    pub sentence: String,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Well,
    /// Requests are served, and will fail if the cause stays.
    Attention,
    /// Requests fail.
    Failing,
    Stopping,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub kind: super::verdict::Kind,
    pub upstream: Option<String>,
    pub since: Time,
    /// What is wrong, in one sentence.
    pub sentence: String,
    /// The cause as far as it is known, such as the error of the last fetch.
    pub cause: Option<String>,
    /// What to look at, or what to do.
    pub look_at: String,
    /// The first cell of the row in the table of symptoms.
    pub symptom: &'static str,
    /// File and anchor of this row.
    pub documentation: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct UpstreamStatus {
    pub name: String,
    /// Whether there is a usable key, where one is needed, and a credential.
    pub ready: bool,
    pub encryption: &'static str,
    /// `None` if bodies are sent in clear.
    pub key_set: Option<KeySetStatus>,
    pub credential: CredentialStatus,
    pub connections: ConnectionsStatus,
    pub limits: Vec<Usage>,
    pub traffic: TrafficStatus,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct KeySetStatus {
    pub state: KeySetState,
    /// Why no key can be used.
    pub problem: Option<String>,
    /// When the provider last sent or confirmed the set.
    pub confirmed: Option<Time>,
    /// The end of its lifetime.
    pub expires: Option<Time>,
    pub next_fetch: Time,
    pub failing_since: Option<Time>,
    pub last_error: Option<String>,
    /// The published entries in document order, then withdrawn keys, the latest first.
    pub keys: Vec<KeyStatus>,
    /// Oldest first.
    pub fetches: Vec<FetchStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeySetState {
    /// No set, or none that can be used.
    Unusable,
    /// In use beyond its lifetime.
    Stale,
    Fresh,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct KeyStatus {
    pub kid: Option<String>,
    pub thumbprint: Option<String>,
    pub bits: Option<u32>,
    /// Whether the provider publishes it now.
    pub published: bool,
    /// `usable`, `withdrawn`, or why it cannot be used.
    pub state: String,
    /// Whether messages are sealed with it now.
    pub seals: bool,
    /// `None` if it was not fetched since the start.
    pub first_seen: Option<Time>,
    pub last_seen: Option<Time>,
}

/// An attempt to fetch, or several in succession that failed with the same cause.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FetchStatus {
    pub first: Time,
    pub last: Time,
    pub count: u64,
    pub duration_ms: f64,
    /// `None` after a success.
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct CredentialStatus {
    /// `token`, `static` or `none`.
    pub kind: &'static str,
    pub usable: bool,
    /// Whether the token endpoint refuses the client id or the secret.
    pub credentials_refused: bool,
    pub obtained: Option<Time>,
    pub expires: Option<Time>,
    /// `None` if there is nothing to renew.
    pub next_renewal: Option<Time>,
    pub failing_since: Option<Time>,
    /// When the provider or the egress began to refuse it.
    pub refused_since: Option<Time>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Oldest first.
    pub renewals: Vec<FetchStatus>,
}

/// Connections to the provider since the start.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ConnectionsStatus {
    pub opened: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Responses on a connection that had brought a response before.
    pub reused: u64,
}

/// A limit, and how much of it is in use.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Usage {
    pub what: &'static str,
    pub used: usize,
    pub limit: usize,
}

/// Rates and latencies of the last 15 minutes. The lists have one number for each interval, the oldest first. The last
/// interval is the present one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TrafficStatus {
    pub interval_s: u64,
    pub requests_per_s: Vec<f64>,
    /// 5xx of the gateway and of the provider.
    pub errors_per_s: Vec<f64>,
    /// `None` for an interval without requests.
    pub p50_ms: Vec<Option<f64>>,
    pub p99_ms: Vec<Option<f64>>,
    /// The present and the last interval.
    pub last_30_s: TrafficSummary,
    pub last_5_min: TrafficSummary,
    pub last_15_min: TrafficSummary,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct TrafficSummary {
    pub requests: u64,
    pub upstream_errors: u64,
    pub gateway_errors: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RefusalStatus {
    pub at: Time,
    pub code: &'static str,
    /// `None` if the caller left before the response.
    pub status: Option<u16>,
    pub request_id: String,
    pub caller: Option<String>,
    pub upstream: Option<String>,
    pub method: String,
    /// Without the query, and cut.
    pub path: String,
    pub duration_ms: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ConfigurationStatus {
    pub file: Option<String>,
    /// Names without values.
    pub flags: Vec<String>,
    pub variables: Vec<String>,
    pub last_reload: Option<ReloadStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ReloadStatus {
    pub at: Time,
    /// `None` if it succeeded.
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LogStatus {
    /// Since the start.
    pub lines_dropped: u64,
}

/// A time, to the second, as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.0}", self.0))
    }
}

impl Time {
    /// This time after or before now. A time that cannot be represented becomes the nearest one that can.
    pub(super) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)).unwrap_or(self.0))
    }

    pub(super) fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX)).unwrap_or(self.0))
    }

    /// The time from `earlier` to this one. Zero if it is later.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::try_from(self.0.duration_since(earlier.0)).unwrap_or(Duration::ZERO)
    }
}

/// Milliseconds with one digit after the point.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

impl Usage {
    pub(crate) fn of(what: &'static str, usage: permits::Usage) -> Self {
        Self { what, used: usage.used, limit: usage.limit }
    }

    /// The same ratio as in the metrics.
    pub(super) fn ratio(&self) -> f64 {
        permits::Usage { used: self.used, limit: self.limit }.ratio()
    }
}
