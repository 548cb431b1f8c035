//! Keeps web pages away from the management interface.
//!
//! The interface returns private keys and the plaintext of every call, so a web page that is open in a
//! browser on the same machine must not reach it. [`crate::host_check`] says how such a page can try. Command-line
//! clients and test suites send no sign of a page.

use std::net::IpAddr;

use http::HeaderMap;

use crate::host_check::{Host, is_cross_origin};

/// Refuses requests that only a browser sends. The error is the text of the refusal.
pub(super) fn admit(headers: &HeaderMap, bound: IpAddr) -> Result<(), &'static str> {
    if is_cross_origin(headers) {
        return Err(
            "requests with Origin, or with a Sec-Fetch-Site of another site, are refused: the management interface is \
             not for web pages",
        );
    }
    if Host::of(headers).is_some_and(|host| is_accepted(&host, bound)) {
        Ok(())
    } else {
        Err(
            "exactly one Host is required; it must be localhost, a loopback address or the address that the management \
             interface is bound to: any other name could belong to a web page (DNS rebinding)",
        )
    }
}

/// Accepts addresses, which cannot be rebound, but no name except `localhost`. An interface bound to all
/// addresses accepts every address.
fn is_accepted(host: &Host, bound: IpAddr) -> bool {
    match host {
        Host::Ip(ip) => ip.is_loopback() || *ip == bound || bound.is_unspecified(),
        Host::Name(_) => host.is_localhost(),
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, ORIGIN};

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
            assert_eq!(send(request.header("sec-fetch-site", site)).await.status, 403, "{site}");
        }
        let request = sandbox.http.get(format!("{url}/keys/private")).header("sec-fetch-site", "none");
        assert_eq!(send(request.header("sec-fetch-site", "cross-site")).await.status, 403);
        for site in ["none", "same-origin"] {
            let request = sandbox.http.get(format!("{url}/"));
            assert_eq!(send(request.header("sec-fetch-site", site)).await.status, 200, "{site}");
        }
        assert_eq!(sandbox.jwks().await.ok()["keys"].as_array().unwrap().len(), 1);
        for host in ["localhost", "LOCALHOST:1", "[::1]:80", &format!("127.0.0.1:{port}")] {
            let request = sandbox.http.get(format!("{url}/"));
            assert_eq!(send(request.header(HOST, host)).await.status, 200, "{host}");
        }
    }

    #[test]
    fn an_interface_bound_to_another_address_accepts_that_address() {
        let accepted = |host: &str, bound: &str| {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            admit(&headers, bound.parse().unwrap()).is_ok()
        };
        assert!(accepted("192.0.2.7:9000", "192.0.2.7"));
        assert!(!accepted("192.0.2.8:9000", "192.0.2.7"));
        assert!(accepted("192.0.2.8", "0.0.0.0") && accepted("[2001:db8::1]:1", "::"));
        assert!(!accepted("sandbox.internal", "0.0.0.0"));
    }
}
