//! The attempts of a request to reach the provider: the span, the connection and the status of each.

use http::{StatusCode, Uri, Version};

use crate::gateway::request::trace_context::SpanId;
use crate::upstream::ProviderPeer;

/// How many attempts a request has at most: the first one, one with a newer key and one with a newer credential.
const MAX: usize = 3;

/// One attempt. Its times are those of a span of [`Phase::Provider`](super::Phase::Provider), in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The id of its span. None if the request has no trace.
    pub span: Option<SpanId>,
    /// The other end of the connection that was used last. None if there was no connection.
    pub provider: Option<ProviderPeer>,
    /// The status and the HTTP version of the reply. None if there was no reply.
    pub reply: Option<(StatusCode, Version)>,
}

/// The attempts of one request, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    attempts: [Option<Attempt>; MAX],
    url: Option<Uri>,
}

impl Attempts {
    /// The attempts.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().flatten()
    }

    /// The last attempt.
    #[must_use]
    pub fn last(&self) -> Option<&Attempt> {
        self.iter().last()
    }

    /// The URL that the attempts were sent to, without the query. None if the spans of the request are not exported.
    #[must_use]
    pub fn url(&self) -> Option<&Uri> {
        self.url.as_ref()
    }

    pub(super) fn set_url(&mut self, url: Uri) {
        self.url = Some(url);
    }

    pub(super) fn begin(&mut self, span: Option<SpanId>) {
        let unused = self.attempts.iter_mut().find(|attempt| attempt.is_none());
        // There is always one: see `MAX`. A request must not fail if that is wrong.
        debug_assert!(unused.is_some(), "more than {MAX} attempts");
        if let Some(unused) = unused {
            *unused = Some(Attempt { span, provider: None, reply: None });
        }
    }

    /// The attempt that began last has ended.
    pub(super) fn end(&mut self, provider: Option<ProviderPeer>, reply: Option<(StatusCode, Version)>) {
        if let Some(last) = self.attempts.iter_mut().rev().find_map(Option::as_mut) {
            (last.provider, last.reply) = (provider, reply);
        }
    }
}
