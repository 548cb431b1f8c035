//! `[[upstream]]` and `[upstream.keys]`.

use std::net::SocketAddr;

use http::StatusCode;
use url::Url;

use super::Upstream;
use super::connection;
use super::credentials;
use super::environment::Environment;
use super::faults::{ConfigFault, SettingOrigin};
use super::file::{Context, Section};
use super::files::check_certificates;
use super::key_set;
use super::ordinary_refusals::ORDINARY_REFUSALS;
use super::report::Reporter;
use super::setting::Setting;
use super::shapes::{self, words};
use super::urls::{check_http, leads_to};
use super::validation;
use super::values::{BASE_URL, BOOL, COUNT, DEADLINE, Kind, NAME, PATH, REFUSALS, SIZE, TEXTS, one_of, word};
use crate::gateway::capacity::QuotaOverrides;
use crate::gateway::endpoints;
use crate::gateway::response::ordinary_refusal::{self, OrdinaryRefusal};
use crate::gateway::route::{Encryption, TokenEndpoint};
use crate::keys::Source;
use crate::path_prefix::{BadPathPrefix, PathPrefix};
use crate::static_credential::StaticCredential;
use crate::{keys, upstream};

/// The default paths of a provider's key set and token endpoint.
pub(super) const JWKS_PATH: &str = endpoints::jwks::PATH;
pub(super) const TOKEN_PATH: &str = endpoints::token::PATH;

/// The status that we assume for a message that the provider cannot open.
pub(super) const KEY_REFUSALS: [StatusCode; 1] = [StatusCode::BAD_REQUEST];

/// The default URL if `FLANKS_CLIENT_ID` is set.
const FLANKS: &str = "https://api.flanks.io";

/// Reads every upstream and compares them. `callers_have_keys`: at least one caller has a key. `own`: the addresses of this
/// gateway.
pub(super) fn read(
    sections: Vec<Section<'_>>,
    callers_have_keys: bool,
    own: &[SocketAddr],
    context: Context<'_>,
) -> Vec<Upstream> {
    if sections.len() > 1 {
        refuse_overrides(context);
    }
    let upstreams: Vec<_> = sections.into_iter().map(|section| read_one(section, callers_have_keys, own)).collect();
    for (index, (name, prefix, upstream)) in upstreams.iter().enumerate() {
        for (earlier_name, earlier_prefix, earlier) in &upstreams[..index] {
            if prefix.value == earlier_prefix.value {
                prefix.fault_with(earlier_prefix, context.report, "another [[upstream]] has the same prefix");
            }
            let last_good = |upstream: &Upstream| upstream.keys.last_known_good.clone();
            if last_good(upstream).is_some() && last_good(upstream) == last_good(earlier) {
                prefix
                    .fault(context.report, "another [[upstream]] has the same keys.last_known_good: use one file each");
            }
            if name.value == earlier_name.value {
                name.fault_with(
                    earlier_name,
                    context.report,
                    "another [[upstream]] has the same name: set another `name`",
                );
            }
        }
    }
    check_shadows(&upstreams, context.report);
    upstreams.into_iter().map(|(_, _, upstream)| upstream).collect()
}

/// Reports an upstream with a longer prefix that covers the emulated token endpoint of another. Its provider would
/// receive token requests, with callers' keys in them.
fn check_shadows(upstreams: &[(Setting<String>, Setting<PathPrefix>, Upstream)], report: &Reporter) {
    for (_, prefix, upstream) in upstreams.iter().filter(|(_, _, one)| one.token_endpoint == TokenEndpoint::Emulate) {
        let Some(path) = emulated_path(upstream) else { continue };
        let longer =
            |other: &&(_, Setting<PathPrefix>, Upstream)| other.1.value.as_str().len() > prefix.value.as_str().len();
        if let Some((_, other, _)) = upstreams.iter().filter(longer).find(|(_, other, _)| other.value.contains(&path)) {
            other.fault_with(
                prefix,
                report,
                format!("contains {path}, the token endpoint that another [[upstream]] emulates: use another prefix"),
            );
        }
    }
}

/// A flag or a variable cannot name one of several upstreams.
fn refuse_overrides(context: Context<'_>) {
    let fault = |origin: &SettingOrigin, key: &str| {
        let message = format!("sets {key}, but the file has several [[upstream]]: set it in the file");
        context.report.fault(ConfigFault::new(origin.clone(), "", message));
    };
    for (key, origin) in context.given.under("upstream.") {
        fault(origin, key);
    }
    if context.environment.get(credentials::SECRET_VARIABLE).is_some() {
        fault(
            &SettingOrigin::Environment(credentials::SECRET_VARIABLE.to_owned()),
            "upstream.credentials.client_secret",
        );
    }
}

