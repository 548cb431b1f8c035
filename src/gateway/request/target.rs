//! The methods and targets that are forwarded: the methods of the provider's API, and targets in origin-form
//! with an unambiguous path.
//!
//! If the gateway and the provider normalise a path differently, a request for one resource passes the checks
//! for another. The gateway does not normalise paths. It refuses a path that can be read in two ways, and
//! forwards any other byte for byte. The hard case is `;`: a segment may have parameters (RFC 3986 section
//! 3.3), and some servers remove them first. For those servers `..;x` is a dot segment and `/v0/token;x` is
//! the token endpoint.
//!
//! In HTTP/2 the target also has a scheme and an authority. They describe the connection, as `Host` does in
//! HTTP/1.1. The scheme is always `https`, because the gateway has no HTTP/2 without TLS.

use http::uri::Scheme;
use http::{Method, Uri, Version};
use percent_encoding::percent_decode_str;

/// The forwarded methods, as the value of `Allow`. CONNECT would open a tunnel, and TRACE would echo the
/// credential.
pub(crate) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

pub(crate) fn is_forwarded(method: &Method) -> bool {
    METHODS.split(", ").any(|forwarded| forwarded == method.as_str())
}

/// Why a target is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetFault {
    /// `http://host/path`, `host:port` or `*` (RFC 9112 section 3.2). The provider's address comes from the
    /// configuration alone.
    #[error("the target must be a path that begins with /, without scheme and host")]
    NotOriginForm,
    /// `.` or `..`, also percent-encoded or with parameters.
    #[error("the path must not have a dot segment")]
    DotSegment,
    /// `//`, which some servers read as the start of an authority, or a segment that has only parameters.
    #[error("the path must not have an empty segment")]
    EmptySegment,
    /// `\`, also percent-encoded. Some servers read it as `/`.
    #[error("the path must not have a backslash")]
    Backslash,
    /// NUL, CR, LF and the others, also percent-encoded.
    #[error("the path must not have a control character")]
    ControlByte,
    /// A byte above 0x7F in the path or the query. RFC 3986 section 2 allows ASCII only, and servers read other bytes
    /// in different ways.
    #[error("the target must be ASCII: percent-encode other characters")]
    NotAscii,
    /// The decoded path is not text (RFC 3986 section 2.5 asks for UTF-8).
    #[error("the path must be UTF-8")]
    NotUtf8,
    /// RFC 9112 section 3.2 asks for a 400. In HTTP/2 `:authority` replaces `Host`, and a `Host` beside it
    /// must be equal (RFC 9113 section 8.3.1).
    #[error("a request must have exactly one valid Host")]
    Host,
    /// `strip_prefix` is set, and the character after the prefix is `%2F`.
    #[error("the upstream's prefix must be followed by /, not by an escaped slash")]
    EscapedSlash,
    #[error("the target is too long after the upstream's base path is added")]
    TooLong,
}

/// Checks the target of a request with this version of HTTP.
pub(crate) fn check(target: &Uri, version: Version) -> Result<(), TargetFault> {
    let is_origin_form = match (target.scheme(), target.authority()) {
        (None, None) => true,
        (Some(scheme), Some(_)) => version == Version::HTTP_2 && *scheme == Scheme::HTTPS,
        _ => false,
    };
    if !is_origin_form || !target.path().starts_with('/') {
        return Err(TargetFault::NotOriginForm);
    }
    if !target.path().is_ascii() || !target.query().unwrap_or_default().is_ascii() {
        return Err(TargetFault::NotAscii);
    }
    check_path(target.path().as_bytes())?;
    let decoded: Vec<u8> = percent_decode_str(target.path()).collect();
    check_path(&decoded)?;
    // Some decoders read the overlong `%C0%AF` as a slash.
    if std::str::from_utf8(&decoded).is_err() { Err(TargetFault::NotUtf8) } else { Ok(()) }
}

/// Whether a server may read `path` as `endpoint`. Escapes, parameters of segments, the case of letters and a
/// slash at the end are not compared.
pub(crate) fn may_equal(path: &str, endpoint: &str) -> bool {
    let endpoint = || plain(endpoint.trim_end_matches('/'));
    plain(path).eq(endpoint()) || plain(path).eq(endpoint().chain([b'/']))
}

/// The bytes of `path` as the most tolerant server reads it. An iterator, because most paths differ within a
/// few bytes.
fn plain(path: &str) -> impl Iterator<Item = u8> {
    let mut is_parameter = false;
    percent_decode_str(path).filter_map(move |byte| {
        is_parameter = byte == b';' || is_parameter && byte != b'/';
        (!is_parameter).then_some(byte.to_ascii_lowercase())
    })
}

