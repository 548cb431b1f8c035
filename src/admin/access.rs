//! Keeps web pages away from the admin listener.
//!
//! A page in a browser must not read which upstreams and callers there are. [`crate::host_check`] says how it can try.
//!
//! The hard case is `Host`, because no probe and no scrape may break:
//!
//! | request | `Host` | passes |
//! |---|---|---|
//! | probe of the kubelet, of a load balancer | address and port, or none (HTTP/1.0) | always: an address cannot be rebound |
//! | port-forward, tunnel, a person on this machine | `localhost` | always |
//! | scrape by name, from another machine | any name | unless `hosts` is set and does not have it |
//! | any name, at a loopback address | | only if `hosts` has it: only a proxy or a page can send it |
//!
//! So a listener that is bound to loopback is closed to DNS rebinding. A unix socket counts as loopback. A listener that
//! others can reach is open to DNS rebinding unless `hosts` is set: the name of a page and the name of a scrape look the
//! same there.
//!
//! Rejected: telling browsers by `User-Agent`. A page can change it in some browsers, and monitors imitate browsers.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HOST;

use crate::host_check::{Host, is_cross_origin};

#[derive(Debug)]
pub(super) struct Access<'a> {
    /// The IP address that the listener is bound to. None for a unix socket, which counts as loopback.
    pub(super) bound: Option<IpAddr>,
    /// The configured names, in any case.
    pub(super) hosts: &'a [String],
}

impl Access<'_> {
    /// Refuses requests of web pages. The error is the text of the refusal.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if is_cross_origin(headers) {
            return Err("requests of web pages (Origin, or a Sec-Fetch-Site of another site) are refused\n");
        }
        // Every browser sends a Host.
        if !headers.contains_key(HOST) || Host::of(headers).is_some_and(|host| self.accepts(&host)) {
            return Ok(());
        }
        Err("the name in Host is refused, because it could belong to a web page (DNS rebinding): use an IP address, \
             localhost, or a name that hosts under [admin] lists\n")
    }

    fn accepts(&self, host: &Host) -> bool {
        match host {
            Host::Ip(_) => true,
            Host::Name(_) if host.is_localhost() => true,
            Host::Name(_) if self.hosts.is_empty() => {
                self.bound.is_some_and(|bound| !bound.to_canonical().is_loopback())
            }
            Host::Name(name) => self.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(bound: &str, hosts: &[&str], headers: &[(&'static str, &str)]) -> bool {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.into()).collect();
        let access = Access { bound: Some(bound.parse().unwrap()), hosts: &hosts };
        let pair = |(name, value): &(&'static str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        access.check(&headers.iter().map(pair).collect::<Vec<(http::HeaderName, _)>>().into_iter().collect()).is_ok()
    }

    #[test]
    fn probes_and_scrapes_pass() {
        for bound in ["127.0.0.1", "::1", "0.0.0.0", "10.1.2.3"] {
            assert!(passes(bound, &[], &[]), "a probe with HTTP/1.0 has no Host");
            for host in ["10.1.2.3:8081", "[2001:db8::1]:8081", "127.0.0.1", "localhost:8081"] {
                assert!(passes(bound, &[], &[("host", host)]), "{host} at {bound}");
            }
        }
        for host in ["gateway:8081", "jwe-gateway.default.svc.cluster.local.:8081", "gateway.example.com"] {
            assert!(passes("0.0.0.0", &[], &[("host", host)]), "{host}");
        }
        // A person who types the address, and Node's `fetch`.
        assert!(passes("127.0.0.1", &[], &[("host", "localhost:8081"), ("sec-fetch-site", "none")]));
        assert!(passes("0.0.0.0", &[], &[("host", "gateway:8081"), ("sec-fetch-mode", "cors")]));
    }

    #[test]
    fn web_pages_are_refused() {
        for bound in ["127.0.0.1", "0.0.0.0"] {
            for header in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
                assert!(!passes(bound, &[], &[("host", "127.0.0.1:8081"), header]), "{header:?}");
            }
        }
        for host in ["evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example", "a b", ""] {
            assert!(!passes("127.0.0.1", &[], &[("host", host)]), "{host}");
        }
        assert!(!passes("0.0.0.0", &[], &[("host", "gateway"), ("host", "gateway")]), "two Host headers");
    }

    #[test]
    fn only_listed_names_pass_if_names_are_listed() {
        for bound in ["127.0.0.1", "0.0.0.0"] {
            let hosts = ["Metrics.Example.com"];
            assert!(passes(bound, &hosts, &[("host", "metrics.example.com:8081")]));
            assert!(passes(bound, &hosts, &[("host", "10.1.2.3:8081")]));
            assert!(!passes(bound, &hosts, &[("host", "evil.example")]), "{bound}");
        }
    }
}
