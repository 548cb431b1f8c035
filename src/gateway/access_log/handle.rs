//! What is learnt of a request on its way, by whoever works on it, for its record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Request};

use crate::gateway::access_log::{Outcome, Record};
use crate::gateway::request::request_id::RequestId;
use crate::gateway::response::refusal::{Code, Sent};
use crate::jose::Compact;
use crate::upstream::SealTime;

/// What is known of a request so far. Travels in the request's extensions; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct RecordHandle(Arc<Mutex<Known>>);

/// The record as far as it is filled in.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: Record,
    pub(super) seal_time: SealTime,
    pub(super) broke_off: bool,
}

impl RecordHandle {
    /// The notes the stack began for `request`.
    #[must_use]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        request.extensions().get().cloned().unwrap_or_else(|| Self::begin(request))
    }

    pub(super) fn begin<B>(request: &Request<B>) -> Self {
        let record = Record {
            request_id: RequestId::of(request.extensions()),
            trace_id: trace_id(request.headers()),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query_keys: request.uri().query().map(query_keys).unwrap_or_default(),
            caller: None,
            upstream: None,
            status: None,
            refusal: None,
            answered_here: false,
            duration: Duration::ZERO,
            upstream_time: Duration::ZERO,
            seal_time: Duration::ZERO,
            bytes_in: 0,
            bytes_jwe: None,
            bytes_out: 0,
            kid: None,
            attempts: 0,
            resealed: false,
            resent: false,
            outcome: Outcome::CallerLeft,
        };
        Self(Arc::new(Mutex::new(Known { record, seal_time: SealTime::default(), broke_off: false })))
    }

    /// Whose it is.
    pub(crate) fn caller(&self, name: &Arc<str>) {
        self.known().record.caller = Some(Arc::clone(name));
    }

    /// Where it goes.
    pub(crate) fn upstream(&self, name: &Arc<str>) {
        self.known().record.upstream = Some(Arc::clone(name));
    }

    /// The caller's body is here, whole.
    pub(crate) fn body(&self, length: usize) {
        self.known().record.bytes_in = length;
    }

    /// A message is about to be sent.
    pub(crate) fn message(&self, message: &Compact) {
        let mut known = self.known();
        known.record.bytes_jwe = Some(message.len());
        known.record.kid = message.kid().map(str::to_owned);
    }

    /// The request is about to be sent.
    pub(crate) fn sending(&self) {
        self.known().record.attempts += 1;
    }

    /// The provider answered, or did not, after `waited`.
    pub(crate) fn answered(&self, waited: Duration) {
        self.known().record.upstream_time += waited;
    }

    /// The provider refused the key, and there is another one.
    pub(crate) fn resealed(&self) {
        self.known().record.resealed = true;
    }

    /// The provider refused the token, and there is another one.
    pub(crate) fn resent(&self) {
        self.known().record.resent = true;
    }

    /// Whether the provider may have seen it.
    #[must_use]
    pub(crate) fn sent(&self) -> Sent {
        if self.known().record.attempts == 0 { Sent::Nothing } else { Sent::Perhaps }
    }

    /// The answer is our own, and no refusal.
    pub(crate) fn answered_here(&self) {
        self.known().record.answered_here = true;
    }

    /// The answer is a refusal of ours.
    pub(crate) fn refused(&self, code: Code) {
        self.known().record.refusal = Some(code);
    }

    /// The provider's reply ended before its end.
    pub(crate) fn broke_off(&self) {
        self.known().broke_off = true;
    }

    /// Where the time that sealing takes is added up.
    #[must_use]
    pub(crate) fn seal_time(&self) -> SealTime {
        self.known().seal_time.clone()
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        // A poisoned lock only means that another thread panicked between two notes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The second field of a `traceparent` of version 00 (W3C Trace Context section 3.2).
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut fields = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, id) = (fields.next()?, fields.next()?);
    let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (version == "00" && id.len() == 32 && is_hex).then(|| id.to_owned())
}

/// What has no `=` may be a value without a name, and is left out.
fn query_keys(query: &str) -> Vec<String> {
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_trace_is_recognised() {
        let headers = |value| {
            HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), HeaderValue::from_static(value))])
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&headers("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(trace_id(&headers("00-xyz-00f067aa0ba902b7-01")), None);
    }
}
