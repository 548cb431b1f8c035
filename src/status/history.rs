//! What has happened since the start, for the status page. A reload of the configuration does not reset it.
//!
//! The app owns one [`History`]. Keys and credentials record in it, and an observer of access records feeds it. Its
//! entries are found by the configured name of the upstream.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::traffic::{Ending, Traffic};
use super::verdict::Kind;
use crate::clock::Clock;
use crate::fetch_history::FetchHistory;
use crate::gateway::access_log::{Observer, Record};
use crate::gateway::response::refusal::Code;
use crate::keys::KeyHistory;

/// The number of refusals that are shown.
const REFUSALS: usize = 50;

/// The number of characters that are kept of a path.
const MAX_PATH: usize = 120;

/// Clones share the history.
#[derive(Clone, Debug)]
pub(crate) struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    started: Timestamp,
    /// All requests, also those that reached no upstream.
    traffic: Traffic,
    /// Replaced as a whole when an upstream is added. Few, so a request searches the list.
    upstreams: ArcSwap<Vec<Arc<UpstreamHistory>>>,
    refusals: Mutex<VecDeque<RefusedRequest>>,
    onsets: Mutex<HashMap<Cause, Timestamp>>,
    dropped: Mutex<DroppedLines>,
}

/// How many log lines were dropped, and when a check found the last ones.
#[derive(Clone, Copy, Debug, Default)]
struct DroppedLines {
    lines: u64,
    last: Option<Timestamp>,
}

/// The history of one upstream.
#[derive(Debug)]
pub(crate) struct UpstreamHistory {
    name: Arc<str>,
    pub(crate) keys: Arc<KeyHistory>,
    pub(crate) renewals: Arc<FetchHistory>,
    pub(super) traffic: Traffic,
}

/// A request that the gateway refused.
#[derive(Clone, Debug)]
pub(super) struct RefusedRequest {
    pub(super) at: Timestamp,
    pub(super) code: Code,
    pub(super) status: Option<u16>,
    pub(super) request_id: String,
    pub(super) caller: Option<Arc<str>>,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) duration: Duration,
}

/// What is wrong, and with which upstream.
pub(super) type Cause = (Kind, Option<Arc<str>>);

impl History {
    #[must_use]
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            started: Timestamp::now(),
            traffic: Traffic::new(clock.now()),
            clock,
            upstreams: ArcSwap::default(),
            refusals: Mutex::default(),
            onsets: Mutex::default(),
            dropped: Mutex::default(),
        }))
    }

    /// The history of the upstream with this name. It begins with the first call.
    pub(crate) fn upstream(&self, name: &str) -> Arc<UpstreamHistory> {
        if let Some(known) = self.find(name) {
            return known;
        }
        let new = Arc::new(UpstreamHistory {
            name: name.into(),
            keys: Arc::default(),
            renewals: Arc::default(),
            traffic: Traffic::new(self.0.clock.now()),
        });
        self.0.upstreams.rcu(|known| known.iter().chain([&new]).cloned().collect::<Vec<_>>());
        new
    }

    /// Counts each request that has ended, and remembers the last ones that were refused.
    #[must_use]
    pub(crate) fn observer(&self) -> Observer {
        let history = self.clone();
        Arc::new(move |record| history.record(record))
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn started(&self) -> Timestamp {
        self.0.started
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// The last refused requests, the latest first.
    pub(super) fn refusals(&self) -> Vec<RefusedRequest> {
        self.refused().iter().rev().cloned().collect()
    }

    /// Since when each of these causes has been present. Causes that are not among them are forgotten.
    pub(super) fn onsets(&self, causes: &[Cause], now: Timestamp) -> Vec<Timestamp> {
        // A poisoned lock only means that another thread panicked. A cause may then look newer than it is.
        let mut onsets = self.0.onsets.lock().unwrap_or_else(PoisonError::into_inner);
        onsets.retain(|cause, _| causes.contains(cause));
        causes.iter().map(|cause| *onsets.entry(cause.clone()).or_insert(now)).collect()
    }

    /// When a check found the last increase of this number of lines. `None` if there was none.
    pub(super) fn log_lines_dropped(&self, lines: u64, now: Timestamp) -> Option<Timestamp> {
        // A poisoned lock only means that another thread panicked. The value is whole.
        let mut dropped = self.0.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        if lines > dropped.lines {
            *dropped = DroppedLines { lines, last: Some(now) };
        }
        dropped.last
    }

    fn find(&self, name: &str) -> Option<Arc<UpstreamHistory>> {
        self.0.upstreams.load().iter().find(|upstream| *upstream.name == *name).cloned()
    }

    fn record(&self, record: &Record) {
        let now = self.0.clock.now();
        let is_error = record.status.is_some_and(|status| status.is_server_error());
        let ending = match (is_error, record.is_own()) {
            (true, true) => Ending::GatewayError,
            (true, false) => Ending::UpstreamError,
            (false, _) => Ending::Other,
        };
        self.0.traffic.record(now, record.duration, ending);
        if let Some(name) = &record.upstream {
            let upstreams = self.0.upstreams.load();
            if let Some(upstream) = upstreams.iter().find(|upstream| upstream.name == *name) {
                upstream.traffic.record(now, record.duration, ending);
            }
        }
        if let Some(code) = record.refusal {
            self.record_refusal(code, record);
        }
    }

    fn record_refusal(&self, code: Code, record: &Record) {
        let refused = RefusedRequest {
            at: Timestamp::now(),
            code,
            status: record.status.map(|status| status.as_u16()),
            request_id: record.request_id.as_str().to_owned(),
            caller: record.caller.clone(),
            upstream: record.upstream.clone(),
            method: record.method.as_str().chars().take(MAX_PATH).collect(),
            path: record.path.chars().take(MAX_PATH).collect(),
            duration: record.duration,
        };
        let mut refusals = self.refused();
        if refusals.len() == REFUSALS {
            refusals.pop_front();
        }
        refusals.push_back(refused);
    }

    fn refused(&self) -> MutexGuard<'_, VecDeque<RefusedRequest>> {
        // A poisoned lock only means that another thread panicked. The list is whole after each change.
        self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
