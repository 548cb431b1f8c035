//! Reads the configuration from a TOML file, flags and environment variables.
//!
//! Precedence: flags, then variables, then the file, then defaults. The defaults belong to the modules that
//! are configured: `gateway::Limits::default()` is the default of `[limits]`.
//!
//! One run reports every fault with its origin: `gateway.toml:12:8: limits.max_body: ...`, `--listen: ...`,
//! `JWE_GATEWAY_LISTEN: ...`. An unknown key is a fault. A value that a flag or a variable replaces is not
//! checked.
//!
//! The hard case is a check that compares two settings while one of them is faulty: it would compare a
//! default that was never written. Such a check is skipped until the faulty setting is corrected.
//!
//! A flag or a variable for an upstream means the only upstream. If the file has several, such flags and
//! variables are faults. `FLANKS_CLIENT_ID`, `FLANKS_CLIENT_SECRET_FILE` and `FLANKS_CLIENT_SECRET` are the
//! provider's own names and may be set for other programs: they fill gaps and override nothing.
//!
//! Relative paths are relative to the working directory, as on any command line.
//!
//! Rejected: serde's derive for the file (see `file.rs`); clap's `env` (see `overrides.rs`); logging
//! warnings while reading, because the log format is one of the settings that are read.

mod caller;
mod connection;
mod credentials;
mod environment;
mod faults;
mod file;
mod files;
mod key_set;
mod limits;
mod listen;
mod ordinary_refusals;
mod otel;
mod overrides;
mod report;
mod schema;
mod setting;
mod shapes;
mod source;
mod upstream;
mod urls;
mod validation;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use connection::of_environment as proxy_of_environment;
pub use environment::Environment;
pub use faults::{ConfigFault, ConfigFaults, SettingOrigin};
pub use overrides::Overrides;
pub(crate) use report::Origins;
pub use report::Summary;
pub(crate) use schema::schema;
pub use source::ConfigSource;

// The settings' own types, from the modules that they configure.
pub use crate::admin::Config as AdminConfig;
pub use crate::credentials::{ClientCredentials, Config as CredentialsConfig, Format};
pub use crate::gateway::access_log::{Access, Config as AccessLogConfig, SampleRatio};
pub use crate::gateway::callers::{BadRule, Config as CallerConfig, KeyDigest, KeySource as CallerKeys, Rule};
pub use crate::gateway::capacity::QuotaOverrides;
pub use crate::gateway::config::{Config as GatewayConfig, Deadlines, Limits, Listen};
pub use crate::gateway::request::trace_context::{Sampler, TraceShare};
pub use crate::gateway::response::ordinary_refusal::{MemberPattern, OrdinaryRefusal, ValuePattern};
pub use crate::gateway::route::{Encryption, TokenEndpoint};
pub use crate::gateway::server::tls::TlsFiles;
pub use crate::gateway::validation::{
    Config as ValidationConfig, Document, IdentifiersInQuery, OwnDocument, Validate, ValidationErrors,
};
pub use crate::keys::{Config as KeysConfig, Source as KeysSource};
pub use crate::path_prefix::{BadPathPrefix, PathPrefix};
pub use crate::socket::Address;
pub use crate::static_credential::StaticCredential;
pub use crate::telemetry::{Config as LogConfig, LogFormat, Schema};
pub use crate::traces::Config as TracesConfig;
pub use crate::upstream::{Config as UpstreamConfig, Identity, Proxy};
pub(crate) use urls::passes_in_clear;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::StatusCode;
use url::Url;

use crate::admin::MIN_TOKEN;
use crate::gateway::response::ordinary_refusal;
use crate::secret::SecretSource;
use crate::{admin, gateway, keys, telemetry, traces};
use file::{ConfigFile, Context, Given, Section};
use files::warn_if_world_readable;
use limits::WrittenLimits;
use listen::{LISTEN_ADDRESS, WrittenListen, read_mode};
use report::Reporter;
use setting::Setting;
use shapes::words;
use values::{DEADLINE, DURATION, Kind, PATH, SAMPLE_RATIO, TEXTS, one_of, word};

/// All settings of a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[listen]`, `[limits]`, `[deadlines]` and `[[caller]]`, and what selects access records.
    pub gateway: gateway::Config,
    /// `[admin]`.
    pub admin: admin::Config,
    /// `[log]`, except what selects access records.
    pub log: telemetry::Config,
    /// The export of spans (`OTEL_*`). None if no variable asks for it, or this build does not have the feature `otlp`.
    pub traces: Option<traces::Config>,
    /// `[[upstream]]`, at least one.
    pub upstreams: Vec<Upstream>,
}

