//! `[listen]`: where callers connect, and the check that the listener is not open by mistake.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::file::Section;
use super::files::{check_certificates, check_private_key, warn_if_world_readable};
use super::report::Reporter;
use super::setting::Setting;
use super::shapes;
use super::urls::is_loopback;
use super::values::{ADDRESS, BOOL, COUNT, Kind, PATH, Raw};
use crate::gateway::Listen;
use crate::gateway::callers::{Config as Caller, TokenKey};
use crate::gateway::config::ADDRESS_FRACTION;
use crate::gateway::server::tls::TlsFiles;
use crate::secret::SecretSource;
use crate::socket::{Address, MODE};

/// The section as the file has it. [`finish`](Self::finish) checks the access to the listener, once the callers are known.
pub(super) struct WrittenListen {
    pub(super) address: Setting<Address>,
    reuse_port: bool,
    max_connections: usize,
    connections_per_address: usize,
    anonymous: Setting<bool>,
    tls: Option<TlsFiles>,
    token_key: Option<SecretSource>,
}

impl WrittenListen {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Listen::default();
        let report = section.context.report;
        let address = section.setting("address", &LISTEN_ADDRESS, default.address);
        let address = read_mode(&mut section, address);
        let reuse_port = read_reuse_port(&mut section, &address);
        let max_connections = section.setting("max_connections", &COUNT, default.max_connections).value;
        let quarter = (max_connections / ADDRESS_FRACTION).max(1);
        let connections_per_address = section.setting("connections_per_address", &COUNT, quarter).value;
        let anonymous = section.setting("anonymous", &BOOL, false);
        let tls = section.has("tls").then(|| read_tls(section.section("tls")));
        let token_key = section.optional("token_key_file", &PATH).map(|file| {
            let source = SecretSource::File(file.value.clone());
            check_token_key(&file, &source, report);
            source
        });
        section.finish();
        Self { address, reuse_port, max_connections, connections_per_address, anonymous, tls, token_key }
    }

    /// Whether a caller can authenticate with a certificate.
    pub(super) fn has_client_ca(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// Completes the section. A client certificate is required of every connection if no caller has a key.
    pub(super) fn finish(self, callers: &[Caller], report: &Reporter) -> (Option<SecretSource>, Listen) {
        let certificates_only = self.has_client_ca() && callers.iter().all(|caller| caller.keys.is_none());
        check_access(&self.address, callers.len(), certificates_only, &self.anonymous, report);
        warn_about_plaintext(&self.address, callers.len(), self.tls.is_some(), report);
        let Self { address, reuse_port, max_connections, connections_per_address, tls, token_key, .. } = self;
        let tls = tls.map(|tls| TlsFiles { require_client_certificate: certificates_only, ..tls });
        (token_key, Listen { address: address.value, max_connections, connections_per_address, tls, reuse_port })
    }
}

/// Access to a unix socket is limited by its mode. Any other listener that is not loopback is open to the
/// network: it needs callers or client certificates, or the operator's consent.
fn check_access(
    address: &Setting<Address>,
    callers: usize,
    requires_certificate: bool,
    anonymous: &Setting<bool>,
    report: &Reporter,
) {
    if anonymous.value && callers > 0 {
        report.warn(
            &anonymous.origin,
            &anonymous.key,
            "has no effect if there is a [[caller]]: each request must come from a known caller",
        );
    }
    if !is_open(&address.value) || callers > 0 || requires_certificate {
        return;
    }
    if anonymous.value {
        report.warn(
            &address.origin,
            &address.key,
            "any client that can connect uses the gateway's credentials (anonymous = true)",
        );
    } else {
        address.fault_with(
            anonymous,
            report,
            "not loopback, and callers are not authenticated: any client that can connect would use the gateway's \
             credentials. Use 127.0.0.1 or a unix socket; or write a [[caller]]; or require client certificates by \
             `tls = { certificate = \"...\", private_key = \"...\", client_ca = \"...\" }` under [listen]; or allow it \
             by `anonymous = true` under [listen] (or --anonymous)",
        );
    }
}

