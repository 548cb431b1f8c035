//! `[upstream.credentials]`: the credential that the gateway presents to the provider.
//!
//! A client secret is taken from the first of these that is set: `--client-secret-file`, its variable, the
//! variable that holds the secret itself, `client_secret_file` in the file, the provider's own variables,
//! `$CREDENTIALS_DIRECTORY/client_secret` (systemd's `LoadCredential=`). Sources outside the file apply only
//! if there is one upstream: a secret must not be sent to another provider that happens to lack one. No
//! flag takes the secret itself, because other users can see a command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http::{HeaderName, header};
use url::Url;

use super::faults::{ConfigFault, SettingOrigin};
use super::file::{Context, Section};
use super::files::warn_if_world_readable;
use super::report::Reporter;
use super::setting::Setting;
use super::shapes::{self, words};
use super::urls::{append, check_http};
use super::values::{ANY_TEXT, DEADLINE, DURATION, Kind, MEMBERS, PATH, Raw, TEXT, URL, one_of, word};
use crate::credentials::{ClientCredentials, Config, Format};
use crate::gateway::endpoints::token;
use crate::secret::{Secret, SecretSource, UnreadableSecret};
use crate::static_credential::{StaticCredential, is_header_text};

/// Holds the client secret itself. It has no flag, so it is not in the table of flags.
pub(super) const SECRET_VARIABLE: &str = "JWE_GATEWAY_CLIENT_SECRET";
pub(super) const FLANKS_CLIENT_ID: &str = "FLANKS_CLIENT_ID";
const FLANKS_CLIENT_SECRET_FILE: &str = "FLANKS_CLIENT_SECRET_FILE";
const FLANKS_CLIENT_SECRET: &str = "FLANKS_CLIENT_SECRET";
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

const CLIENT_KEYS: [&str; 7] = ["client_id", "client_secret_file", "url", "format", "extra", "fetch_timeout", "wait"];
const STATIC_KEYS: [&str; 3] = ["header", "prefix", "secret_file"];

pub(super) fn read(mut section: Section<'_>, upstream: &Url, allow_http: &Setting<bool>) -> Config {
    let kind = section.setting("kind", &KIND, CredentialsKind::Client);
    if kind.is_faulty() {
        // It is not known which kind is meant, so the keys of all kinds count as known.
        CLIENT_KEYS.iter().chain(&STATIC_KEYS).for_each(|key| section.skip(key));
        section.finish();
        return Config::None;
    }
    let config = match kind.value {
        CredentialsKind::Client => Config::ClientCredentials(read_client(&mut section, upstream, allow_http)),
        CredentialsKind::Static => Config::Static(read_static(&mut section)),
        CredentialsKind::None => Config::None,
    };
    if kind.value != CredentialsKind::Client {
        let message = "only allowed with kind = \"client-credentials\"";
        CLIENT_KEYS.iter().for_each(|key| section.refuse(key, message));
        if variable(&section, SECRET_VARIABLE).is_some() {
            let origin = SettingOrigin::Environment(SECRET_VARIABLE.to_owned());
            section.context.report.fault(ConfigFault::new(origin, "", message));
        }
    }
    if kind.value != CredentialsKind::Static {
        STATIC_KEYS.iter().for_each(|key| section.refuse(key, "only allowed with kind = \"static\""));
    }
    section.finish();
    config
}

pub(super) fn flanks_client_id() -> SettingOrigin {
    SettingOrigin::Environment(FLANKS_CLIENT_ID.to_owned())
}

fn read_client(section: &mut Section<'_>, upstream: &Url, allow_http: &Setting<bool>) -> ClientCredentials {
    let report = section.context.report;
    let client_id = read_client_id(section);
    let secret = read_client_secret(section);
    check_secret(&secret, SecretSource::read_line, report);
    let url = match section.optional("url", &URL) {
        Some(url) => {
            check_http(&url, &url.value, allow_http, report);
            url
        }
        None => section.derived("url", &URL, append(upstream, token::PATH), SettingOrigin::Default),
    };
    let mut config = ClientCredentials::new(url.value, client_id.value, secret.value);
    config.format = section.setting("format", &FORMAT, config.format).value;
    let extra = section.setting("extra", &MEMBERS, config.extra);
    for (name, _) in &extra.value {
        if matches!(name.as_str(), "client_id" | "client_secret" | "grant_type") {
            extra.fault(report, format!("{name} is always sent: remove it from extra"));
        }
    }
    config.extra = extra.value;
    config.fetch_timeout = section.setting("fetch_timeout", &DEADLINE, config.fetch_timeout).value;
    config.wait = section.setting("wait", &DURATION, config.wait).value;
    config
}

fn read_client_id(section: &mut Section<'_>) -> Setting<String> {
    if !section.has("client_id")
        && let Some(id) = variable(section, FLANKS_CLIENT_ID)
    {
        return section.derived("client_id", &TEXT, id, flanks_client_id());
    }
    let advice = "set it under [upstream.credentials] or by --client-id; `kind = \"none\"` sends no credentials";
    section.required("client_id", &TEXT, advice, String::new())
}

const SECRET_KEY: &str = "client_secret_file";