fn read_one(
    mut section: Section<'_>,
    callers_have_keys: bool,
    own: &[SocketAddr],
) -> (Setting<String>, Setting<PathPrefix>, Upstream) {
    let report = section.context.report;
    let url = read_url(&mut section);
    let name = match section.optional("name", &NAME) {
        Some(name) => name,
        None => {
            let host = url.value.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            section.derived("name", &NAME, host, SettingOrigin::Default).unless_faulty(&url)
        }
    };
    let prefix = section.setting("prefix", &PREFIX, PathPrefix::default());
    let strip_prefix = section.setting("strip_prefix", &BOOL, false).value;
    let encryption = section.setting("encryption", &ENCRYPTION, Encryption::default());
    let token_endpoint = section.setting("token_endpoint", &TOKEN_ENDPOINT, TokenEndpoint::default());
    let is_egress = section.optional("egress", &BOOL).map(|is_egress| is_egress.value);
    let allow_http = section.setting("allow_http", &BOOL, false);
    check_http(&url, &url.value, &allow_http, report);
    if own.iter().any(|own| leads_to(&url.value, *own)) {
        let message = "an address of this gateway, so each request would come back to it: set the provider's URL";
        url.fault(report, message);
    }

    let mut transport = upstream::Config::new(url.value.clone());
    transport.ca_file = section.optional("ca_file", &PATH).map(|file| {
        check_certificates(&file, report);
        file.value
    });
    transport.identity = connection::read_identity(&mut section);
    transport.proxy = connection::read_proxy(&mut section, &url.value);
    transport.connect = section.setting("connect", &DEADLINE, transport.connect).value;
    transport.reply = section.setting("reply", &DEADLINE, transport.reply).value;
    transport.idle = section.setting("idle", &DEADLINE, transport.idle).value;
    transport.pool_idle = section.setting("pool_idle", &DEADLINE, transport.pool_idle).value;
    transport.connection_max_age = section.setting("connection_max_age", &DEADLINE, transport.connection_max_age).value;
    let quota = QuotaOverrides {
        max_body: section.optional("max_body", &SIZE).map(|size| size.value),
        buffered: section.optional("buffered", &SIZE).map(|size| size.value),
        in_flight: section.optional("in_flight", &COUNT).map(|count| count.value),
    };
    let validation = validation::read(&mut section);
    let sealed = if encryption.value == Encryption::Off {
        refuse_keys(&mut section);
        None
    } else {
        Some(SealedSettings {
            key_refusals: read_key_refusals(&mut section),
            ordinary_refusals: section
                .setting("ordinary_refusals", &ORDINARY_REFUSALS, ordinary_refusal::flanks())
                .value,
            extra_header_members: read_extra_header_members(&mut section),
            keys: key_set::read(section.section("keys"), &url.value, &allow_http),
        })
    };
    let SealedSettings { key_refusals, ordinary_refusals, extra_header_members, mut keys } =
        sealed.unwrap_or_else(|| SealedSettings::unused(&url.value));
    let credentials = credentials::read(section.section("credentials"), &url.value, &allow_http);
    keys.credential = credential_for(&keys.source, &credentials, &url.value);
    section.finish();
    let upstream = Upstream {
        name: name.value.clone(),
        prefix: prefix.value.clone(),
        strip_prefix,
        encryption: encryption.value,
        is_egress,
        token_endpoint: token_endpoint.value,
        quota,
        upstream: transport,
        key_refusals,
        ordinary_refusals,
        extra_header_members,
        validation,
        keys,
        credentials,
    };
    if token_endpoint.value == TokenEndpoint::Emulate
        && let Err(message) = check_emulation(&upstream, callers_have_keys)
    {
        token_endpoint.fault(report, message);
    }
    (name, prefix, upstream)
}

/// The settings that have an effect only if bodies are sealed, here or by a caller.
struct SealedSettings {
    key_refusals: Vec<StatusCode>,
    ordinary_refusals: Vec<OrdinaryRefusal>,
    extra_header_members: Vec<String>,
    keys: keys::Config,
}

impl SealedSettings {
    fn unused(url: &Url) -> Self {
        Self {
            key_refusals: Vec::new(),
            ordinary_refusals: Vec::new(),
            extra_header_members: Vec::new(),
            keys: keys::Config::new(Source::Url(url.clone())),
        }
    }
}

fn read_key_refusals(section: &mut Section<'_>) -> Vec<StatusCode> {
    let refusals = section.setting("key_refusals", &REFUSALS, KEY_REFUSALS.to_vec());
    if refusals.value.is_empty() {
        let message = "no status: a request that the provider refuses after a key rotation is not sealed again";
        section.context.report.warn(&refusals.origin, &refusals.key, message);
    }
    refusals.value
}

