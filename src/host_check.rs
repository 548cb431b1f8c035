//! Recognises requests of web pages, for interfaces that are not for web pages.
//!
//! A page that is open in a browser can send requests to every address that this browser can reach, loopback included.
//! There are two ways:
//!
//! - A request to another origin. Browsers mark it with `Origin` or with `Sec-Fetch-Site`, and a page can change neither.
//!   `Sec-Fetch-Site: none` is a person who typed the address.
//! - DNS rebinding: a host name of the page's own, which resolves to the interface's address. The browser then sees one
//!   origin, and sends neither header to a plain HTTP name. Only `Host` shows the name. An IP address in `Host` cannot be
//!   rebound, because no name was resolved.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The host of a `Host` header, without its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name in lower case, without a dot at its end.
    Name(String),
}

impl Host {
    /// Returns the host of the only `Host` header. None if there is none, if there are several, or if it is invalid.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let authority: Authority = value.to_str().ok()?.parse().ok()?;
        let host = authority.host().trim_matches(['[', ']']);
        Some(host.parse().map_or_else(|_| Self::Name(host.trim_end_matches('.').to_ascii_lowercase()), Self::Ip))
    }

    /// Whether browsers resolve this name to a loopback address without DNS.
    pub(crate) fn is_localhost(&self) -> bool {
        matches!(self, Self::Name(name) if name == "localhost")
    }
}

/// Whether a browser sent this request for a page of another origin.
pub(crate) fn is_cross_origin(headers: &HeaderMap) -> bool {
    let is_foreign = |site: &http::HeaderValue| site != "none" && site != "same-origin";
    headers.contains_key(ORIGIN) || headers.get_all(SEC_FETCH_SITE).iter().any(is_foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_request_for_a_page_of_another_origin_is_recognised() {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(is_cross_origin(&headers(&[(name, value)])), "{name}: {value}");
        }
        assert!(!is_cross_origin(&headers(&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")])));
        // Node's `fetch` sends this one.
        assert!(!is_cross_origin(&headers(&[("sec-fetch-mode", "cors")])));
    }

    #[test]
    fn the_host_is_an_address_or_a_name() {
        let host = |value| Host::of(&headers(&[("host", value)]));
        assert_eq!(host("127.0.0.1:8081"), Some(Host::Ip([127, 0, 0, 1].into())));
        assert_eq!(host("[::1]:80"), Some(Host::Ip("::1".parse().unwrap())));
        assert_eq!(host("Gateway.Internal.:8081"), Some(Host::Name("gateway.internal".to_owned())));
        assert!(host("LOCALHOST").unwrap().is_localhost());
        assert!(!host("localhost.evil.example").unwrap().is_localhost());
        assert_eq!(host("a b"), None);
        assert_eq!(host(""), None);
        assert_eq!(Host::of(&HeaderMap::new()), None);
    }
}
