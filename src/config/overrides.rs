//! Flags and environment variables: the settings of a gateway with one upstream.
//!
//! One table, [`FLAGS`], makes the flag, its help text, its variable and the key it stands
//! for, so none of the four can drift from the others.
//!
//! Rejected: clap's derive with `env`. It merges a variable into its flag, and the faults of
//! the two could no longer say which was meant; it reads the process environment itself, so
//! tests would have to change it; and it stops at the first value that it cannot parse, with
//! the exit code of a usage error. Here clap takes texts, and one reader judges flags,
//! variables and file alike.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::credentials::SECRET_VARIABLE;
use super::environment::{Environment, PREFIX};
use super::faults::{ConfigFault, SettingOrigin};
use super::report::Reporter;
use super::values::closest;

/// One setting that can be given without a file.
pub(super) struct Flag {
    /// Without dashes. The variable is `JWE_GATEWAY_` and this in capitals.
    pub(super) name: &'static str,
    /// The key it stands for; `upstream.` means the only upstream there is.
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
pub(super) const FLAGS: [Flag; 19] = [
    flag("upstream", "upstream.url", "URL", "The provider, such as https://api.flanks.io"),
    flag("client-id", "upstream.credentials.client_id", "ID", "Client id for the token endpoint"),
    flag(
        "client-secret-file",
        "upstream.credentials.client_secret_file",
        "FILE",
        "File that holds the client secret and nothing else",
    ),
    flag(
        "credentials",
        "upstream.credentials.kind",
        "KIND",
        "What is presented to the provider: client-credentials, static or none",
    ),
    flag("token-url", "upstream.credentials.url", "URL", "Token endpoint, when it is not <upstream>/v0/token"),
    flag("token-format", "upstream.credentials.format", "FORMAT", "How a token is asked for: json, form or basic"),
    flag(
        "keys",
        "upstream.keys.source",
        "URL|FILE",
        "The provider's JWK Set, when it is not <upstream>/.well-known/jwks.json",
    ),
    flag(
        "last-known-good",
        "upstream.keys.last_known_good",
        "FILE",
        "Where to keep the last good JWK Set for a restart",
    ),
    flag("ca-file", "upstream.ca_file", "FILE", "PEM certificates to trust beside the system's"),
    switch("allow-http", "upstream.allow_http", "Allow http to a provider that is not on this machine"),
    flag("listen", "listen.address", "ADDRESS", "Where callers connect [default: 127.0.0.1:8080]"),
    switch("anonymous", "listen.anonymous", "Serve whoever can reach an address that is not loopback"),
    flag("max-connections", "listen.max_connections", "COUNT", "Open connections from callers, at most"),
    flag("admin", "admin.address", "ADDRESS", "Where health and metrics are served [default: 127.0.0.1:8081]"),
    flag("max-body", "limits.max_body", "SIZE", "The largest body taken from a caller, such as 32MiB"),
    flag("buffered", "limits.buffered", "SIZE", "All bodies held at one time, at most, such as 256MiB"),
    flag("in-flight", "limits.in_flight", "COUNT", "Requests served at one time, at most"),
    flag("drain-delay", "deadlines.drain_delay", "DURATION", "From \"not ready\" to closing the listener, such as 5s"),
    flag("log-format", "log.format", "FORMAT", "auto, json or text; auto is json unless stdout is a terminal"),
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

/// What the flags say. Flattened into the arguments of `run` and `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`: the file to read. Without one the variable `JWE_GATEWAY_CONFIG` is looked at.
    pub config: Option<PathBuf>,
    given: BTreeMap<&'static str, String>,
}

impl Overrides {
    /// What was given for `flag`, by flag or else by variable.
    ///
    /// # Errors
    /// When the variable is not UTF-8.
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
            Err(_) => Err(ConfigFault::new(origin, flag.key, "not UTF-8")),
        }
    }

    /// The file to read, by flag or else by variable.
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
