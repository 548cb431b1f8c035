//! What an upstream is reached with: a certificate to show, and the proxy on the way.
//!
//! Proxies are taken from the variables that other programs know, too: `HTTPS_PROXY`, `ALL_PROXY` and
//! `NO_PROXY`, in either case, as curl takes them. `HTTP_PROXY` in capitals is not looked at: where a
//! program is run by a web server, that one is a header of the request. A user and a password
//! for the proxy stand in the variable, not in the file.

use url::Url;

use super::faults::{Fault, Origin};
use super::file::Section;
use super::files::check_readable;
use super::values::{ANY_TEXT, Kind, PATH};
use crate::upstream::{Identity, Proxy};

pub(super) fn read_identity(section: &mut Section<'_>) -> Option<Identity> {
    let report = section.context.report;
    let certificate = section.optional("client_certificate", &PATH);
    let private_key = section.optional("client_key", &PATH);
    for (one, other) in [(&certificate, &private_key), (&private_key, &certificate)] {
        if let (Some(one), None) = (one, other) {
            one.fault(report, "client_certificate and client_key belong together");
        }
    }
    let (certificate, private_key) = (certificate?, private_key?);
    for file in [&certificate, &private_key] {
        check_readable(file, report);
    }
    Some(Identity { certificate: certificate.value, private_key: private_key.value })
}

pub(super) fn read_proxy(section: &mut Section<'_>, upstream: &Url) -> Option<Proxy> {
    const SHOWN: Kind<Proxy> = Kind { parse: |_| Err("shown only".into()), show: Proxy::to_string };
    let report = section.context.report;
    let except = variable(section, &["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default();
    let in_file = section.has("proxy");
    if let Some(written) = section.optional("proxy", &ANY_TEXT) {
        if written.value == "none" {
            return None;
        }
        if written.value.contains('@') {
            written.fault(report, "a user and a password for the proxy stand in HTTPS_PROXY, not in the file");
            return None;
        }
        return Proxy::new(&written.value, &except).map_err(|fault| written.fault(report, fault.to_string())).ok();
    }
    if in_file {
        return None;
    }
    let names: &[&'static str] = match upstream.scheme() {
        "https" => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => &["http_proxy", "ALL_PROXY", "all_proxy"],
    };
    let (name, url) = variable(section, names)?;
    let origin = Origin::Environment(name.to_owned());
    match Proxy::new(&url, &except) {
        Ok(proxy) => Some(section.derived("proxy", &SHOWN, proxy, origin).value),
        Err(fault) => {
            let message = format!("{fault} (`proxy = \"none\"` under [[upstream]] uses none)");
            report.fault(Fault::new(origin, "", message));
            None
        }
    }
}

/// The first of these that is set. They mean every upstream, unlike our own.
fn variable(section: &Section<'_>, names: &[&'static str]) -> Option<(&'static str, String)> {
    let set = names.iter().find_map(|name| Some((*name, section.context.environment.get(name)?)));
    set.map(|(name, value)| (name, value.to_string_lossy().into_owned()))
}