/// One `[[upstream]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The name in logs and metrics; by default the host of its URL.
    pub name: String,
    /// The prefix of the paths that this upstream serves.
    pub prefix: PathPrefix,
    /// Whether the prefix is removed before a request is forwarded.
    pub strip_prefix: bool,
    /// Whether bodies are sealed here, must arrive sealed, or are sent in clear.
    pub encryption: Encryption,
    /// Whether the upstream is an egress of this product, whose members of `Proxy-Status` are relayed. `None`: it
    /// may be one if bodies are sealed here and no tokens are obtained.
    pub is_egress: Option<bool>,
    /// How the gateway handles a caller's request to the token endpoint.
    pub token_endpoint: TokenEndpoint,
    /// Limits for this upstream that replace its even share of `[limits]`.
    pub quota: QuotaOverrides,
    /// URL, trust, proxy and timeouts.
    pub upstream: crate::upstream::Config,
    /// Statuses that may mean "this message cannot be opened". After one of them the keys are fetched; if
    /// the message's key is gone, the request is sealed with a new key and resent once.
    pub key_refusals: Vec<StatusCode>,
    /// Replies with such a status that show that the provider read the message. They are relayed at once.
    pub ordinary_refusals: Vec<OrdinaryRefusal>,
    /// Members that the protected header of a caller's JWE may have in addition to `alg`, `enc`, `kid`, `typ`
    /// and `cty`.
    pub extra_header_members: Vec<String>,
    /// How requests are compared with the description of the API.
    pub validation: ValidationConfig,
    /// `[upstream.keys]`; not used if `encryption` is off.
    pub keys: keys::Config,
    /// `[upstream.credentials]`.
    pub credentials: crate::credentials::Config,
}

/// A configuration, its summary and its warnings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Each setting in effect with its origin.
    pub summary: Summary,
    /// Settings that work but should be changed, one line each.
    pub warnings: Vec<String>,
}

impl Config {
    /// A gateway to one provider, on free loopback ports, with defaults for all other settings. For tests,
    /// and for programs that embed a gateway.
    #[must_use]
    pub fn for_one(name: &str, url: Url, client_id: String, client_secret: SecretSource) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut gateway = gateway::Config::default();
        gateway.listen.address = any_port.into();
        let token_url = urls::append(&url, upstream::TOKEN_PATH);
        let credentials = ClientCredentials::new(token_url, client_id, client_secret);
        let upstream = Upstream {
            name: name.to_owned(),
            prefix: PathPrefix::default(),
            strip_prefix: false,
            encryption: Encryption::default(),
            is_egress: None,
            token_endpoint: TokenEndpoint::default(),
            quota: QuotaOverrides::default(),
            key_refusals: upstream::KEY_REFUSALS.to_vec(),
            ordinary_refusals: ordinary_refusal::flanks(),
            extra_header_members: Vec::new(),
            validation: ValidationConfig::default(),
            keys: keys::Config::new(keys::Source::Url(urls::append(&url, upstream::JWKS_PATH))),
            credentials: crate::credentials::Config::ClientCredentials(credentials),
            upstream: crate::upstream::Config::new(url),
        };
        let admin = admin::Config { address: any_port.into(), ..admin::Config::default() };
        Self { gateway, admin, log: telemetry::Config::default(), traces: None, upstreams: vec![upstream] }
    }
}

impl Loaded {
    /// Reads the configuration. The files that it names must exist: secrets and certificates are read once.
    ///
    /// # Errors
    /// All faults of the configuration.
    pub fn read(overrides: &Overrides, environment: &Environment) -> Result<Self, ConfigFaults> {
        let report = Reporter::default();
        let given = Given::collect(overrides, environment, &report);
        overrides::warn_about_unknown_variables(environment, &report);
        check_log_filter(environment, &report);
        let document = match overrides.file(environment) {
            Some(path) => ConfigFile::read(&path).map_err(|fault| {
                report.fault(fault);
                report.faults()
            })?,
            None => ConfigFile::empty(),
        };
        let context = Context { given: &given, environment, report: &report, recorder: None };
        let config = read(document.root(context)?);
        let (summary, warnings) = report.finish()?;
        Ok(Self { config, summary, warnings })
    }

    /// Logs the warnings.
    pub fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("configuration: {warning}");
        }
    }
}

/// Reports a `RUST_LOG` with which `run` would not start.
fn check_log_filter(environment: &Environment, report: &Reporter) {
    if let Some(Err(fault)) = environment.log_filter().map(|filter| telemetry::check_filter(&filter)) {
        let origin = SettingOrigin::Environment("RUST_LOG".to_owned());
        report.fault(ConfigFault::new(origin, "", fault.to_string()));
    }
}

/// Reports each missing or faulty setting, and continues with a replacement value.
fn read(mut root: Section<'_>) -> Config {
    let listen = WrittenListen::read(root.section("listen"));
    let limits = WrittenLimits::read(root.section("limits"));
    let deadlines = read_deadlines(root.section("deadlines"));
    let admin = read_admin(root.section("admin"), &listen.address);
    let (log, access_log) = read_log(root.section("log"));
    let callers = caller::read(root.tables("caller"), listen.has_client_ca(), root.context.report);
    let callers_have_keys = callers.iter().any(|caller| caller.keys.is_some());
    let own = [listen.address.value.tcp(), admin.address.tcp()].into_iter().flatten().collect::<Vec<_>>();
    let upstreams = upstream::read(root.tables_or_one("upstream"), callers_have_keys, &own, root.context);
    limits.check_quotas(&upstreams, root.context.report);
    let limits = limits.value();
    let (token_key, listen) = listen.finish(&callers, root.context.report);
    let (traces, sampler) = otel::read(root.context.environment, root.context.report).unzip();
    root.finish();
    let gateway = gateway::Config { listen, limits, deadlines, access_log, sampler, callers, token_key };
    Config { gateway, admin, log, traces, upstreams }
}

