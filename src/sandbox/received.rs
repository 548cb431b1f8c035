//! The calls that the provider received.
//!
//! Bodies are kept byte for byte, so that a test can compare them with the bytes it sent. The log is bounded,
//! so that a sandbox under continuous load does not exhaust memory. The oldest calls are dropped first; the
//! total still counts them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode, request};
use tokio::sync::watch;

use crate::jose::OpenError;

/// A minute of load at about 300 requests per second, with bodies of some KiB.
const MAX_CALLS: usize = 20_000;

/// Two of the largest bodies, each kept as received and as opened.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// One API call. Requests for the key set and for tokens are counted, not recorded.
///
/// `Debug` shows sizes in place of bodies, and the names of headers without their values.
#[derive(Clone)]
pub struct Received {
    /// The number of the call since the sandbox started, from 1.
    pub number: u64,
    /// When the head of the request was read, by the clock of the sandbox.
    pub at: Instant,
    /// The method of the request.
    pub method: Method,
    /// The path and query as received.
    pub target: String,
    /// The headers as received. Those that hold credentials are marked as sensitive.
    pub headers: HeaderMap,
    /// The status of the response.
    pub status: StatusCode,
    /// The body as received: a compact JWE or JSON. Empty if the body did not arrive completely.
    pub wire: Bytes,
    /// Set if the body was `application/jose` and could be opened.
    pub opened: Option<OpenedBody>,
    /// Set if the body was `application/jose` and could not be opened: the reason.
    pub unopened: Option<OpenError>,
    /// The body after opening, or plain JSON as received. Empty if the body was refused before it was opened
    /// (401, 413, 415) or could not be opened.
    pub plaintext: Bytes,
    /// Key and token of the call, judged at the time of receipt. `None` for the second provider.
    pub(super) standing: Option<CallStanding>,
    /// The body of the response before an armed fault slows it down or breaks it off.
    pub(crate) response: Bytes,
}

/// What is known about key and token of a call when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallStanding {
    /// Of the `kid` in the protected header. [`Standing::Missing`] without a sealed body or a `kid`.
    pub(super) key: Standing,
    pub(super) token: Standing,
}

/// Whether a key or a token that a client used was valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Valid,
    Missing,
    /// This sandbox has never published or issued it.
    Unknown,
    /// It is no longer valid, and the client could not know that yet.
    Ended,
    /// It is no longer valid, and the sandbox has refused it before.
    EndedAndRefused,
}

/// The properties of an opened message.
#[derive(Clone, Debug)]
pub struct OpenedBody {
    /// The protected header as JSON text (RFC 7516 section 4).
    pub header: String,
    /// The `kid` in the protected header.
    pub kid: Option<String>,
    /// The length in bytes of each of the five encoded parts (RFC 7516 section 7.1).
    pub parts: [usize; 5],
}

impl Received {
    /// A call without a body or a status yet.
    pub(super) fn from_head(head: &request::Parts, at: Instant) -> Self {
        let mut headers = head.headers.clone();
        for (name, value) in headers.iter_mut() {
            value.set_sensitive([AUTHORIZATION.as_str(), "x-api-key", "flinks-auth-key"].contains(&name.as_str()));
        }
        Self {
            number: 0,
            at,
            method: head.method.clone(),
            target: head.uri.to_string(),
            headers,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            wire: Bytes::new(),
            opened: None,
            unopened: None,
            plaintext: Bytes::new(),
            standing: None,
            response: Bytes::new(),
        }
    }

    /// The `kid` of the message. It is known if the message was opened, or if no published key has this
    /// `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        match (&self.opened, &self.unopened) {
            (Some(opened), _) => opened.kid.as_deref(),
            (None, Some(OpenError::UnknownKey(kid))) => kid.as_deref(),
            _ => None,
        }
    }

    /// A plain body shares its memory with `wire`.
    fn bytes(&self) -> usize {
        self.wire.len() + self.opened.as_ref().map_or(0, |_| self.plaintext.len()) + self.response.len()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("Received")
            .field("number", &self.number)
            .field("method", &self.method)
            .field("path", &self.target.split('?').next())
            .field("headers", &names)
            .field("status", &self.status)
            .field("wire_bytes", &self.wire.len())
            .field("opened", &self.opened)
            .field("unopened", &self.unopened)
            .field("plaintext_bytes", &self.plaintext.len())
            .finish()
    }
}