fn check_path(path: &[u8]) -> Result<(), TargetFault> {
    if path.iter().any(u8::is_ascii_control) {
        return Err(TargetFault::ControlByte);
    }
    if path.contains(&b'\\') {
        return Err(TargetFault::Backslash);
    }
    if path.windows(2).any(|pair| pair == b"//" || pair == b"/;") {
        return Err(TargetFault::EmptySegment);
    }
    let mut segments = path.split(|byte| *byte == b'/').map(without_parameters);
    if segments.any(|segment| segment == b"." || segment == b"..") {
        return Err(TargetFault::DotSegment);
    }
    Ok(())
}

fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|byte| *byte == b';').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(target: &str) -> Result<(), TargetFault> {
        check(&target.parse().unwrap(), Version::HTTP_11)
    }

    #[test]
    fn ordinary_paths_and_any_query_are_forwarded() {
        for target in [
            "/",
            "/v0/bank/credentials",
            "/a.b/..c/d..",
            "/caf%C3%A9",
            "/x?next=//../%00\\",
            "/x?",
            "/a%20b",
            "/v0/",
            "/a;x=../b",
        ] {
            assert_eq!(checked(target), Ok(()), "{target}");
        }
    }

    #[test]
    fn an_ambiguous_path_is_refused() {
        for (target, fault) in [
            ("/a/../b", TargetFault::DotSegment),
            ("/..", TargetFault::DotSegment),
            ("/a/./b", TargetFault::DotSegment),
            ("/a/%2e%2e/b", TargetFault::DotSegment),
            ("/a/%2E./b", TargetFault::DotSegment),
            ("/a%2f..%2fb", TargetFault::DotSegment),
            ("/a/..;/b", TargetFault::DotSegment),
            ("/a/..;x=1/b", TargetFault::DotSegment),
            ("/a/%2e%2e%3bx/b", TargetFault::DotSegment),
            ("/a/.;", TargetFault::DotSegment),
            ("//host/path", TargetFault::EmptySegment),
            ("/a//b", TargetFault::EmptySegment),
            ("/a/%2fb", TargetFault::EmptySegment),
            ("/a/;x/b", TargetFault::EmptySegment),
            ("/a%5cb", TargetFault::Backslash),
            ("/a%00b", TargetFault::ControlByte),
            ("/a%0d%0ab", TargetFault::ControlByte),
            ("/a%7Fb", TargetFault::ControlByte),
            ("/a/%c0%ae%c0%ae", TargetFault::NotUtf8),
            ("/caf%E9", TargetFault::NotUtf8),
            ("/café", TargetFault::NotAscii),
            ("/x?name=café", TargetFault::NotAscii),
            ("/\u{ff0e}\u{ff0e}/b", TargetFault::NotAscii),
        ] {
            assert_eq!(checked(target), Err(fault), "{target}");
        }
    }

    #[test]
    fn only_origin_form_is_forwarded() {
        for target in ["http://elsewhere.test/v0/token", "elsewhere.test:443", "*"] {
            assert_eq!(checked(target), Err(TargetFault::NotOriginForm), "{target}");
        }
    }

    #[test]
    fn an_http2_target_may_have_the_scheme_https_and_an_authority() {
        let checked = |target: &str| check(&target.parse().unwrap(), Version::HTTP_2);
        assert_eq!(checked("https://gateway.internal/v0/token?a=b"), Ok(()));
        assert_eq!(checked("/v0/token"), Ok(()), "an intermediary may send Host instead");
        assert_eq!(checked("http://gateway.internal/v0/token"), Err(TargetFault::NotOriginForm));
        assert_eq!(checked("ftp://gateway.internal/v0/token"), Err(TargetFault::NotOriginForm));
        assert_eq!(checked("gateway.internal:443"), Err(TargetFault::NotOriginForm));
        assert_eq!(checked("https://gateway.internal/a/../b"), Err(TargetFault::DotSegment));
    }

    #[test]
    fn an_endpoint_is_recognised_in_every_spelling() {
        assert!(may_equal("/v0/token", "/v0/token"));
        for path in [
            "/v0/%74oken/",
            "/v0/token;x",
            "/v0;a=b/token;",
            "/v0/token%3Bx",
            "/v0/Token",
            "/v0/token;x/",
            "/v0%2ftoken",
        ] {
            assert!(may_equal(path, "/v0/token"), "{path}");
        }
        for path in ["/v0/tokens", "/v0/token/x", "/v0", "/token", "/"] {
            assert!(!may_equal(path, "/v0/token"), "{path}");
        }
    }
}
