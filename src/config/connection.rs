//! The connection to an upstream: the client certificate and the proxy.
//!
//! A proxy can come from the variables that other programs use: `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in
//! upper or lower case, as in curl. `HTTP_PROXY` in upper case is ignored: in a CGI program a client can set
//! it by a `Proxy` header. The user and password of a proxy belong into the variable, not into the file.

use url::Url;

use super::environment::Environment;
use super::faults::{ConfigFault, SettingOrigin};
use super::file::Section;
use super::files::check_readable;
use super::shapes;
use super::urls::is_this_machine;
use super::values::{ANY_TEXT, Kind, PATH};
use crate::upstream::{Identity, Proxy};

pub(super) fn read_identity(section: &mut Section<'_>) -> Option<Identity> {
    let report = section.context.report;
    let certificate = section.optional("client_certificate", &PATH);
    let private_key = section.optional("client_key", &PATH);
    for (one, other) in [(&certificate, &private_key), (&private_key, &certificate)] {
        if let (Some(one), None) = (one, other) {
            one.fault(report, "client_certificate and client_key must be set together");
        }
    }
    let (certificate, private_key) = (certificate?, private_key?);
    for file in [&certificate, &private_key] {
        check_readable(file, &file.value, report);
    }
    Some(Identity { certificate: certificate.value, private_key: private_key.value })
}

pub(super) fn read_proxy(section: &mut Section<'_>, upstream: &Url) -> Option<Proxy> {
    const DERIVED: Kind<Proxy> =
        Kind { parse: |_| Err("not read from the file".into()), show: Proxy::to_string, schema: shapes::nothing };
    let report = section.context.report;
    let in_file = section.has("proxy");
    if let Some(written) = section.optional("proxy", &ANY_TEXT) {
        if written.value == "none" {
            return None;
        }
        if written.value.contains('@') {
            written.fault(report, "must not contain a user and a password: put them into HTTPS_PROXY");
            return None;
        }
        let except = exceptions(section.context.environment);
        return Proxy::new(&written.value, &except).map_err(|fault| written.fault(report, fault.to_string())).ok();
    }
    if in_file {
        return None;
    }
    match of_environment(section.context.environment) {
        Ok((proxy, origin)) => Some(section.derived("proxy", &DERIVED, proxy?, origin).value),
        // Requests to this machine do not use a proxy.
        Err(fault) if is_this_machine(upstream) => {
            report.warn(fault.origin(), "", "ignored: a proxy has the form http://host:port");
            None
        }
        Err(fault) => {
            report.fault(fault);
            None
        }
    }
}

/// The proxies that the variables name, one for each scheme, and the first variable that names one. Unlike
/// `JWE_GATEWAY_*` variables, they apply to every upstream.
pub(crate) fn of_environment(environment: &Environment) -> Result<(Option<Proxy>, SettingOrigin), ConfigFault> {
    let except = exceptions(environment);
    let proxy = |found: &Option<(&'static str, String)>| {
        let Some((name, url)) = found else { return Ok(None) };
        let url = if url.contains("://") { url.clone() } else { format!("http://{url}") };
        Proxy::new(&url, &except).map(Some).map_err(|fault| {
            let message = format!("{fault}; to use no proxy, set `proxy = \"none\"` under [[upstream]]");
            ConfigFault::new(SettingOrigin::Environment((*name).to_owned()), "", message)
        })
    };
    let https = first(environment, &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
    let http = first(environment, &["http_proxy", "ALL_PROXY", "all_proxy"]);
    let origin = https
        .as_ref()
        .or(http.as_ref())
        .map_or(SettingOrigin::Default, |(name, _)| SettingOrigin::Environment((*name).to_owned()));
    Ok((Proxy::by_scheme(proxy(&https)?, proxy(&http)?), origin))
}

/// The hosts that are connected to directly.
fn exceptions(environment: &Environment) -> String {
    first(environment, &["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default()
}

/// The first of these variables that has a value.
fn first(environment: &Environment, names: &[&'static str]) -> Option<(&'static str, String)> {
    let (name, value) = names.iter().find_map(|name| Some((*name, environment.get(name)?)))?;
    Some((name, value.to_string_lossy().into_owned()))
}
