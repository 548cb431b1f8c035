//! URLs and addresses: what is behind them, and what passes a network in clear.

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

/// Refuses http to another machine unless `allow_http` says so: credentials and replies would
/// pass in clear, and anyone between could put a key of his own in the place of the provider's.
pub(super) fn check_http<T>(setting: &Setting<T>, url: &Url, allow_http: &Setting<bool>, report: &Reporter) {
    if !passes_in_clear(url) {
        return;
    }
    if allow_http.value {
        report.warn(&setting.origin, &setting.key, "http: credentials, keys and replies pass in clear");
    } else {
        let message = "http to another machine: credentials, keys and replies would pass in clear. Use https, or \
                       accept that by `allow_http = true` under [[upstream]] (or --allow-http)";
        setting.fault_with(allow_http, report, message);
    }
}

/// Whether what is sent there passes a network in clear.
pub(crate) fn passes_in_clear(url: &Url) -> bool {
    url.scheme() == "http" && !is_this_machine(url)
}

/// Whether its host is this machine.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => is_loopback(address.into()),
        Some(Host::Ipv6(address)) => is_loopback(address.into()),
        None => false,
    }
}

/// Whether it is this machine's own.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
