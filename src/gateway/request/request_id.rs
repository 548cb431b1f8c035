//! One name for a request, in every log line, refusal and forwarded head.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header it travels in, both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ones are replaced: an id is a name, not a message.
const MAX_LENGTH: usize = 128;

/// The name of one request: the caller's own, when it is one, or a new UUID (version 7, so
/// that names sort by time).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The caller's id if there is exactly one and it looks like one, otherwise a new one.
    #[must_use]
    pub fn assign(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(X_REQUEST_ID).iter();
        match (lines.next().and_then(|line| line.to_str().ok()), lines.next()) {
            (Some(id), None) if is_id(id) => Self(id.into()),
            _ => Self(Uuid::now_v7().to_string().into()),
        }
    }

    /// The id that the stack assigned.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_else(|| Self::assign(&HeaderMap::new()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in a head.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        // Ids are made of the characters of `is_id` or of a UUID's, all of which may.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

fn is_id(id: &str) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(lines: &[&'static str]) -> String {
        let headers = lines.iter().map(|line| (X_REQUEST_ID, HeaderValue::from_static(line))).collect();
        RequestId::assign(&headers).as_str().to_owned()
    }

    #[test]
    fn a_callers_id_is_kept_when_it_is_one() {
        assert_eq!(assigned(&["svc-7.42_a"]), "svc-7.42_a");
        let longest: &'static str = "x".repeat(128).leak();
        assert_eq!(assigned(&[longest]), longest);
    }

    #[test]
    fn anything_else_is_replaced_by_a_uuid() {
        let too_long: &'static str = "x".repeat(129).leak();
        for lines in [&[] as &[&'static str], &[""], &["a b"], &["a\"b"], &["one", "two"], &[too_long]] {
            assert!(Uuid::parse_str(&assigned(lines)).is_ok(), "{lines:?}");
        }
    }
}
