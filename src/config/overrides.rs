//! Flags and environment variables: the settings of a gateway with one upstream.
//!
//! One table, [`FLAGS`], defines the flag, its help text, its variable and its key in the file, so the four
//! always match.
//!
//! Rejected: clap's derive with `env`. It merges a variable into its flag, so a fault could not name the one
//! that is wrong. It reads the process environment itself, so tests would have to change it. It stops at the
//! first value that it cannot parse, with the exit code of a usage error. Here clap returns texts, and flags,
//! variables and file are parsed by the same code.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::credentials::SECRET_VARIABLE;
use super::environment::{Environment, PREFIX};
use super::faults::{ConfigFault, SettingOrigin};
use super::report::Reporter;
use super::values::closest;

/// A setting that can be set without a file.
pub(super) struct Flag {
    /// Without dashes. The variable is `JWE_GATEWAY_` and this name in upper case.
    pub(super) name: &'static str,
    /// The key in the file; `upstream.` means the only upstream.
    pub(super) key: &'static str,
    value_name: &'static str,
    help: &'static str,
    is_switch: bool,
}

const fn flag(name: &'static str, key: &'static str, value_name: &'static str, help: &'static str) -> Flag {
    Flag { name, key, value_name, help, is_switch: false }
}

const fn switch(name: &'static str, key: &'static str, help: &'static str) -> Flag {
    Flag { name, key, value_name: "BOOL", help, is_switch: true }
}

/// Every flag but `--config`, in the order of the help text.
pub(super) const FLAGS: [Flag; 22] = [
    flag("upstream", "upstream.url", "URL", "URL of the provider, such as https://api.flanks.io"),
    flag("client-id", "upstream.credentials.client_id", "ID", "Client id for the token endpoint"),
    flag(
        "client-secret-file",
        "upstream.credentials.client_secret_file",
        "FILE",
        "File that contains the client secret and nothing else",
    ),
    flag("credentials", "upstream.credentials.kind", "KIND", "Kind of credentials: client-credentials, static or none"),
    flag("token-url", "upstream.credentials.url", "URL", "Token endpoint [default: <upstream>/v0/token]"),
    flag("token-format", "upstream.credentials.format", "FORMAT", "Format of token requests: json, form or basic"),
    flag(
        "keys",
        "upstream.keys.source",
        "URL|FILE",
        "The provider's JWK Set [default: <upstream>/.well-known/jwks.json]",
    ),
    flag(
        "last-known-good",
        "upstream.keys.last_known_good",
        "FILE",
        "File that keeps the last good JWK Set for a restart",
    ),
    flag("ca-file", "upstream.ca_file", "FILE", "PEM certificates to trust in addition to the system's"),
    switch("allow-http", "upstream.allow_http", "Allow plain http to a provider on another machine"),
    flag("listen", "listen.address", "ADDRESS", "Address for callers [default: 127.0.0.1:8080]"),
    switch("anonymous", "listen.anonymous", "Serve any client on an address that is not loopback"),
    flag("max-connections", "listen.max_connections", "COUNT", "Maximum number of open connections from callers"),
    flag("admin", "admin.address", "ADDRESS", "Address for health and metrics [default: 127.0.0.1:8081]"),
    flag("max-body", "limits.max_body", "SIZE", "Maximum size of a caller's body, such as 32MiB"),
    flag("buffered", "limits.buffered", "SIZE", "Maximum size of all bodies in memory, such as 256MiB"),
    flag("in-flight", "limits.in_flight", "COUNT", "Maximum number of concurrent requests"),
    flag(
        "drain-delay",
        "deadlines.drain_delay",
        "DURATION",
        "Time from \"not ready\" to closing the listener, such as 5s",
    ),
    flag(
        "log-format",
        "log.format",
        "FORMAT",
        "Log format: auto, json or text; auto is json unless stdout is a terminal",
    ),
    flag("log-schema", "log.schema", "SCHEMA", "Names of the fields in a JSON log: own, ecs or otel"),
    flag("log-access", "log.access", "REQUESTS", "Requests with a line in the access log: all, errors or off"),
    flag(
        "log-access-sample",
        "log.access_sample",
        "RATIO",
        "Share of successful requests with a line in the access log, such as 0.1",
    ),
];

