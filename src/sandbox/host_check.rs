//! Keeps web pages away from the management interface.
//!
//! The interface returns private keys and the plaintext of every call, so a web page that is open in a
//! browser on the same machine must not reach it. A page can reach a loopback port in three ways. A
//! cross-origin request by script carries `Origin`. A link, a form or an embedded resource carries no `Origin`
//! if its method is GET, but browsers send `Sec-Fetch-Site`. A host name of the page's own that resolves to
//! 127.0.0.1 (DNS rebinding) appears in `Host`. Requests with one of these signs are refused. Command-line
//! clients and test suites send none.
//!
//! A page of another port of the same host is `same-site`. It is refused too, because it belongs to another
//! program.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;

/// Fetch Metadata Request Headers (W3C), section 2.3. A person who types the address causes `none`, and the
/// interface's own documents cause `same-origin`.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses requests that only a browser sends. The error is the text of the refusal.
pub(super) fn admit(headers: &HeaderMap, bound: IpAddr) -> Result<(), &'static str> {
    if headers.contains_key(ORIGIN) {
        return Err("requests with an Origin header are refused: the management interface is not for web pages");
    }
    if headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none" && site != "same-origin") {
        return Err("requests that another site or program caused are refused (Sec-Fetch-Site): the management \
                    interface is not for web pages; enter its address by hand");
    }
    let mut values = headers.get_all(HOST).iter();
    let (Some(host), None) = (values.next(), values.next()) else {
        return Err("exactly one Host header is required");
    };
    let authority = host.to_str().ok().and_then(|host| host.parse().ok());
    if authority.is_some_and(|authority| is_accepted(&authority, bound)) {
        Ok(())
    } else {
        Err("Host must be localhost, a loopback address or the address that the management interface is bound to: \
             any other name could belong to a web page (DNS rebinding)")
    }
}

/// Accepts addresses, which cannot be rebound, but no name except `localhost`. An interface bound to all
/// addresses accepts every address.
fn is_accepted(authority: &Authority, bound: IpAddr) -> bool {
    let host = authority.host().trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip == bound || bound.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::{TestSandbox, send};

    #[tokio::test]
    async fn a_web_page_can_neither_read_keys_nor_rotate_them() {
        let sandbox = TestSandbox::start().await;
        let url = sandbox.handle.management_url();
        let port = url.rsplit(':').next().unwrap();
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "a b"] {
            let request = sandbox.http.get(format!("{url}/keys/private"));
            assert_eq!(send(request.header(HOST, host)).await.status, 403, "{host}");
        }
        for origin in ["https://evil.example", "null", &url] {
            let request = sandbox.http.post(format!("{url}/rotate"));
            assert_eq!(send(request.header(ORIGIN, origin)).await.status, 403);
        }
        for site in ["cross-site", "same-site", "Cross-Site", "", "none, cross-site"] {
            let request = sandbox.http.get(format!("{url}/keys/private"));
            assert_eq!(send(request.header(SEC_FETCH_SITE, site)).await.status, 403, "{site}");
        }
        let request = sandbox.http.get(format!("{url}/keys/private")).header(SEC_FETCH_SITE, "none");
        assert_eq!(send(request.header(SEC_FETCH_SITE, "cross-site")).await.status, 403);
        for site in ["none", "same-origin"] {
            let request = sandbox.http.get(format!("{url}/"));
            assert_eq!(send(request.header(SEC_FETCH_SITE, site)).await.status, 200, "{site}");
        }
        assert_eq!(sandbox.jwks().await.ok()["keys"].as_array().unwrap().len(), 1);
        for host in ["localhost", "LOCALHOST:1", "[::1]:80", &format!("127.0.0.1:{port}")] {
            let request = sandbox.http.get(format!("{url}/"));
            assert_eq!(send(request.header(HOST, host)).await.status, 200, "{host}");
        }
    }

    #[test]
    fn an_interface_bound_to_another_address_accepts_that_address() {
        let accepted = |host: &str, bound: &str| is_accepted(&host.parse().unwrap(), bound.parse().unwrap());
        assert!(accepted("192.0.2.7:9000", "192.0.2.7"));
        assert!(!accepted("192.0.2.8:9000", "192.0.2.7"));
        assert!(accepted("192.0.2.8", "0.0.0.0") && accepted("[2001:db8::1]:1", "::"));
        assert!(!accepted("sandbox.internal", "0.0.0.0"));
    }
}
