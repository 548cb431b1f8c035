//! The `trace_id` in the body of the provider's error reply. The provider's support asks for it.
//!
//! The body is copied while it is relayed, and read at its end. So no reply waits for it. Only a reply that announces
//! itself as a small JSON error is copied.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

/// The longest body that is examined. The documented error replies are shorter than one KiB.
const MAX_EXAMINED: usize = 4 * 1024;

/// The longest trace id that is accepted. Ids are logged, so they must be short.
const MAX_ID: usize = 64;

/// A copy of an error reply's body.
#[derive(Debug, Default)]
pub(crate) struct ErrorBody(Vec<u8>);

#[derive(Deserialize)]
struct Traced {
    trace_id: String,
}

impl ErrorBody {
    /// None if the reply with this head is no small JSON error.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let is_error = status.is_client_error() || status.is_server_error();
        (is_error && is_json(headers) && may_be_small(headers) && !headers.contains_key(CONTENT_ENCODING))
            .then(Self::default)
    }

    /// False if the body is too long. The copy is then of no use.
    pub(crate) fn push(&mut self, data: &Bytes) -> bool {
        let fits = self.0.len() + data.len() <= MAX_EXAMINED;
        if fits {
            self.0.extend_from_slice(data);
        }
        fits
    }

    /// The trace id in a complete body.
    pub(crate) fn trace_id(&self) -> Option<String> {
        let Traced { trace_id } = serde_json::from_slice(&self.0).ok()?;
        let is_valid = (1..=MAX_ID).contains(&trace_id.len())
            && trace_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_valid.then_some(trace_id)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.len() > 5 && essence.as_bytes()[essence.len() - 5..].eq_ignore_ascii_case(b"+json")
}

/// A body of unknown length may be small.
fn may_be_small(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    length.is_none_or(|length| length <= MAX_EXAMINED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_id(body: &str) -> Option<String> {
        let mut copy = ErrorBody::default();
        assert!(copy.push(&Bytes::copy_from_slice(body.as_bytes())));
        copy.trace_id()
    }

    #[test]
    fn the_trace_id_of_an_error_is_read_if_it_is_short_and_has_no_special_characters() {
        let body = r#"{"success":false,"error":{"code":"NOT_FOUND"},"trace_id":"4bf92f35-77b3"}"#;
        assert_eq!(trace_id(body).as_deref(), Some("4bf92f35-77b3"));
        for other in ["", "{}", "[]", r#"{"trace_id":7}"#, r#"{"trace_id":""}"#, r#"{"trace_id":"a\nb"}"#] {
            assert_eq!(trace_id(other), None, "{other}");
        }
        assert_eq!(trace_id(&format!(r#"{{"trace_id":"{}"}}"#, "a".repeat(MAX_ID + 1))), None);
        assert!(trace_id(&format!(r#"{{"trace_id":"{}"}}"#, "a".repeat(MAX_ID))).is_some());
    }

    #[test]
    fn only_a_small_json_error_is_copied() {
        let head = |status: u16, headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            ErrorBody::of(StatusCode::from_u16(status).unwrap(), &headers.collect()).is_some()
        };
        let json = ("content-type", "application/json; charset=utf-8");
        assert!(head(400, &[json]) && head(503, &[("content-type", "Application/Problem+JSON")]));
        assert!(head(404, &[json, ("content-length", "4096")]) && !head(404, &[json, ("content-length", "4097")]));
        assert!(
            !head(200, &[json]) && !head(301, &[json]) && !head(400, &[]) && !head(400, &[("content-type", "json")])
        );
        assert!(!head(400, &[json, ("content-encoding", "gzip")]));
        let mut copy = ErrorBody::default();
        assert!(copy.push(&Bytes::from(vec![b' '; MAX_EXAMINED])) && !copy.push(&Bytes::from_static(b" ")));
    }
}