fn read_deadlines(mut section: Section<'_>) -> Deadlines {
    let default = Deadlines::default();
    let deadlines = Deadlines {
        head: section.setting("head", &DEADLINE, default.head).value,
        body: section.setting("body", &DEADLINE, default.body).value,
        stall: section.setting("stall", &DEADLINE, default.stall).value,
        half_close_grace: section.setting("half_close_grace", &DURATION, default.half_close_grace).value,
        exchange: section.setting("exchange", &DEADLINE, default.exchange).value,
        drain_delay: section.setting("drain_delay", &DURATION, default.drain_delay).value,
        drain: section.setting("drain", &DURATION, default.drain).value,
    };
    section.finish();
    deadlines
}

fn read_admin(mut section: Section<'_>, listen: &Setting<Address>) -> admin::Config {
    const HOSTS: Kind<Vec<String>> = Kind {
        parse: |raw| {
            // A dot at the end says only that the name is complete. `Host` is compared without it.
            let mut names = (TEXTS.parse)(raw)?;
            names.iter_mut().for_each(|name| name.truncate(name.trim_end_matches('.').len()));
            match names.iter().find(|name| name.contains([':', '/'])) {
                Some(name) => Err(format!("{name:?} is not a host name: leave out scheme, port and path")),
                None => Ok(names),
            }
        },
        show: TEXTS.show,
        schema: shapes::host_names,
    };
    let default = admin::Config::default();
    let report = section.context.report;
    let address = section.setting("address", &LISTEN_ADDRESS, default.address);
    let address = read_mode(&mut section, address);
    let hosts = section.setting("hosts", &HOSTS, default.hosts).value;
    let token_file = section.optional("token_file", &PATH).map(|file| {
        check_admin_token(&file, report);
        file.value
    });
    section.finish();
    if overlap(&address.value, &listen.value) {
        address.fault_with(
            listen,
            report,
            "admin.address and listen.address are the same: use another port for one of them",
        );
    }
    admin::Config { address: address.value, hosts, token_file }
}

fn read_log(mut section: Section<'_>) -> (telemetry::Config, AccessLogConfig) {
    const FORMATS: [(&str, LogFormat); 3] = {
        use LogFormat::{Auto, Json, Text};
        [("auto", Auto), ("json", Json), ("text", Text)]
    };
    const FORMAT: Kind<LogFormat> =
        Kind { parse: |raw| one_of(raw, &FORMATS), show: |format| word(&FORMATS, *format), schema: || words(&FORMATS) };
    const ACCESSES: [(&str, Access); 3] = [("all", Access::All), ("errors", Access::Errors), ("off", Access::Off)];
    const ACCESS: Kind<Access> = Kind {
        parse: |raw| one_of(raw, &ACCESSES),
        show: |access| word(&ACCESSES, *access),
        schema: || words(&ACCESSES),
    };
    const SCHEMAS: [(&str, Schema); 3] = [("own", Schema::Own), ("ecs", Schema::Ecs), ("otel", Schema::Otel)];
    const SCHEMA: Kind<Schema> =
        Kind { parse: |raw| one_of(raw, &SCHEMAS), show: |schema| word(&SCHEMAS, *schema), schema: || words(&SCHEMAS) };
    let default = telemetry::Config::default();
    let log = telemetry::Config {
        format: section.setting("format", &FORMAT, default.format).value,
        schema: section.setting("schema", &SCHEMA, default.schema).value,
    };
    let default = AccessLogConfig::default();
    let access_log = AccessLogConfig {
        access: section.setting("access", &ACCESS, default.access).value,
        sample: section.setting("access_sample", &SAMPLE_RATIO, default.sample).value,
    };
    section.finish();
    (log, access_log)
}

/// Reads the token as the gateway will read it, so that a fault is reported now.
fn check_admin_token(file: &Setting<PathBuf>, report: &Reporter) {
    let source = SecretSource::File(file.value.clone());
    warn_if_world_readable(file, &source, report);
    match source.read_line() {
        Ok(token) if token.expose().len() < MIN_TOKEN => {
            file.fault(
                report,
                format!("the token has fewer than {MIN_TOKEN} characters: `openssl rand -hex 32` makes one"),
            );
        }
        Ok(_) => {}
        Err(fault) => file.fault(report, fault.to_string()),
    }
}

/// Whether the two addresses cannot both be bound. Port 0 means another free port each time.
fn overlap(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => {
            let (ip_a, ip_b) = (a.ip().to_canonical(), b.ip().to_canonical());
            a.port() != 0 && a.port() == b.port() && (ip_a == ip_b || ip_a.is_unspecified() || ip_b.is_unspecified())
        }
        (Address::Unix { path: a, .. }, Address::Unix { path: b, .. }) => a == b,
        _ => false,
    }
}
