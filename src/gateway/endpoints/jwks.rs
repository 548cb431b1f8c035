//! The provider's JWK Set, served to those who seal before us.
//!
//! A sidecar asks here as it would ask the provider: at the same path, with the same validators.
//! It gets what we hold, so a fleet of sidecars costs the provider one fetch for each lifetime.
//! When the provider has refused one of its messages, it asks past our cache
//! (`Cache-Control: no-cache`, RFC 9111 section 5.2.1.4): then we ask the provider first, and say so
//! if that fails, rather than confirm a key that may be gone.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::gateway::response::refusal::Refusal;
use crate::keys::{KeySetDocument, PublishedKeys};

/// Where it is served, behind the upstream's prefix. The default of whoever fetches one.
pub(crate) const PATH: &str = "/.well-known/jwks.json";

/// RFC 7517 section 8.5.2.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/jwk-set+json");

/// Answers a request for the key set.
///
/// # Errors
/// `no_usable_key` when there is none; `method_not_allowed`.
pub(crate) async fn answer(head: &Parts, keys: &PublishedKeys) -> Result<Response<Bytes>, Refusal> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Refusal::MethodNotAllowed);
    }
    let published = keys.published(bypasses_caches(&head.headers)).await?;
    Ok(respond(&head.headers, published))
}

fn respond(asked: &HeaderMap, published: KeySetDocument) -> Response<Bytes> {
    let KeySetDocument { document, etag, lifetime_left } = published;
    let is_known = asked.get_all(IF_NONE_MATCH).iter().any(|line| lists(line, &etag));
    let mut response = Response::new(if is_known { Bytes::new() } else { Bytes::from(document) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    }
    let lifetime = format!("max-age={}", lifetime_left.as_secs());
    for (name, value) in [(ETAG, etag), (CACHE_CONTROL, lifetime)] {
        // Base64url in quotes, and digits.
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

/// RFC 9110 section 13.1.2; the comparison is weak, as it says.
fn lists(line: &HeaderValue, etag: &str) -> bool {
    let mut listed = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    listed.any(|listed| listed == b"*" || listed.strip_prefix(b"W/").unwrap_or(listed) == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn asked(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn published() -> KeySetDocument {
        KeySetDocument { document: "{}".into(), etag: "\"abc\"".into(), lifetime_left: Duration::from_millis(59_900) }
    }

    #[test]
    fn a_known_set_is_not_sent_again() {
        for known in ["\"abc\"", "\"x\", W/\"abc\"", "*"] {
            let answer = respond(&asked(IF_NONE_MATCH, known), published());
            assert_eq!((answer.status().as_u16(), answer.body().len()), (304, 0), "{known}");
            assert_eq!(answer.headers()[ETAG], "\"abc\"");
        }
        let answer = respond(&asked(IF_NONE_MATCH, "\"ab\""), published());
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"{}"[..]));
        assert_eq!(answer.headers()[CACHE_CONTROL], "max-age=59");
    }

    #[test]
    fn only_no_cache_asks_past_caches() {
        assert!(bypasses_caches(&asked(CACHE_CONTROL, "max-age=0, No-Cache")));
        assert!(!bypasses_caches(&asked(CACHE_CONTROL, "max-age=0")));
        assert!(!bypasses_caches(&HeaderMap::new()));
    }
}
