//! The record of what the provider was sent.
//!
//! Bodies are kept byte for byte, so that a test can compare them with what it sent, and the
//! record is bounded, so that a sandbox left running under load does not grow without end: the
//! oldest calls leave first, and their number still counts.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode, request};

use crate::jose::OpenError;

/// A minute of load at a few hundred requests a second, each of some KiB.
const MAX_CALLS: usize = 20_000;

/// Two of the largest bodies, each as it came and opened.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// One call of the API. Key set and token requests are counted, not recorded.
///
/// `Debug` shows sizes in place of bodies and header values.
#[derive(Clone)]
pub struct Received {
    /// Counts the calls since the sandbox started, from 1.
    pub number: u64,
    /// The method.
    pub method: Method,
    /// Path and query as received.
    pub target: String,
    /// As received; credentials are marked sensitive.
    pub headers: HeaderMap,
    /// What was answered.
    pub status: StatusCode,
    /// The body as received: compact JWE or JSON. Empty when it could not be read to its end.
    pub wire: Bytes,
    /// When it was `application/jose` and could be opened.
    pub opened: Option<OpenedBody>,
    /// When it was `application/jose` and could not be opened: why.
    pub unopened: Option<OpenError>,
    /// What the provider read: the opened body, or plain JSON as it came. Empty when the call
    /// was refused before its body was looked at (401, 413, 415).
    pub plaintext: Bytes,
}

/// What an opened message said about itself.
#[derive(Clone, Debug)]
pub struct OpenedBody {
    /// The protected header as JSON text, in clear (RFC 7516 section 4).
    pub header: String,
    /// The key it was sealed for, by its own word.
    pub kid: Option<String>,
    /// Length in bytes of each of the five parts (RFC 7516 section 7.1), in their encoded form.
    pub parts: [usize; 5],
}

impl Received {
    /// A call whose answer is not known yet.
    pub(super) fn from_head(head: &request::Parts) -> Self {
        let mut headers = head.headers.clone();
        for (name, value) in headers.iter_mut() {
            value.set_sensitive([AUTHORIZATION.as_str(), "x-api-key", "flinks-auth-key"].contains(&name.as_str()));
        }
        Self {
            number: 0,
            method: head.method.clone(),
            target: head.uri.to_string(),
            headers,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            wire: Bytes::new(),
            opened: None,
            unopened: None,
            plaintext: Bytes::new(),
        }
    }

    /// The key it was sealed for: by its own word when it was opened, and when it was not because
    /// no such key is in the set.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        match (&self.opened, &self.unopened) {
            (Some(opened), _) => opened.kid.as_deref(),
            (None, Some(OpenError::UnknownKey(kid))) => kid.as_deref(),
            _ => None,
        }
    }

    /// Plain JSON shares its memory with `wire`.
    fn bytes(&self) -> usize {
        self.wire.len() + self.opened.as_ref().map_or(0, |_| self.plaintext.len())
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

/// The latest calls, within bounds.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    calls: VecDeque<Received>,
    bytes: usize,
    total: u64,
}

impl CallLog {
    pub(super) fn push(&mut self, mut call: Received) {
        self.total += 1;
        call.number = self.total;
        self.bytes += call.bytes();
        self.calls.push_back(call);
        // The newest stays, whatever its size.
        while self.calls.len() > 1 && (self.calls.len() > MAX_CALLS || self.bytes > MAX_BYTES) {
            self.drop_oldest();
        }
    }

    /// Oldest first.
    pub(super) fn calls(&self) -> Vec<Received> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn last(&self) -> Option<&Received> {
        self.calls.back()
    }

    pub(super) fn numbered(&self, number: u64) -> Option<&Received> {
        let oldest = self.calls.front()?.number;
        let index = usize::try_from(number.checked_sub(oldest)?).ok()?;
        self.calls.get(index)
    }

    /// Calls since the start, kept or not.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Forgets the calls; numbering goes on.
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
        let mut call = Received::from_head(&head);
        call.wire = Bytes::from(vec![b'x'; length]);
        call
    }

    #[test]
    fn the_oldest_calls_leave_first_and_still_count() {
        let mut record = CallLog::default();
        for _ in 0..MAX_CALLS + 5 {
            record.push(call(1));
        }
        assert_eq!(record.calls().len(), MAX_CALLS);
        assert_eq!(record.total(), MAX_CALLS as u64 + 5);
        assert!(record.numbered(5).is_none());
        assert_eq!(record.numbered(6).unwrap().number, 6);
        assert_eq!(record.last().unwrap().number, record.total());
        assert!(record.numbered(record.total() + 1).is_none());
    }

    #[test]
    fn the_record_is_bounded_in_bytes_but_keeps_the_newest_whatever_its_size() {
        let mut record = CallLog::default();
        record.push(call(1000));
        record.push(call(MAX_BYTES - 999));
        assert_eq!(record.calls().len(), 1);
        assert_eq!(record.last().unwrap().number, 2);
        record.push(call(MAX_BYTES + 1));
        assert_eq!(record.last().unwrap().number, 3);
        assert_eq!(record.calls().len(), 1);
        record.push(call(10));
        assert_eq!(record.calls().len(), 1);
        assert_eq!(record.bytes, 10);
    }

    #[test]
    fn numbering_goes_on_after_the_record_was_cleared() {
        let mut record = CallLog::default();
        record.push(call(1));
        record.clear();
        assert!(record.last().is_none());
        record.push(call(1));
        assert_eq!(record.last().unwrap().number, 2);
    }

    #[test]
    fn debug_shows_no_body_token_query_or_header_value() {
        let mut shown = call(0);
        shown.plaintext = Bytes::from_static(b"canary-body");
        assert!(!format!("{shown:?}").contains("canary"));
        assert!(!format!("{:?}", shown.headers).contains("canary-token"));
    }
}
