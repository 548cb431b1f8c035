//! The span of a fetch of a key set or a token.
//!
//! A fetch belongs to no request: several requests may wait for it, or none. Its span is therefore a trace of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Uri};
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::SpanData;

use super::spans::{self, Attributes};
use crate::fetch_counters::FailureReason;
use crate::gateway::request::trace_context::TraceContext;

/// What is fetched, and from where.
#[derive(Debug)]
pub(crate) struct FetchTarget {
    /// `key_set` or `token`.
    pub(crate) kind: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Uri,
    /// The name of the upstream that it is for.
    pub(crate) upstream: String,
}

/// A fetch that has ended.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) target: Arc<FetchTarget>,
    pub(super) trace: TraceContext,
    pub(super) ended: SystemTime,
    pub(super) took: Duration,
    pub(super) failure: Option<FailureReason>,
}

impl Fetch {
    pub(super) fn span(&self) -> SpanData {
        let FetchTarget { kind, method, url, upstream } = &*self.target;
        let mut attributes = Attributes::default();
        attributes.method(method);
        attributes.url(url);
        attributes.add("jwe_gateway.fetch", *kind);
        attributes.text("jwe_gateway.upstream", upstream);
        if let Some(failure) = self.failure {
            attributes.add("error.type", failure.as_str());
        }
        // The path is configured, so there are few such names.
        let name = format!("{method} {}", url.path());
        let began = self.ended.checked_sub(self.took).unwrap_or(self.ended);
        let times = (began, self.ended);
        SpanData {
            status: spans::status(self.failure.is_some()),
            ..spans::span(&self.trace, self.trace.span, SpanKind::Client, name.into(), times, attributes)
        }
    }
}
