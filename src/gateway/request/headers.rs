//! Removes the headers that are not forwarded, from requests and from replies.
//!
//! A caller's header is forwarded unless this file names it, for one of three reasons:
//!
//! - It belongs to the connection, not to the message (RFC 9110 section 7.6.1).
//! - It reveals something about the callers, or about the content of a sealed body.
//! - The gateway sets it.
//!
//! Every header named in any `Connection` line is removed as well. That is done before the gateway adds its
//! own headers: a caller that names `Authorization` there removes its own credential, not the gateway's.
//!
//! A name with underscores is removed like the same name with hyphens, because many servers read both as one
//! variable.

use std::borrow::Cow;

use http::header::{CONNECTION, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, HeaderName};

use crate::gateway::request::via::GatewayId;

/// Headers of one connection, removed in both directions. `Trailer` is not one of them: it names fields of
/// the message.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
];

/// Headers of callers that are not forwarded.
const REQUEST_ONLY: [&str; 26] = [
    // Credentials for the gateway. The provider's are added later.
    "authorization",
    "cookie",
    // The origin of the request.
    "client-ip",
    "forwarded",
    "proxy",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-forward-for",
    "x-forwarded",
    "x-host",
    "x-original-host",
    "x-real-ip",
    // Method and target are those of the request line.
    "max-forwards",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    // A digest of the clear body would confirm a guess of its content.
    "digest",
    "repr-digest",
    // The gateway sets these, or the message that it sends has none.
    "host",
    "traceparent",
    "trailer",
    "x-request-id",
];

/// The same for all names with these prefixes: they describe the clear body, or the origin of the request.
const REQUEST_ONLY_FAMILIES: [&str; 2] = ["content-", "x-forwarded-"];

/// Headers of replies that are not relayed. All callers would share a cookie, because to the provider the
/// gateway is one client. A caller that used an alternative service would bypass the gateway.
const REPLY_ONLY: [&str; 3] = ["alt-svc", "set-cookie", "set-cookie2"];

/// The framing of a body according to `Transfer-Encoding` (RFC 9112 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferCoding {
    None,
    /// Chunked, without another coding.
    Chunked,
    /// Several lines, or a coding that the gateway does not decode.
    Other,
}

/// The transfer coding of a message. hyper looks at the last coding alone, so this looks at all.
pub(crate) fn transfer_coding(headers: &HeaderMap) -> TransferCoding {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => TransferCoding::None,
        (Some(line), None) if line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => TransferCoding::Chunked,
        _ => TransferCoding::Other,
    }
}

/// The caller's headers that are forwarded, and `Via` with the mark of gateway `id`.
pub(crate) fn to_provider(mut headers: HeaderMap, id: &GatewayId) -> HeaderMap {
    let via = id.via(&headers);
    strip_connection(&mut headers);
    remove_where(&mut headers, |name| {
        // Few names have an underscore; the others are not copied.
        let hyphenated = if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) };
        let hyphenated = hyphenated.trim_matches('-');
        REQUEST_ONLY.contains(&hyphenated)
            || REQUEST_ONLY_FAMILIES.iter().any(|family| hyphenated.starts_with(family))
            || HOP_BY_HOP.iter().any(|removed| removed == hyphenated)
    });
    headers.insert(VIA, via);
    headers
}

/// Removes the provider's headers that are not relayed.
pub(crate) fn to_caller(headers: &mut HeaderMap) {
    strip_connection(headers);
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    for name in REPLY_ONLY {
        headers.remove(name);
    }
}

/// Removes every header that a `Connection` line names.
fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn remove_where(headers: &mut HeaderMap, removed: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| removed(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn to_provider(headers: HeaderMap) -> HeaderMap {
        super::to_provider(headers, &GatewayId::random())
    }

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn headers_named_in_any_connection_line_are_removed() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive, X-First"));
        headers.append(CONNECTION, HeaderValue::from_static("x-second ,, authorization"));
        for (name, value) in
            &map(&[("x-first", "1"), ("x-second", "2"), ("authorization", "Bearer caller"), ("x-kept", "3")])
        {
            headers.insert(name, value.clone());
        }
        assert_eq!(names(&to_provider(headers)), ["via", "x-kept"]);
    }

    #[test]
    fn headers_of_the_connection_and_of_the_gateway_are_removed_and_others_are_forwarded() {
        let headers = to_provider(map(&[
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("authorization", "Bearer caller"),
            ("content-digest", "sha-256=:AA==:"),
            ("content-encoding", "identity"),
            ("content-length", "3"),
            ("content-md5", "AA=="),
            ("content-type", "application/json"),
            ("cookie", "a=b"),
            ("digest", "sha-256=AA=="),
            ("expect", "100-continue"),
            ("forwarded", "for=10.0.0.1"),
            ("host", "gateway.internal"),
            ("idempotency-key", "k"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "a=b"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("user-agent", "svc/1"),
            ("via", "1.1 internal"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "evil.test"),
            ("x-http-method-override", "DELETE"),
            ("x-real-ip", "10.0.0.1"),
        ]));
        assert_eq!(
            names(&headers),
            ["accept", "accept-encoding", "idempotency-key", "tracestate", "user-agent", "via"]
        );
        let via = headers[VIA].to_str().unwrap();
        assert!(via.starts_with("1.1 jwe-gateway-") && !via.contains("internal"), "{via}");
    }

    #[test]
    fn names_with_underscores_are_removed_too() {
        let headers = to_provider(map(&[
            ("authorization_", "Bearer caller"),
            ("content_length", "3"),
            ("transfer_encoding", "chunked"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x_kept", "1"),
        ]));
        assert_eq!(names(&headers), ["via", "x_kept"]);
    }

    #[test]
    fn a_reply_keeps_the_headers_of_the_message_and_loses_those_of_the_connection() {
        let mut headers = map(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("set-cookie", "a=b"),
            ("alt-svc", "h2=\"elsewhere.test:443\""),
            ("content-type", "application/json"),
            ("content-length", "3"),
            ("trailer", "x-sum"),
        ]);
        to_caller(&mut headers);
        assert_eq!(names(&headers), ["content-length", "content-type", "trailer"]);
    }
}
