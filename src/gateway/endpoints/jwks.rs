//! The provider's JWK Set, served by an egress to its sidecars.
//!
//! A sidecar fetches the set from the egress as it would from the provider: from the same path, with the same
//! validators. The egress answers from its cache, so all sidecars together cause one fetch from the provider
//! in each lifetime.
//!
//! The hard case is a provider that has refused a sidecar's message. The sidecar then asks with
//! `Cache-Control: no-cache` (RFC 9111 section 5.2.1.4), and the egress fetches the set before it answers. If
//! that fetch fails, the egress refuses the request: an answer from the cache could confirm a key that the
//! provider has withdrawn.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::keys::{KeySetDocument, NoUsableKey, PublishedKeys};

/// The path of the set below the upstream's prefix, and the default path of the provider's set.
pub(crate) const PATH: &str = "/.well-known/jwks.json";

/// RFC 7517 section 8.5.2.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/jwk-set+json");

/// Why the key set is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetNotServed {
    #[error("the key set is read with GET or HEAD")]
    Method,
    #[error(transparent)]
    NoUsableKey(#[from] NoUsableKey),
}

/// Answers a request for the key set.
///
/// # Errors
/// See [`KeySetNotServed`].
pub(crate) async fn answer(head: &Parts, keys: &PublishedKeys) -> Result<Response<Bytes>, KeySetNotServed> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(KeySetNotServed::Method);
    }
    let published = keys.key_set(bypasses_caches(&head.headers)).await?;
    Ok(respond(&head.headers, published))
}

fn respond(request: &HeaderMap, published: KeySetDocument) -> Response<Bytes> {
    let KeySetDocument { document, etag, lifetime_left } = published;
    let is_known = request.get_all(IF_NONE_MATCH).iter().any(|line| lists(line, &etag));
    let mut response = Response::new(if is_known { Bytes::new() } else { Bytes::from(document) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    }
    let lifetime = format!("max-age={}", lifetime_left.as_secs());
    for (name, value) in [(ETAG, etag), (CACHE_CONTROL, lifetime)] {
        // Always valid: Base64url in quotes, and digits.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn bypasses_caches(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(CACHE_CONTROL).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    directives.map(<[u8]>::trim_ascii).any(|directive| directive.eq_ignore_ascii_case(b"no-cache"))
}

/// Whether a line of `If-None-Match` lists `etag`, by weak comparison (RFC 9110 section 13.1.2).
fn lists(line: &HeaderValue, etag: &str) -> bool {
    let mut listed = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    listed.any(|listed| listed == b"*" || listed.strip_prefix(b"W/").unwrap_or(listed) == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn published() -> KeySetDocument {
        KeySetDocument { document: "{}".into(), etag: "\"abc\"".into(), lifetime_left: Duration::from_millis(59_900) }
    }

    #[test]
    fn a_set_that_the_sidecar_has_is_not_sent_again() {
        for known in ["\"abc\"", "\"x\", W/\"abc\"", "*"] {
            let answer = respond(&request(IF_NONE_MATCH, known), published());
            assert_eq!((answer.status().as_u16(), answer.body().len()), (304, 0), "{known}");
            assert_eq!(answer.headers()[ETAG], "\"abc\"");
        }
        let answer = respond(&request(IF_NONE_MATCH, "\"ab\""), published());
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"{}"[..]));
        assert_eq!(answer.headers()[CACHE_CONTROL], "max-age=59");
    }

    #[test]
    fn only_no_cache_bypasses_the_cache() {
        assert!(bypasses_caches(&request(CACHE_CONTROL, "max-age=0, No-Cache")));
        assert!(!bypasses_caches(&request(CACHE_CONTROL, "max-age=0")));
        assert!(!bypasses_caches(&HeaderMap::new()));
    }
}
