//! URLs and addresses: whether they mean this machine, and whether a network sees plaintext.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::report::Reporter;
use super::setting::Setting;

/// Appends to the path of `base`, which may end with `/` or not.
pub(super) fn append(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Refuses http to another machine unless `allow_http` is set. Credentials and replies would be sent in clear,
/// and an attacker on the path could replace the provider's key.
pub(super) fn check_http<T>(setting: &Setting<T>, url: &Url, allow_http: &Setting<bool>, report: &Reporter) {
    if !passes_in_clear(url) {
        return;
    }
    if allow_http.value {
        report.warn(&setting.origin, &setting.key, "http: credentials, keys and replies are sent in clear");
    } else {
        let message = "http to another machine: credentials, keys and replies would be sent in clear. Use https, \
                       or allow it by `allow_http = true` under [[upstream]] (or --allow-http)";
        setting.fault_with(allow_http, report, message);
    }
}

/// Whether requests to this URL cross a network without encryption.
pub(crate) fn passes_in_clear(url: &Url) -> bool {
    url.scheme() == "http" && !is_this_machine(url)
}

/// Whether the host of this URL is this machine.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => is_loopback(address.into()),
        Some(Host::Ipv6(address)) => is_loopback(address.into()),
        None => false,
    }
}

/// Whether a connection to this URL certainly reaches a listener with this address. A host name other than `localhost` is
/// not resolved.
pub(super) fn leads_to(url: &Url, listener: SocketAddr) -> bool {
    if url.port_or_known_default() != Some(listener.port()) {
        return false;
    }
    let listens_on = |address: IpAddr| {
        let (address, own) = (address.to_canonical(), listener.ip().to_canonical());
        address == own || (own.is_unspecified() && address.is_loopback() && own.is_ipv4() == address.is_ipv4())
    };
    match url.host() {
        Some(Host::Domain("localhost")) => is_loopback(listener.ip()) || listener.ip().is_unspecified(),
        Some(Host::Domain(_)) | None => false,
        Some(Host::Ipv4(address)) => listens_on(address.into()),
        Some(Host::Ipv6(address)) => listens_on(address.into()),
    }
}

pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_a_listener_with_its_address_and_port() {
        let leads = |url: &str, listener: &str| leads_to(&url.parse().unwrap(), listener.parse().unwrap());
        for (url, listener) in [
            ("http://127.0.0.1:8080/v0", "127.0.0.1:8080"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://127.0.0.1:8080", "0.0.0.0:8080"),
            ("http://[::ffff:127.0.0.1]:8080", "127.0.0.1:8080"),
            ("https://10.0.0.1", "10.0.0.1:443"),
        ] {
            assert!(leads(url, listener), "{url} {listener}");
        }
        for (url, listener) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8080"),
            ("http://127.0.0.2:8080", "127.0.0.1:8080"),
            ("http://10.0.0.1:8080", "0.0.0.0:8080"),
            ("http://gateway.internal:8080", "0.0.0.0:8080"),
            ("http://[::1]:8080", "127.0.0.1:8080"),
            ("http://127.0.0.1", "127.0.0.1:0"),
        ] {
            assert!(!leads(url, listener), "{url} {listener}");
        }
    }
}