/// Without TLS the network can read keys and bodies, unless a service mesh encrypts the connection.
fn warn_about_plaintext(address: &Setting<Address>, callers: usize, has_tls: bool, report: &Reporter) {
    if callers > 0 && !has_tls && is_open(&address.value) {
        let message =
            "not loopback, and no `tls`: callers' keys and bodies are sent in clear, unless a mesh encrypts them";
        report.warn(&address.origin, &address.key, message);
    }
}

fn is_open(address: &Address) -> bool {
    address.tcp().is_some_and(|address| !is_loopback(address.ip()))
}

pub(super) fn read_mode(section: &mut Section<'_>, address: Setting<Address>) -> Setting<Address> {
    match &address.value {
        _ if address.is_faulty() => section.skip("mode"),
        Address::Tcp(_) => section.refuse("mode", "applies to a unix socket, but `address` is not one"),
        Address::Unix { .. } => {
            let mode = section.setting("mode", &FILE_MODE, MODE);
            return address.map(|address| match address {
                Address::Unix { path, .. } => Address::Unix { path, mode: mode.value },
                tcp @ Address::Tcp(_) => tcp,
            });
        }
    }
    address
}

fn read_reuse_port(section: &mut Section<'_>, address: &Setting<Address>) -> bool {
    match &address.value {
        _ if address.is_faulty() => section.skip("reuse_port"),
        Address::Unix { .. } => {
            section.refuse("reuse_port", "applies to a TCP address, but `address` is a unix socket")
        }
        Address::Tcp(_) => return section.setting("reuse_port", &BOOL, false).value,
    }
    false
}

fn read_tls(mut section: Section<'_>) -> TlsFiles {
    let report = section.context.report;
    let advice = "set `certificate` and `private_key` to PEM files";
    let certificate = section.required("certificate", &PATH, advice, PathBuf::new());
    let private_key = section.required("private_key", &PATH, advice, PathBuf::new());
    let client_ca = section.optional("client_ca", &PATH);
    section.finish();
    for file in [Some(&certificate), client_ca.as_ref()].into_iter().flatten().filter(|file| !file.is_faulty()) {
        check_certificates(file, report);
    }
    check_private_key(&private_key, report);
    TlsFiles {
        certificate: certificate.value,
        private_key: private_key.value,
        require_client_certificate: client_ca.is_some(),
        client_ca: client_ca.map(|file| file.value),
    }
}

/// Reads the secret as the gateway will read it, so that a fault is reported now.
fn check_token_key(file: &Setting<PathBuf>, source: &SecretSource, report: &Reporter) {
    warn_if_world_readable(file, source, report);
    match source.read().map(|secret| TokenKey::shared(&secret)) {
        Ok(Ok(_)) => {}
        Ok(Err(fault)) => file.fault(report, fault.to_string()),
        Err(fault) => file.fault(report, fault.to_string()),
    }
}

/// An IP address and a port, or `unix:` and a path. The mode of a socket is another setting.
pub(super) const LISTEN_ADDRESS: Kind<Address> =
    Kind { parse: parse_address, show: Address::to_string, schema: shapes::listen_address };

fn parse_address(raw: &Raw<'_>) -> Result<Address, String> {
    let text = raw.text()?;
    if let Some(path) = text.strip_prefix("unix:") {
        let is_file = Path::new(path).file_name().is_some() && !path.ends_with('/');
        if !is_file || path.contains(char::is_control) {
            return Err(format!(
                "{text:?} is not the path of a unix socket, such as \"unix:/run/jwe-gateway/gateway.sock\""
            ));
        }
        return Ok(Address::Unix { path: Path::new(path).to_owned(), mode: MODE });
    }
    (ADDRESS.parse)(raw).map(SocketAddr::into)
}

/// Permission bits in octal, as for `chmod`. They are text: `0660` without quotes is not a TOML number, and
/// 660 would be a different number.
const FILE_MODE: Kind<u32> = Kind { parse: parse_mode, show: |mode| format!("{mode:04o}"), schema: shapes::file_mode };

fn parse_mode(raw: &Raw<'_>) -> Result<u32, String> {
    let wrong = "not a mode: write octal permission bits in quotes, such as \"0660\"";
    let text = raw.text().map_err(|_| wrong.to_owned())?;
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= 0o777 => Ok(mode),
        _ => Err(wrong.to_owned()),
    }
}