fn read_client_secret(section: &mut Section<'_>) -> Setting<SecretSource> {
    let found = if section.given(SECRET_KEY).is_some() {
        None
    } else if let Some(secret) = variable(section, SECRET_VARIABLE) {
        Some(secret_by_value(section, secret, SECRET_VARIABLE))
    } else if section.has(SECRET_KEY) {
        None
    } else if let Some(path) = variable(section, FLANKS_CLIENT_SECRET_FILE) {
        Some(secret_in_file(section, path.into(), FLANKS_CLIENT_SECRET_FILE))
    } else if let Some(secret) = variable(section, FLANKS_CLIENT_SECRET) {
        Some(secret_by_value(section, secret, FLANKS_CLIENT_SECRET))
    } else {
        let directory = variable(section, CREDENTIALS_DIRECTORY).map(PathBuf::from);
        let path = directory.map(|directory| directory.join("client_secret")).filter(|path| may_exist(path));
        path.map(|path| secret_in_file(section, path, CREDENTIALS_DIRECTORY))
    };
    found.unwrap_or_else(|| {
        let advice = "set it under [upstream.credentials] or by --client-secret-file";
        section.required(SECRET_KEY, &PATH, advice, PathBuf::new()).map(SecretSource::File)
    })
}

/// False if there is certainly no such file. A file that cannot be examined counts: reading it then says why.
fn may_exist(path: &Path) -> bool {
    !matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

fn secret_in_file(section: &mut Section<'_>, path: PathBuf, variable: &str) -> Setting<SecretSource> {
    let origin = SettingOrigin::Environment(variable.to_owned());
    section.derived(SECRET_KEY, &PATH, path, origin).map(SecretSource::File)
}

fn secret_by_value(section: &mut Section<'_>, secret: String, variable: &str) -> Setting<SecretSource> {
    const HIDDEN: Kind<Secret> =
        Kind { parse: |_| Err("not read from the file".into()), show: |_| "(hidden)".into(), schema: shapes::nothing };
    let origin = SettingOrigin::Environment(variable.to_owned());
    let advice = "child processes and crash reports can contain a secret from the environment: use client_secret_file";
    section.context.report.warn(&origin, "", advice);
    section.derived(SECRET_KEY, &HIDDEN, Secret::new(secret), origin).map(SecretSource::Value)
}

fn read_static(section: &mut Section<'_>) -> StaticCredential {
    let report = section.context.report;
    let header = section.setting("header", &HEADER, header::AUTHORIZATION);
    let is_authorization = header.value == header::AUTHORIZATION;
    let prefix = if is_authorization { "Bearer " } else { "" };
    let prefix = section.setting("prefix", &ANY_TEXT, prefix.to_owned());
    if !is_header_text(&prefix.value) {
        prefix.fault(report, "must contain printable ASCII characters only");
    }
    let advice = "name the file that holds the value, under [upstream.credentials]";
    let secret = section.required("secret_file", &PATH, advice, PathBuf::new()).map(SecretSource::File);
    if let Some(text) = check_secret(&secret, SecretSource::read, report)
        && !is_header_text(text.expose())
    {
        secret.fault(report, "the secret contains bytes that a header cannot carry");
    }
    StaticCredential { header: header.value, prefix: prefix.value, secret: secret.value }
}

/// Reads the secret as the gateway will read it, so that a fault is reported now.
fn check_secret(
    secret: &Setting<SecretSource>,
    read: fn(&SecretSource) -> Result<Secret, UnreadableSecret>,
    report: &Reporter,
) -> Option<Secret> {
    if secret.is_faulty() {
        return None;
    }
    warn_if_world_readable(secret, &secret.value, report);
    read(&secret.value).map_err(|unreadable| secret.fault(report, unreadable.to_string())).ok()
}

/// The value of a variable that has no flag. Applies only if there is one upstream.
fn variable(section: &Section<'_>, name: &str) -> Option<String> {
    let Context { environment, report, .. } = section.context;
    let value = environment.get(name).filter(|_| section.is_only_one())?.into_string();
    value
        .map_err(|_| report.fault(ConfigFault::new(SettingOrigin::Environment(name.to_owned()), "", "not UTF-8 text")))
        .ok()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CredentialsKind {
    Client,
    Static,
    None,
}

const KINDS: [(&str, CredentialsKind); 3] = [
    ("client-credentials", CredentialsKind::Client),
    ("static", CredentialsKind::Static),
    ("none", CredentialsKind::None),
];

const KIND: Kind<CredentialsKind> =
    Kind { parse: |raw| one_of(raw, &KINDS), show: |kind| word(&KINDS, *kind), schema: || words(&KINDS) };

const FORMATS: [(&str, Format); 3] = [("json", Format::Json), ("form", Format::Form), ("basic", Format::Basic)];

const FORMAT: Kind<Format> =
    Kind { parse: |raw| one_of(raw, &FORMATS), show: |format| word(&FORMATS, *format), schema: || words(&FORMATS) };

const HEADER: Kind<HeaderName> = Kind { parse: parse_header, show: HeaderName::to_string, schema: shapes::header_name };

fn parse_header(raw: &Raw<'_>) -> Result<HeaderName, String> {
    let name = raw.text()?.parse::<HeaderName>().map_err(|_| "not a header name".to_owned())?;
    // The HTTP client sets the headers for routing and framing.
    let framing = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
    ];
    if framing.contains(&name) {
        return Err(format!("{name} cannot carry a credential: use another header"));
    }
    Ok(name)
}
