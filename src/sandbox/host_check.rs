//! Who may use the management door.
//!
//! It hands out private keys and the plaintext of every call, so a web page that happens to be
//! open on the same machine must not get through. A page reaches a loopback port in two ways: by
//! a cross-origin request, which bears an `Origin`, or by a name of its own that resolves to
//! 127.0.0.1 (DNS rebinding), which shows in `Host`. Both are refused; command-line clients and
//! test suites send neither.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;

/// Refuses what only a browser would send, with the reason.
pub(super) fn admit(headers: &HeaderMap, bound: IpAddr) -> Result<(), &'static str> {
    if headers.contains_key(ORIGIN) {
        return Err("requests with an Origin are refused: this addresses is not for web pages");
    }
    let mut lines = headers.get_all(HOST).iter();
    let (Some(host), None) = (lines.next(), lines.next()) else {
        return Err("exactly one Host is required");
    };
    let authority = host.to_str().ok().and_then(|host| host.parse().ok());
    if authority.is_some_and(|authority| is_ours(&authority, bound)) {
        Ok(())
    } else {
        Err("Host must be localhost, a loopback address or the address this addresses is bound to: \
             another name may be a web page's (DNS rebinding)")
    }
}

/// A name cannot be told from a rebound one, an address cannot be rebound. A door bound to all
/// addresses answers to each of them.
fn is_ours(authority: &Authority, bound: IpAddr) -> bool {
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
    async fn a_web_page_gets_neither_in_nor_a_rotation_done() {
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
        assert_eq!(sandbox.jwks().await.ok()["keys"].as_array().unwrap().len(), 1);
        for host in ["localhost", "LOCALHOST:1", "[::1]:80", &format!("127.0.0.1:{port}")] {
            let request = sandbox.http.get(format!("{url}/"));
            assert_eq!(send(request.header(HOST, host)).await.status, 200, "{host}");
        }
    }

    #[test]
    fn a_door_bound_elsewhere_answers_to_its_own_address() {
        let ours = |host: &str, bound: &str| is_ours(&host.parse().unwrap(), bound.parse().unwrap());
        assert!(ours("192.0.2.7:9000", "192.0.2.7"));
        assert!(!ours("192.0.2.8:9000", "192.0.2.7"));
        assert!(ours("192.0.2.8", "0.0.0.0") && ours("[2001:db8::1]:1", "::"));
        assert!(!ours("sandbox.internal", "0.0.0.0"));
    }
}
