//! `deploy/gateway.toml` and `docs/configuration.md` agree with the code.

use super::*;
use crate::config::schema::{self, DocumentedRow};
use crate::config::values::{DURATION, Raw};
use crate::socket::Address;

const DOCUMENTED: &str = include_str!("../../../deploy/gateway.toml");

/// The documented file, with a secret that exists.
fn documented() -> String {
    DOCUMENTED.replace("/run/secrets/client_secret", "SECRET").replace("your-client-id", "id")
}

/// The text with the settings that are commented out by `mark` put in force.
fn uncomment(text: &str, mark: &str) -> String {
    let is_setting = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = text.lines().map(|line| line.strip_prefix(mark).filter(|rest| is_setting(rest)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_smallest_file_and_the_documented_file_are_the_same_configuration() {
    assert_eq!(SMALLEST.lines().count(), 4);
    assert_eq!(config_of(&documented()), config_of(SMALLEST));
}

#[test]
fn the_defaults_in_the_documented_file_are_the_defaults() {
    let spelt_out = uncomment(&documented(), "#");
    assert!(spelt_out.lines().filter(|line| line.contains(" = ")).count() > 35, "{spelt_out}");
    assert_eq!(config_of(&spelt_out), config_of(SMALLEST));
}

/// The configuration with one secret path, so that two configurations can be compared.
fn config_of(toml: &str) -> Config {
    let mut config = config(toml);
    for upstream in &mut config.upstreams {
        if let crate::credentials::Config::ClientCredentials(credentials) = &mut upstream.credentials {
            credentials.client_secret = crate::secret::SecretSource::File("secret".into());
        }
    }
    config
}

#[test]
fn the_documented_file_has_every_known_key() {
    let keys_of = |toml: &str| -> Vec<String> {
        let faults = faults(toml);
        let known = faults.iter().filter_map(|fault| Some(fault.split_once("; the known keys are ")?.1));
        known.flat_map(|known| known.split(", ").map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    // An unknown key in every table makes the reader list the keys it knows.
    let all = "zzzzzz = 1\n[listen]\nzzzzzz = 1\n[limits]\nzzzzzz = 1\n[deadlines]\nzzzzzz = 1\n[admin]\nzzzzzz = 1\n\
               [log]\nzzzzzz = 1\n[[upstream]]\nzzzzzz = 1\n[upstream.keys]\nzzzzzz = 1\n\
               [upstream.credentials]\nzzzzzz = 1\n[[caller]]\nzzzzzz = 1\n";
    let known = keys_of(all);
    assert!(known.len() > 45, "{known:?}");
    for key in known {
        let is_documented = DOCUMENTED.lines().any(|line| {
            let line = line.trim_start_matches(['#', '!']);
            line.starts_with(&format!("{key} = "))
                || line.starts_with(&format!("[{key}]"))
                || line == format!("[[{key}]]")
                || line == format!("[upstream.{key}]")
        });
        assert!(is_documented, "{key} is not in deploy/gateway.toml");
    }
}

#[test]
fn every_example_of_the_documented_file_is_accepted() {
    let files = TestFiles::new();
    files.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    files.write("portfolio_key.sha256", "0".repeat(64));
    files.write("token_key", "0".repeat(64));
    files.write("admin_token", "0".repeat(64));
    files.write("provider_jwks.json", "{}");
    let text = documented()
        .replace("/etc/jwe-gateway/ca.pem", &files.path("ca.pem"))
        .replace("/etc/jwe-gateway/client.pem", &files.path("ca.pem"))
        .replace("/etc/jwe-gateway/client.key", &files.path("ca.pem"))
        .replace("/run/secrets/token_key", &files.path("token_key"))
        .replace("/run/secrets/admin_token", &files.path("admin_token"))
        .replace("/run/secrets/portfolio_key.sha256", &files.path("portfolio_key.sha256"))
        .replace("/etc/jwe-gateway/tls.pem", &files.path("ca.pem"))
        .replace("/etc/jwe-gateway/tls.key", "SECRET")
        .replace("/etc/jwe-gateway/jwks.json", &files.path("provider_jwks.json"))
        .replace("/var/lib/jwe-gateway/jwks.json", &files.path("jwks.json"))
        .replace("/run/secrets/api_key", "SECRET");
    let with_examples = uncomment(&text, "#!");
    // The second kind of credentials replaces the first.
    let (before, fixed) = with_examples.split_once("# The same table").unwrap();
    let (before, _) = before.split_once("client_id = ").unwrap();
    let loaded = files.read(&format!("{before}\n# {fixed}"), &[], nothing()).unwrap();
    let listen = &loaded.config.gateway.listen;
    assert_eq!(listen.address, Address::Unix { path: "/run/jwe-gateway/gateway.sock".into(), mode: 0o660 });
    let tls = listen.tls.as_ref().unwrap();
    assert_eq!((&tls.private_key, tls.require_client_certificate), (&files.path("secret").into(), false));
    let upstream = &loaded.config.upstreams[0];
    assert_eq!(upstream.upstream.ca_file, Some(files.path("ca.pem").into()));
    assert_eq!(upstream.keys.source, crate::keys::Source::File(files.path("provider_jwks.json").into()));
    assert_eq!(upstream.keys.last_known_good, Some(files.path("jwks.json").into()));
    let crate::credentials::Config::Static(credentials) = &upstream.credentials else { panic!("{upstream:?}") };
    assert_eq!((credentials.header.as_str(), credentials.prefix.as_str()), ("x-api-key", ""));
}

#[test]
fn the_defaults_named_in_help_texts_are_the_defaults() {
    let help = overrides_help();
    assert!(help.contains(&format!("[default: {}]", crate::gateway::Listen::default().address)), "{help}");
    assert!(help.contains(&format!("[default: {}]", crate::admin::Config::default().address)), "{help}");
}

#[test]
fn the_help_of_every_flag_is_one_line_with_its_variable() {
    let command = <Overrides as clap::Args>::augment_args(Command::new("run"));
    for argument in command.get_arguments() {
        let name = argument.get_long().unwrap();
        let help = argument.get_help().unwrap().to_string();
        let variable = format!("[env: JWE_GATEWAY_{}]", name.to_uppercase().replace('-', "_"));
        assert!(help.ends_with(&variable) && !help.contains('\n'), "--{name}: {help}");
    }
    assert!(!overrides_help().contains("--client-secret "), "a secret has no flag");
}

fn overrides_help() -> String {
    let mut command = <Overrides as clap::Args>::augment_args(Command::new("run").term_width(300));
    command.render_long_help().to_string()
}

/// Settings with a default that depends on another setting. The documentation describes it in words.
/// `ordinary_refusals` is too long for the table. `deploy/gateway.toml` has it.
const DERIVED: [&str; 5] = [
    "upstream.name",
    "upstream.ordinary_refusals",
    "upstream.keys.url",
    "upstream.credentials.url",
    "upstream.credentials.prefix",
];

#[test]
fn the_settings_table_has_every_constant_default() {
    let files = TestFiles::new();
    files.write("key", "0".repeat(64));
    let caller = format!("[[caller]]\nname = \"a\"\nkey_sha256_file = {:?}\n", files.path("key"));
    let unix = format!("listen.address = \"unix:/run/g.sock\"\n{SMALLEST}{caller}");
    let fixed = "[[upstream]]\nurl = \"https://a.example\"\n[upstream.credentials]\nkind = \"static\"\n\
                 secret_file = \"SECRET\"\n";
    let documented = settings_table();
    let mut compared = 0;
    for toml in [SMALLEST, unix.as_str(), fixed] {
        let summary = files.read(toml, &[], nothing()).unwrap().summary.to_string();
        let defaults = summary.lines().filter_map(|line| line.strip_suffix("  (default)")?.split_once(" = "));
        for (key, default) in defaults.filter(|(key, _)| !DERIVED.contains(key)) {
            let written = documented.get(key).unwrap_or_else(|| panic!("{key} is not in docs/configuration.md"));
            assert_eq!(normal(written), normal(default), "{key}");
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared}");
}

/// One spelling of a default: 60s is 1m, and header names ignore case.
fn normal(default: &str) -> String {
    (DURATION.parse)(&Raw::Given(default))
        .map_or_else(|_| default.to_lowercase(), |duration| (DURATION.show)(&duration))
}

/// The default of each setting in the table of `docs/configuration.md`.
fn settings_table() -> std::collections::BTreeMap<String, String> {
    let mut settings = std::collections::BTreeMap::new();
    for DocumentedRow { paths, default_and_meaning: [default, _] } in schema::documented() {
        let defaults: Vec<_> = default.split(", ").collect();
        for (index, path) in paths.iter().enumerate() {
            let default = if defaults.len() == paths.len() { defaults[index] } else { default };
            settings.entry(path.clone()).or_insert_with(|| default.trim_matches(['`', '"']).to_owned());
        }
    }
    settings
}