/// The latest calls, within [`MAX_CALLS`] and [`MAX_BYTES`].
#[derive(Debug)]
pub(super) struct CallLog {
    calls: VecDeque<Arc<Received>>,
    bytes: usize,
    total: watch::Sender<u64>,
}

impl Default for CallLog {
    fn default() -> Self {
        Self { calls: VecDeque::new(), bytes: 0, total: watch::Sender::new(0) }
    }
}

impl CallLog {
    pub(super) fn push(&mut self, mut call: Received) {
        call.number = self.total() + 1;
        self.total.send_replace(call.number);
        self.bytes += call.bytes();
        self.calls.push_back(Arc::new(call));
        // The newest call is kept even if it alone exceeds the limit.
        while self.calls.len() > 1 && (self.calls.len() > MAX_CALLS || self.bytes > MAX_BYTES) {
            self.drop_oldest();
        }
    }

    pub(super) fn calls(&self) -> Vec<Received> {
        self.calls.iter().map(|call| Received::clone(call)).collect()
    }

    /// The calls with a number above `after`, oldest first.
    pub(super) fn after(&self, after: u64) -> impl ExactSizeIterator<Item = &Arc<Received>> {
        self.calls.range(self.calls.partition_point(|call| call.number <= after)..)
    }

    pub(super) fn kept(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn last(&self) -> Option<&Received> {
        self.calls.back().map(Arc::as_ref)
    }

    pub(super) fn numbered(&self, number: u64) -> Option<&Received> {
        self.after(number.checked_sub(1)?).next().map(Arc::as_ref).filter(|call| call.number == number)
    }

    /// The number of calls since the start, including dropped and deleted ones.
    pub(super) fn total(&self) -> u64 {
        *self.total.borrow()
    }

    /// Learns of each change of [`total`](Self::total).
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.total.subscribe()
    }

    /// Deletes the calls. Numbering continues.
    pub(super) fn clear(&mut self) {
        self.calls.clear();
        self.bytes = 0;
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.calls.pop_front() {
            self.bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(length: usize) -> Received {
        let (head, ()) = http::Request::post("/v0/x?canary-query")
            .header("authorization", "Bearer canary-token")
            .header("x-note", "canary-header")
            .body(())
            .unwrap()
            .into_parts();
        let mut call = Received::from_head(&head, crate::clock::Clock::system().now());
        call.wire = Bytes::from(vec![b'x'; length]);
        call
    }

    #[test]
    fn the_oldest_calls_are_dropped_first_and_still_count() {
        let mut log = CallLog::default();
        for _ in 0..MAX_CALLS + 5 {
            log.push(call(1));
        }
        assert_eq!(log.calls().len(), MAX_CALLS);
        assert_eq!(log.total(), MAX_CALLS as u64 + 5);
        assert!(log.numbered(5).is_none());
        assert_eq!(log.numbered(6).unwrap().number, 6);
        assert_eq!(log.last().unwrap().number, log.total());
        assert!(log.numbered(log.total() + 1).is_none());
    }

    #[test]
    fn the_log_is_bounded_in_bytes_but_always_keeps_the_newest_call() {
        let mut log = CallLog::default();
        log.push(call(1000));
        log.push(call(MAX_BYTES - 999));
        assert_eq!(log.calls().len(), 1);
        assert_eq!(log.last().unwrap().number, 2);
        log.push(call(MAX_BYTES + 1));
        assert_eq!(log.last().unwrap().number, 3);
        assert_eq!(log.calls().len(), 1);
        log.push(call(10));
        assert_eq!(log.calls().len(), 1);
        assert_eq!(log.bytes, 10);
    }

    #[test]
    fn numbering_continues_after_the_log_was_cleared() {
        let mut log = CallLog::default();
        log.push(call(1));
        log.clear();
        assert!(log.last().is_none());
        log.push(call(1));
        assert_eq!(log.last().unwrap().number, 2);
    }

    #[test]
    fn debug_output_omits_bodies_tokens_queries_and_header_values() {
        let mut received = call(0);
        received.plaintext = Bytes::from_static(b"canary-body");
        assert!(!format!("{received:?}").contains("canary"));
        assert!(!format!("{:?}", received.headers).contains("canary-token"));
    }
}
