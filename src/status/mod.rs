//! The status of a running gateway, for a person on call: `GET /` (a page) and `GET /status` (JSON).
//!
//! Metrics show how a value developed; this page shows what is true now. Its first sentence says that all is well, or what
//! is wrong, since when, and what to look at.
//!
//! Page and JSON are made from one value, a [`Status`](model::Status), at each request. It is assembled from snapshots of
//! the parts in use and from the [`History`], which a reload of the configuration does not reset. If the page is not
//! requested, the gateway spends little: counters per request, and a check every five seconds that dates the problems it finds.
//!
//! The hard case is text from others: kids, paths, request ids, error messages of the provider. Each is cut and escaped.
//! The page has no script and may load nothing, so even a mistake there could do little.
//!
//! | file | what it does |
//! |---|---|
//! | [`history`] | remembers what has happened since the start |
//! | [`traffic`] | counts requests, errors and latencies of the last 15 minutes |
//! | [`assemble`] | makes the status of snapshots and history |
//! | [`problems`] | finds what is wrong |
//! | [`verdict`] | orders it, and makes the first sentence |
//! | [`model`] | is the JSON |
//! | [`page`] | is the page |
//! | [`text`] | writes times, durations and amounts |
//!
//! Rejected: a page that fetches the JSON with a script. It shows nothing without JavaScript, and needs a weaker policy.

mod assemble;
mod history;
mod model;
mod page;
mod problems;
mod text;
mod traffic;
mod verdict;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use history::{History, UpstreamHistory};
pub(crate) use model::Usage;

use crate::gateway::route::Route;

/// How often problems are looked for while no client requests the page. The time of a problem that only a check finds can
/// be this much too late.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The name of the limit of callers' connections.
pub(crate) const CONNECTIONS: &str = "connections";

/// The parts in use at one moment.
pub(crate) struct Facts {
    pub(crate) routes: Vec<Route>,
    pub(crate) is_stopping: bool,
    /// The end of validity of the listener's certificate, if it has one.
    pub(crate) certificate_expires: Option<SystemTime>,
    /// What limits the gateway as a whole.
    pub(crate) limits: Vec<Usage>,
    pub(crate) configuration: Configuration,
    /// Log lines that were dropped since the start.
    pub(crate) log_lines_dropped: u64,
}

/// Where the configuration in use comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configuration {
    pub(crate) file: Option<String>,
    /// The names of flags and variables, without their values.
    pub(crate) flags: Vec<String>,
    pub(crate) variables: Vec<String>,
    /// When it was last reloaded, and the error if that failed.
    pub(crate) last_reload: Option<(SystemTime, Option<String>)>,
}

/// Reports the status. Clones share everything.
#[derive(Clone)]
pub(crate) struct StatusReporter(Arc<Inner>);

struct Inner {
    history: History,
    facts: Box<dyn Fn() -> Facts + Send + Sync>,
}

impl StatusReporter {
    /// Reports what `facts` returns at each call, with `history`.
    #[must_use]
    pub(crate) fn new(history: History, facts: impl Fn() -> Facts + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { history, facts: Box::new(facts) }))
    }

    /// The status as a page.
    #[must_use]
    pub(crate) fn html(&self) -> String {
        page::page(&self.status())
    }

    /// The status as JSON.
    #[must_use]
    pub(crate) fn json(&self) -> String {
        // The value has no map with keys that are not text, so it can be serialised.
        serde_json::to_string(&self.status()).unwrap_or_default()
    }

    /// The content security policy of the page.
    #[must_use]
    pub(crate) fn policy() -> String {
        page::policy()
    }

    /// Looks for problems, so that the page can say since when they exist. Never returns.
    pub(crate) async fn run_checks(self) {
        let Inner { history, facts } = &*self.0;
        loop {
            history.clock().sleep(CHECK_INTERVAL).await;
            assemble::check(history, &facts());
        }
    }

    fn status(&self) -> model::Status {
        let Inner { history, facts } = &*self.0;
        assemble::status(history, &facts())
    }
}

impl fmt::Debug for StatusReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusReporter").field("history", &self.0.history).finish_non_exhaustive()
    }
}
