//! The counters of all upstreams and callers, by configured name.
//!
//! A reload of the configuration makes new routes and callers. They get the counters that belong to their name, so that
//! no counter falls. The counters of a name that is no longer configured stay, and keep their values.

use std::sync::{Arc, Mutex, PoisonError};

use super::http::HttpCounters;
use crate::gateway::access_log::Record;
use crate::gateway::callers::DenialCounters;
use crate::gateway::response::key_check::KeyCheckCounters;
use crate::gateway::route::UnknownKids;
use crate::gateway::validation::counters::ValidationCounters;
use crate::{credentials, keys, upstream};

/// All counters of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    upstreams: Mutex<Vec<Arc<UpstreamCounters>>>,
    callers: Mutex<Vec<Arc<CallerCounters>>>,
    /// The requests that no upstream was chosen for.
    unrouted: HttpCounters,
}

/// The counters of one upstream.
#[derive(Debug)]
pub(crate) struct UpstreamCounters {
    /// The configured name.
    pub(crate) name: Arc<str>,
    pub(super) http: HttpCounters,
    pub(crate) key_checks: KeyCheckCounters,
    pub(crate) unknown_kids: UnknownKids,
    pub(crate) validation: ValidationCounters,
    pub(crate) keys: Arc<keys::Counters>,
    pub(crate) credentials: Arc<credentials::Counters>,
    pub(crate) connections: Arc<upstream::Counters>,
}

/// The counters of one caller.
#[derive(Debug)]
pub(crate) struct CallerCounters {
    /// The configured name.
    pub(crate) name: Arc<str>,
    /// The position among all callers, counted from 1.
    number: u32,
    pub(crate) denials: DenialCounters,
}

impl Counters {
    /// The counters of the upstream `name`.
    #[must_use]
    pub(crate) fn upstream(&self, name: &str) -> Arc<UpstreamCounters> {
        let mut upstreams = self.0.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = upstreams.iter().find(|known| *known.name == *name) {
            return Arc::clone(known);
        }
        let new = Arc::new(UpstreamCounters {
            name: name.into(),
            http: HttpCounters::default(),
            key_checks: KeyCheckCounters::default(),
            unknown_kids: UnknownKids::default(),
            validation: ValidationCounters::default(),
            keys: Arc::default(),
            credentials: Arc::default(),
            connections: Arc::default(),
        });
        upstreams.push(Arc::clone(&new));
        new
    }

    /// The counters of the caller `name`.
    #[must_use]
    pub(crate) fn caller(&self, name: &str) -> Arc<CallerCounters> {
        let mut callers = self.0.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = callers.iter().find(|known| *known.name == *name) {
            return Arc::clone(known);
        }
        let number = u32::try_from(callers.len() + 1).unwrap_or(u32::MAX);
        let new = Arc::new(CallerCounters { name: name.into(), number, denials: DenialCounters::default() });
        callers.push(Arc::clone(&new));
        new
    }

    /// Counts a request that has ended.
    pub(crate) fn add(&self, record: &Record, upstream: Option<&UpstreamCounters>, caller: Option<&CallerCounters>) {
        let http = upstream.map_or(&self.0.unrouted, |upstream| &upstream.http);
        http.add(record, caller.map_or(0, |caller| caller.number));
    }

    pub(super) fn unrouted(&self) -> &HttpCounters {
        &self.0.unrouted
    }

    pub(super) fn upstreams(&self) -> Vec<Arc<UpstreamCounters>> {
        self.0.upstreams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn callers(&self) -> Vec<Arc<CallerCounters>> {
        self.0.callers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_counters_and_its_number() {
        let counters = Counters::default();
        let (one, other) = (counters.caller("one"), counters.caller("other"));
        assert!(Arc::ptr_eq(&one, &counters.caller("one")));
        assert_eq!((one.number, other.number), (1, 2));
        assert!(Arc::ptr_eq(&counters.upstream("one"), &counters.upstream("one")));
        assert!(!Arc::ptr_eq(&counters.upstream("one"), &counters.upstream("other")));
    }
}