const CONFIG_HELP: &str = "Configuration file (TOML)";

impl Flag {
    pub(super) fn variable(&self) -> String {
        variable(self.name)
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).value_name(self.value_name).help(help(self.help, self.name));
        match (self.is_switch, self.value_name) {
            (true, _) => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            (false, "FILE" | "URL|FILE") => arg.value_hint(ValueHint::FilePath),
            (false, _) => arg,
        }
        .action(ArgAction::Set)
    }
}

fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

fn help(text: &str, flag: &str) -> String {
    format!("{text} [env: {}]", variable(flag))
}

/// The values of the flags. Flattened into the arguments of `run`, `check` and `doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`: the file to read. If it is not given, the variable `JWE_GATEWAY_CONFIG` applies.
    pub config: Option<PathBuf>,
    given: BTreeMap<&'static str, String>,
}

impl Overrides {
    /// The value of `flag`, or else of its variable.
    ///
    /// # Errors
    /// If the variable is not UTF-8.
    pub(super) fn given(
        &self,
        flag: &Flag,
        environment: &Environment,
    ) -> Result<Option<(SettingOrigin, String)>, ConfigFault> {
        if let Some(text) = self.given.get(flag.name) {
            return Ok(Some((SettingOrigin::Flag(format!("--{}", flag.name)), text.clone())));
        }
        let name = flag.variable();
        let Some(value) = environment.get(&name) else { return Ok(None) };
        let origin = SettingOrigin::Environment(name);
        match value.into_string() {
            Ok(text) => Ok(Some((origin, text))),
            Err(_) => Err(ConfigFault::new(origin, flag.key, "not UTF-8 text")),
        }
    }

    /// The file to read, from `--config` or else from its variable.
    pub(super) fn file(&self, environment: &Environment) -> Option<PathBuf> {
        self.config.clone().or_else(|| environment.get(&variable("config")).map(PathBuf::from))
    }
}

/// Warns about each variable that looks like a setting and is none.
pub(super) fn warn_about_unknown_variables(environment: &Environment, report: &Reporter) {
    let flags = FLAGS.iter().map(|flag| flag.name).chain(["config"]).map(variable);
    let known: Vec<String> = flags.chain([SECRET_VARIABLE.to_owned()]).collect();
    // Compared without the prefix, which all of them share.
    let name_of = |variable: &str| variable.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let names: Vec<String> = known.iter().map(|known| name_of(known)).collect();
    for unknown in environment.settings().filter(|name| !known.iter().any(|known| known == name)) {
        let message = match closest(&name_of(unknown), names.iter().map(String::as_str)) {
            Some(name) => format!("unknown variable, ignored; did you mean {PREFIX}{name}?"),
            None => "unknown variable, ignored; `jwe-gateway run --help` lists the known ones".to_owned(),
        };
        report.warn(&SettingOrigin::Environment(unknown.to_owned()), "", &message);
    }
}

impl clap::Args for Overrides {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_hint(ValueHint::FilePath)
            .value_parser(clap::value_parser!(PathBuf))
            .help(help(CONFIG_HELP, "config"));
        command.arg(config).args(FLAGS.iter().map(Flag::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut overrides = Self::default();
        overrides.update_from_arg_matches(matches)?;
        Ok(overrides)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(file) = matches.get_one::<PathBuf>("config") {
            self.config = Some(file.clone());
        }
        for flag in &FLAGS {
            if let Some(text) = matches.get_one::<String>(flag.name) {
                self.given.insert(flag.name, text.clone());
            }
        }
        Ok(())
    }
}
