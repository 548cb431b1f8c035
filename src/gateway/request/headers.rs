//! Which headers travel.
//!
//! A caller's header passes unless it is named here, for one of three reasons: it belongs to
//! the connection and not to the message (RFC 9110 section 7.6.1), it would tell the provider,
//! or whoever reads on the way, about our callers or about a body that is sealed, or it is ours
//! to set. `Connection` may come in several lines, and
//! every name in each of them goes, before ours are set: a caller who names `Authorization`
//! there removes its own, never ours.
//!
//! A name spelt with underscores goes when its twin with hyphens does: behind many servers
//! both arrive as one variable.

use std::borrow::Cow;

use http::header::{CONNECTION, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gateway::response::refusal::PSEUDONYM;

/// Belong to one connection, in both directions. `Trailer` is not among them: it announces
/// fields of the message.
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

/// A caller's, and none of the provider's business, or set by us.
const REQUEST_ONLY: [&str; 25] = [
    // Credentials of the caller's; ours are put on afterwards.
    "authorization",
    "cookie",
    // Where the request came from, and what it was before.
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
    // A request is what its request line says.
    "max-forwards",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    // Digests of the clear body would confirm a guess of it to whoever sees them.
    "digest",
    "repr-digest",
    // Set from what is sent, not from what came.
    "host",
    "trailer",
    "x-request-id",
];

/// The families of the same: they describe the clear body, or name those it came through.
const REQUEST_ONLY_FAMILIES: [&str; 2] = ["content-", "x-forwarded-"];

/// The provider's, and not for callers: cookies would be the gateway's, shared by all its
/// callers, and an alternative service would be reached past the gateway.
const REPLY_ONLY: [&str; 3] = ["alt-svc", "set-cookie", "set-cookie2"];

/// How a body is framed beside its length (RFC 9112 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferCoding {
    /// By its length, or by the end of the connection.
    None,
    /// In chunks, and no other coding.
    Chunked,
    /// Twice, or in a coding we do not undo.
    Other,
}

/// What the `Transfer-Encoding` lines say. hyper looks at the last coding alone.
pub(crate) fn transfer_coding(headers: &HeaderMap) -> TransferCoding {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => TransferCoding::None,
        (Some(line), None) if line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => TransferCoding::Chunked,
        _ => TransferCoding::Other,
    }
}

/// What of a caller's headers goes on to the provider, before ours are added.
pub(crate) fn to_provider(mut headers: HeaderMap) -> HeaderMap {
    strip_connection(&mut headers);
    remove_where(&mut headers, |name| {
        // Few names have an underscore: the others are looked at where they are.
        let twin = if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) };
        let twin = twin.trim_matches('-');
        REQUEST_ONLY.contains(&twin)
            || REQUEST_ONLY_FAMILIES.iter().any(|family| twin.starts_with(family))
            || HOP_BY_HOP.iter().any(|dropped| dropped == twin)
    });
    headers.insert(VIA, via());
    headers
}

/// What of the provider's headers goes back to the caller.
pub(crate) fn to_caller(headers: &mut HeaderMap) {
    strip_connection(headers);
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    for name in REPLY_ONLY {
        headers.remove(name);
    }
}

/// Removes every header that some `Connection` line names.
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

fn remove_where(headers: &mut HeaderMap, dropped: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| dropped(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// RFC 9110 section 7.6.3: a gateway names itself in what it forwards.
fn via() -> HeaderValue {
    const VALUE: &str = "1.1 jwe-gateway";
    const { assert!(PSEUDONYM.len() + 4 == VALUE.len(), "Via and Proxy-Status name us alike") };
    HeaderValue::from_static(VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn names_in_every_connection_line_go() {
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
    fn what_belongs_to_the_connection_or_to_us_goes_and_the_rest_passes() {
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
            ["accept", "accept-encoding", "idempotency-key", "traceparent", "tracestate", "user-agent", "via"]
        );
        assert_eq!(headers[VIA], "1.1 jwe-gateway");
    }

    #[test]
    fn a_twin_spelt_with_underscores_goes_too() {
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
    fn a_reply_keeps_its_own_headers_and_loses_those_of_its_connection() {
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
