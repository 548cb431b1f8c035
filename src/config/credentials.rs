//! `[upstream.credentials]`: who we are to the provider, and where the secret is kept.
//!
//! A client secret is looked for in this order: `--client-secret-file`, its variable, the
//! variable that holds it by value, the file's `client_secret_file`, the provider's own
//! variables, `$CREDENTIALS_DIRECTORY/client_secret` (systemd's `LoadCredential=`). All but
//! the file's belong to the one upstream there is: a secret found by chance must not be sent
//! to whichever provider lacks one. There is no flag for the secret itself.

use std::path::PathBuf;

use http::{HeaderName, header};
use url::Url;

use super::faults::{ConfigFault, SettingOrigin};
use super::file::{Context, Section, Setting};
use super::files::warn_if_world_readable;
use super::report::Reporter;
use super::urls::{append, check_http};
use super::values::{ANY_TEXT, DEADLINE, DURATION, Kind, MEMBERS, PATH, Raw, TEXT, URL, one_of, word};
use crate::credentials::{ClientCredentials, Config, Format, StaticCredentials};
use crate::gateway::endpoints::token;
use crate::secret::{Secret, SecretSource};

/// The client secret by value. Not a flag, so not in the table of flags.
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
        // Which of the keys belong here is not known; that they are keys is.
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
        let message = "belongs to kind = \"client-credentials\"";
        CLIENT_KEYS.iter().for_each(|key| section.refuse(key, message));
        if variable(&section, SECRET_VARIABLE).is_some() {
            let origin = SettingOrigin::Environment(SECRET_VARIABLE.to_owned());
            section.context.report.fault(ConfigFault::new(origin, "", message));
        }
    }
    if kind.value != CredentialsKind::Static {
        STATIC_KEYS.iter().for_each(|key| section.refuse(key, "belongs to kind = \"static\""));
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
    check_secret(&secret, report);
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
            extra.fault(report, format!("{name} is sent by itself, it is not an extra member"));
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
    let advice = "write it under [upstream.credentials] or give --client-id; `kind = \"none\"` sends no credentials";
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
        let path = directory.map(|directory| directory.join("client_secret")).filter(|path| path.exists());
        path.map(|path| secret_in_file(section, path, CREDENTIALS_DIRECTORY))
    };
    found.unwrap_or_else(|| {
        let advice = "write it under [upstream.credentials] or give --client-secret-file";
        section.required(SECRET_KEY, &PATH, advice, PathBuf::new()).map(SecretSource::File)
    })
}

fn secret_in_file(section: &mut Section<'_>, path: PathBuf, variable: &str) -> Setting<SecretSource> {
    let origin = SettingOrigin::Environment(variable.to_owned());
    section.derived(SECRET_KEY, &PATH, path, origin).map(SecretSource::File)
}

fn secret_by_value(section: &mut Section<'_>, secret: String, variable: &str) -> Setting<SecretSource> {
    const NOT_SHOWN: Kind<Secret> =
        Kind { parse: |_| Err("not written in files".into()), show: |_| "(by value, not shown)".into() };
    let origin = SettingOrigin::Environment(variable.to_owned());
    let advice = "a secret in the environment is passed on to child processes and crash reports: a file is better";
    section.context.report.warn(&origin, "", advice);
    section.derived(SECRET_KEY, &NOT_SHOWN, Secret::new(secret), origin).map(SecretSource::Value)
}

fn read_static(section: &mut Section<'_>) -> StaticCredentials {
    let report = section.context.report;
    let header = section.setting("header", &HEADER, header::AUTHORIZATION);
    let is_authorization = header.value == header::AUTHORIZATION;
    let prefix = if is_authorization { "Bearer " } else { "" };
    let prefix = section.setting("prefix", &ANY_TEXT, prefix.to_owned());
    if !can_stand_in_header(&prefix.value) {
        prefix.fault(report, "must be printable ASCII");
    }
    let advice = "write the file that holds the value, under [upstream.credentials]";
    let secret = section.required("secret_file", &PATH, advice, PathBuf::new()).map(SecretSource::File);
    if let Some(text) = check_secret(&secret, report)
        && !can_stand_in_header(text.expose())
    {
        secret.fault(report, "the secret holds bytes that cannot stand in a header");
    }
    StaticCredentials { header: header.value, prefix: prefix.value, secret: secret.value }
}

/// Reads the secret as it will be read later: now somebody is looking.
fn check_secret(secret: &Setting<SecretSource>, report: &Reporter) -> Option<Secret> {
    if secret.is_faulty() {
        return None;
    }
    warn_if_world_readable(secret, &secret.value, report);
    secret.value.read().map_err(|unreadable| secret.fault(report, unreadable.to_string())).ok()
}

fn can_stand_in_header(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// A variable that is not a flag's, for the one upstream there is.
fn variable(section: &Section<'_>, name: &str) -> Option<String> {
    let Context { environment, report, .. } = section.context;
    let value = environment.get(name).filter(|_| section.is_only_one())?.into_string();
    value.map_err(|_| report.fault(ConfigFault::new(SettingOrigin::Environment(name.to_owned()), "", "not UTF-8"))).ok()
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

const KIND: Kind<CredentialsKind> = Kind { parse: |raw| one_of(raw, &KINDS), show: |kind| word(&KINDS, *kind) };

const FORMATS: [(&str, Format); 3] = [("json", Format::Json), ("form", Format::Form), ("basic", Format::Basic)];

const FORMAT: Kind<Format> = Kind { parse: |raw| one_of(raw, &FORMATS), show: |format| word(&FORMATS, *format) };

const HEADER: Kind<HeaderName> = Kind { parse: parse_header, show: HeaderName::to_string };

fn parse_header(raw: &Raw<'_>) -> Result<HeaderName, String> {
    let name = raw.text()?.parse::<HeaderName>().map_err(|_| "not the name of a header".to_owned())?;
    // What says where a message goes and where it ends is the client's business.
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
        return Err(format!("{name} cannot carry a credential"));
    }
    Ok(name)
}
