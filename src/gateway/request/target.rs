//! Which requests are forwarded: the methods of the provider's API, and targets in origin-form
//! whose path means the same to everyone who reads it.
//!
//! A path that one reader normalises and the next does not is how a request for one thing
//! passes as a request for another. Rather than normalise, and hope that the provider does it
//! the same way, we refuse what has two readings, and forward the rest byte for byte. Behind `;` a
//! segment may have parameters (RFC 3986 section 3.3), which some servers take off before they look:
//! `..;x` is a dot segment to them, and `/v0/token;x` is the token endpoint.
//!
//! HTTP/2 spells the target in pieces; scheme and authority are among them and belong to the
//! connection, as `Host` does in HTTP/1.1. There the scheme is `https`, since there is no HTTP/2
//! without TLS here.

use http::uri::Scheme;
use http::{Method, Uri, Version};
use percent_encoding::percent_decode_str;

/// The methods that are forwarded, as the `Allow` of a 405 names them. Neither CONNECT, which
/// would tunnel, nor TRACE, which would echo our credentials.
pub(crate) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// Whether `method` is one of [`METHODS`].
#[must_use]
pub(crate) fn is_forwarded(method: &Method) -> bool {
    METHODS.split(", ").any(|forwarded| forwarded == method.as_str())
}

/// Why a target is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetFault {
    /// `http://host/path`, `host:port` or `*` (RFC 9112 section 3.2): the provider's address
    /// comes from configuration alone.
    #[error("only targets in origin-form are forwarded")]
    NotOriginForm,
    /// `.` or `..`, also percent-encoded, also with parameters behind it.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `//`: an empty segment, which some readers take for an authority. Also one of parameters alone.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `\`, which some readers take for `/`, also percent-encoded.
    #[error("the path has a backslash")]
    Backslash,
    /// NUL, CR, LF and the like, also percent-encoded.
    #[error("the path has a control byte")]
    ControlByte,
    /// Bytes that are no text when they are decoded (RFC 3986 section 2.5 has new paths in UTF-8).
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// No `Host`, more than one, or none that is valid (RFC 9112 section 3.2 asks for 400).
    /// In HTTP/2 `:authority` stands for it; beside it, `Host` must say the same (RFC 9113 section
    /// 8.3.1).
    #[error("a request has exactly one Host, and a valid one")]
    Host,
    /// The upstream's prefix is to be taken off, and what ends it is `%2F`.
    #[error("the path goes on behind the upstream's prefix with an escaped slash")]
    EscapedSlash,
    /// Behind the upstream's base path it is no target any more; it has become too long.
    #[error("the target is too long behind the upstream's base path")]
    BehindBasePath,
}

/// Checks a target as it came, by HTTP of this version.
///
/// # Errors
/// See [`TargetFault`].
pub(crate) fn check(target: &Uri, version: Version) -> Result<(), TargetFault> {
    let is_own = match (target.scheme(), target.authority()) {
        (None, None) => true,
        (Some(scheme), Some(_)) => version == Version::HTTP_2 && *scheme == Scheme::HTTPS,
        _ => false,
    };
    if !is_own || !target.path().starts_with('/') {
        return Err(TargetFault::NotOriginForm);
    }
    check_path(target.path().as_bytes())?;
    let decoded: Vec<u8> = percent_decode_str(target.path()).collect();
    check_path(&decoded)?;
    // Some decoders take an overlong `%C0%AF` for a slash.
    if std::str::from_utf8(&decoded).is_err() { Err(TargetFault::NotUtf8) } else { Ok(()) }
}

/// Whether some server may take `path` for `endpoint`: escapes, parameters of segments, the case of
/// letters and a slash at the end make no difference.
pub(crate) fn may_equal(path: &str, endpoint: &str) -> bool {
    let endpoint = || plain(endpoint.trim_end_matches('/'));
    plain(path).eq(endpoint()) || plain(path).eq(endpoint().chain([b'/']))
}

/// `path` as the most forgiving of servers reads it. Most paths differ from another within a few bytes.
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
    fn a_path_with_two_readings_is_refused() {
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
    fn in_http2_scheme_and_authority_are_the_connections() {
        let checked = |target: &str| check(&target.parse().unwrap(), Version::HTTP_2);
        assert_eq!(checked("https://gateway.internal/v0/token?a=b"), Ok(()));
        assert_eq!(checked("/v0/token"), Ok(()), "an intermediary sent Host instead");
        assert_eq!(checked("http://gateway.internal/v0/token"), Err(TargetFault::NotOriginForm));
        assert_eq!(checked("ftp://gateway.internal/v0/token"), Err(TargetFault::NotOriginForm));
        assert_eq!(checked("gateway.internal:443"), Err(TargetFault::NotOriginForm));
        assert_eq!(checked("https://gateway.internal/a/../b"), Err(TargetFault::DotSegment));
    }

    #[test]
    fn a_resource_is_recognised_however_it_is_spelt() {
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