/// `zip` and `crit` change how a message is read, so no setting allows them.
fn read_extra_header_members(section: &mut Section<'_>) -> Vec<String> {
    let members = section.setting("extra_header_members", &TEXTS, Vec::new());
    for name in members.value.iter().filter(|name| ["zip", "crit"].contains(&name.as_str())) {
        members.fault(section.context.report, format!("{name} is never accepted: remove it"));
    }
    members.value
}

/// Refuses an emulated endpoint that no request can reach, or that could not issue a token.
fn check_emulation(upstream: &Upstream, callers_have_keys: bool) -> Result<(), String> {
    if !callers_have_keys {
        return Err(
            "tokens are issued for callers' keys, but no caller has one: add a [[caller]] with `key_sha256_file`"
                .to_owned(),
        );
    }
    match emulated_path(upstream) {
        Some(_) => Ok(()),
        None => {
            Err("the token endpoint is not below this upstream's `url` and `prefix`, so callers cannot reach it".into())
        }
    }
}

/// The path of an upstream's token endpoint for callers, if they can reach it.
fn emulated_path(upstream: &Upstream) -> Option<String> {
    let token_url = match &upstream.credentials {
        crate::credentials::Config::ClientCredentials(credentials) => Some(&credentials.url),
        crate::credentials::Config::Static(_) | crate::credentials::Config::None => None,
    };
    endpoints::token::locate(&upstream.upstream.url, &upstream.prefix, upstream.strip_prefix, token_url)?.caller_path
}

/// Without sealing, settings of keys would have no effect.
fn refuse_keys(section: &mut Section<'_>) {
    const MESSAGE: &str = "has no effect, because encryption is \"off\": remove it";
    section.refuse("keys", MESSAGE);
    section.refuse("key_refusals", MESSAGE);
    section.refuse("ordinary_refusals", MESSAGE);
    section.refuse("extra_header_members", MESSAGE);
    if section.is_only_one() {
        let Context { given, report, .. } = section.context;
        given
            .under("upstream.keys.")
            .for_each(|(key, origin)| report.fault(ConfigFault::new(origin.clone(), key, MESSAGE)));
    }
}

/// A fixed credential is also sent with the fetch of the key set, if the set is on the upstream's origin: an
/// egress authenticates the callers of its key set by it.
fn credential_for(
    source: &Source,
    credentials: &crate::credentials::Config,
    upstream: &Url,
) -> Option<StaticCredential> {
    match (source, credentials) {
        (Source::Url(url), crate::credentials::Config::Static(credential)) if url.origin() == upstream.origin() => {
            Some(credential.clone())
        }
        _ => None,
    }
}

fn read_url(section: &mut Section<'_>) -> Setting<Url> {
    if !section.has("url") && section.is_only_one() && is_flanks_configured(section.context.environment) {
        return section.derived("url", &BASE_URL, constant(FLANKS), credentials::flanks_client_id());
    }
    let advice = "set `url = \"https://...\"` under [[upstream]], or --upstream, or JWE_GATEWAY_UPSTREAM";
    // If it is missing or faulty, the rest is still read for its faults.
    section.required("url", &BASE_URL, advice, constant("https://upstream.invalid"))
}

fn is_flanks_configured(environment: &Environment) -> bool {
    environment.get(credentials::FLANKS_CLIENT_ID).is_some()
}

#[expect(clippy::expect_used, reason = "called with two literals, both in every test")]
fn constant(url: &'static str) -> Url {
    Url::parse(url).expect("a URL")
}

const PREFIX: Kind<PathPrefix> = Kind {
    parse: |raw| raw.text()?.parse().map_err(|fault: BadPathPrefix| fault.to_string()),
    show: PathPrefix::to_string,
    schema: shapes::prefix,
};

const ENCRYPTIONS: [(&str, Encryption); 3] =
    [("seal", Encryption::Seal), ("require-sealed", Encryption::RequireSealed), ("off", Encryption::Off)];

const ENCRYPTION: Kind<Encryption> = Kind {
    parse: |raw| one_of(raw, &ENCRYPTIONS),
    show: |encryption| word(&ENCRYPTIONS, *encryption),
    schema: || words(&ENCRYPTIONS),
};

const TOKEN_ENDPOINTS: [(&str, TokenEndpoint); 2] =
    [("refuse", TokenEndpoint::Refuse), ("emulate", TokenEndpoint::Emulate)];

const TOKEN_ENDPOINT: Kind<TokenEndpoint> = Kind {
    parse: |raw| one_of(raw, &TOKEN_ENDPOINTS),
    show: |endpoint| word(&TOKEN_ENDPOINTS, *endpoint),
    schema: || words(&TOKEN_ENDPOINTS),
};
