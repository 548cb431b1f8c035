//! URLs and addresses: whether they mean this machine, and whether a network sees plaintext.

use std::net::IpAddr;

use url::{Host, Url};

use super::file::Setting;
use super::report::Reporter;

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

pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
