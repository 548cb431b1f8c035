//! Keeps web pages away from the management interface.
//!
//! The interface returns private keys and the plaintext of every call, so a web page that is open in a
//! browser on the same machine must not reach it. [`crate::host_check`] says how such a page can try. Command-line
//! clients and test suites send no sign of a page. Names of containers and services must be allowed one by one.

use std::net::IpAddr;

use http::HeaderMap;

use crate::host_check::{Host, is_cross_origin};

/// Refuses requests that only a browser sends. The error is the text of the refusal.
pub(super) fn admit(headers: &HeaderMap, bound: IpAddr, allowed: &[String]) -> Result<(), String> {
    if is_cross_origin(headers) {
        return Err(
            "requests with Origin, or with a Sec-Fetch-Site of another site, are refused: the management interface is \
             not for web pages"
                .to_owned(),
        );
    }
    let host = Host::of(headers);
    if host.as_ref().is_some_and(|host| is_accepted(host, bound, allowed)) {
        return Ok(());
    }
    let given = match host {
        Some(Host::Name(name)) => Some(name),
        Some(Host::Ip(ip)) => Some(ip.to_string()),
        None => None,
    };
    let advice = given.map(|host| format!("; if it is yours, start the sandbox with --allowed-host {host}"));
    let advice = advice.unwrap_or_default();
    Err(format!(
        "exactly one Host is required; it must be localhost, a loopback address, the address that the management \
         interface is bound to, or an allowed host: any other name could belong to a web page (DNS rebinding){advice}"
    ))
}

/// Accepts loopback, the bound address, `localhost`, and the names and addresses in `allowed`. An interface bound to all
/// addresses accepts every address: an address cannot be rebound.
fn is_accepted(host: &Host, bound: IpAddr, allowed: &[String]) -> bool {
    match host {
        Host::Ip(ip) => {
            let is_allowed = allowed.iter().any(|allowed| allowed.parse() == Ok(*ip));
            is_allowed || ip.is_loopback() || *ip == bound || bound.is_unspecified()
        }
        Host::Name(name) => host.is_localhost() || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)),
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
            admit(&headers, bound.parse().unwrap(), &["Sandbox".to_owned()]).is_ok()
        };
        assert!(accepted("192.0.2.7:9000", "192.0.2.7"));
        assert!(!accepted("192.0.2.8:9000", "192.0.2.7"));
        assert!(accepted("192.0.2.8", "0.0.0.0") && accepted("[2001:db8::1]:1", "::"));
        assert!(!accepted("sandbox.internal", "0.0.0.0"));
    }

    #[test]
    fn an_allowed_host_is_accepted_with_any_port_and_case_and_no_other_name_is() {
        let admit = |host: &str, allowed: &[String]| {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            admit(&headers, IpAddr::from([127, 0, 0, 1]), allowed)
        };
        let allowed = ["Sandbox", "192.0.2.7", "2001:db8::1"].map(str::to_owned);
        for host in ["sandbox:8091", "SANDBOX", "sandbox.:1", "192.0.2.7:8091", "[2001:db8::1]"] {
            admit(host, &allowed).unwrap();
        }
        for host in ["sandbox.evil.example", "evil.sandbox", "sandbo", "192.0.2.8"] {
            let refusal = admit(host, &allowed).unwrap_err();
            assert!(refusal.contains(&format!("--allowed-host {host}")), "{refusal}");
        }
        assert!(admit("sandbox:8091", &[]).is_err());
    }
}
