//! The id of a request, in every log line, refusal and forwarded head.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Builder;
use uuid::fmt::Hyphenated;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// In bytes. A longer id could carry content.
const MAX_LENGTH: usize = 128;

/// The id of one request: the caller's, if it is valid, or a new UUID. Version 7 makes the ids sort by time.
///
/// Kept as a header value, because two messages carry it: the request to the provider and the response. Only
/// [`assign`](Self::assign) makes one, so it is always visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's id, if `headers` has exactly one and it is valid; otherwise a new one.
    #[must_use]
    pub fn assign(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(X_REQUEST_ID).iter();
        match (lines.next(), lines.next()) {
            // A copy: the caller's value is a part of hyper's read buffer, and would keep all of it in memory.
            (Some(id), None) if is_valid(id.as_bytes()) => {
                HeaderValue::from_bytes(id.as_bytes()).map_or_else(|_| Self::random(), Self)
            }
            _ => Self::random(),
        }
    }

    /// A new id. Ids are no secrets, so their random part needs no call of the operating system.
    fn random() -> Self {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let random: [u8; 10] = std::array::from_fn(|_| fastrand::u8(..));
        let uuid = Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(u64::MAX), &random).into_uuid();
        let mut text = [0; Hyphenated::LENGTH];
        // Never invalid: a UUID has hexadecimal digits and hyphens.
        Self(HeaderValue::from_str(uuid.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static("-")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Never invalid: see the type.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as the value of `X-Request-Id`.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_valid(id: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

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
