//! The id of a request, in every log line, refusal and forwarded head.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// In bytes. A longer id could carry content.
const MAX_LENGTH: usize = 128;

/// The id of one request: the caller's, if it is valid, or a new UUID. Version 7 makes the ids sort by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The caller's id, if `headers` has exactly one and it is valid; otherwise a new one.
    #[must_use]
    pub fn assign(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(X_REQUEST_ID).iter();
        match (lines.next().and_then(|line| line.to_str().ok()), lines.next()) {
            (Some(id), None) if is_valid(id) => Self(id.into()),
            _ => Self(Uuid::now_v7().to_string().into()),
        }
    }

    /// The id that was assigned to a request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_else(|| Self::assign(&HeaderMap::new()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the value of `X-Request-Id`.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        // Never invalid: `is_valid` and UUIDs have only characters that are allowed in a header.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

fn is_valid(id: &str) -> bool {
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
    fn a_valid_id_of_the_caller_is_kept() {
        assert_eq!(assigned(&["svc-7.42_a"]), "svc-7.42_a");
        let longest: &'static str = "x".repeat(128).leak();
        assert_eq!(assigned(&[longest]), longest);
    }

    #[test]
    fn an_invalid_id_is_replaced_by_a_uuid() {
        let too_long: &'static str = "x".repeat(129).leak();
        for lines in [&[] as &[&'static str], &[""], &["a b"], &["a\"b"], &["one", "two"], &[too_long]] {
            assert!(Uuid::parse_str(&assigned(lines)).is_ok(), "{lines:?}");
        }
    }
}
