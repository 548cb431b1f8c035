//! Which source of a setting applies.

use std::time::Duration;

use super::*;
use crate::credentials;
use crate::keys::Source;
use crate::secret::{Secret, SecretSource};
use crate::telemetry::LogFormat;

fn client_credentials(config: &Config) -> &credentials::ClientCredentials {
    match &config.upstreams[0].credentials {
        credentials::Config::ClientCredentials(credentials) => credentials,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flag_overrides_a_variable_and_a_variable_overrides_the_file() {
    let files = TestFiles::new();
    let toml = format!("log.format = \"json\"\nlimits.max_body = \"1MiB\"\nlimits.in_flight = 7\n{SMALLEST}");
    let environment = Environment::from([("JWE_GATEWAY_LOG_FORMAT", "text"), ("JWE_GATEWAY_MAX_BODY", "2MiB")]);
    let loaded = files.read(&toml, &["--max-body", "3MiB"], environment).unwrap();
    assert_eq!(loaded.config.log.format, LogFormat::Text);
    assert_eq!(loaded.config.gateway.limits.max_body, 3 << 20);
    assert_eq!(loaded.config.gateway.limits.in_flight, 7);
    let summary = loaded.summary.to_string().replace(&files.path(""), "");
    for line in [
        "log.format = text  (JWE_GATEWAY_LOG_FORMAT)",
        "limits.max_body = 3MiB  (--max-body)",
        "limits.in_flight = 7  (gateway.toml:3:8)",
        "limits.buffered = 256MiB  (default)",
    ] {
        assert!(summary.lines().any(|found| found == line), "{line} in {summary}");
    }
}

#[test]
fn flags_alone_configure_an_upstream() {
    let files = TestFiles::new();
    files.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    files.write("keys.json", "{}");
    let (secret, ca, keys) = (files.path("secret"), files.path("ca.pem"), files.path("keys.json"));
    let flags = [
        ["--upstream", "http://provider.internal/base/"],
        ["--client-id", "id"],
        ["--client-secret-file", &secret],
        ["--token-url", "https://login.example/token?tenant=1"],
        ["--token-format", "basic"],
        ["--keys", &keys],
        ["--ca-file", &ca],
        ["--listen", "[::1]:0"],
        ["--admin", "127.0.0.1:0"],
        ["--drain-delay", "0s"],
    ];
    let mut flags: Vec<&str> = flags.as_flattened().to_vec();
    flags.push("--allow-http");
    let Loaded { config, warnings, .. } = Loaded::read(&overrides(&flags), &nothing()).unwrap();
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.name, "provider.internal");
    assert_eq!(upstream.upstream.url.as_str(), "http://provider.internal/base/");
    assert_eq!(upstream.upstream.ca_file, Some(ca.into()));
    assert_eq!(upstream.keys.source, Source::File(keys.into()));
    let credentials = client_credentials(&config);
    assert_eq!(credentials.client_secret, SecretSource::File(secret.into()));
    assert_eq!(credentials.url.as_str(), "https://login.example/token?tenant=1");
    assert_eq!(credentials.format, credentials::Format::Basic);
    assert_eq!(config.gateway.listen.address.to_string(), "[::1]:0");
    assert_eq!(config.gateway.deadlines.drain_delay, Duration::ZERO);
    assert_eq!(warnings, ["--upstream: http: credentials, keys and replies are sent in clear"]);
}

#[test]
fn the_default_key_set_and_token_endpoint_are_below_the_base_path() {
    let config = config(&SMALLEST.replace("api.flanks.io", "api.flanks.io/base/"));
    let url = |text: &str| text.parse().unwrap();
    let keys = url("https://api.flanks.io/base/.well-known/jwks.json");
    assert_eq!(config.upstreams[0].keys.source, Source::Url(keys));
    assert_eq!(client_credentials(&config).url, url("https://api.flanks.io/base/v0/token"));
}

#[test]
fn flags_override_the_only_upstream_of_the_file() {
    let files = TestFiles::new();
    let flags = ["--upstream", "https://other.example", "--keys", "https://other.example/keys"];
    let toml = format!("{SMALLEST}keys.url = \"https://api.flanks.io/keys\"\n");
    let config = files.read(&toml, &flags, nothing()).unwrap().config;
    assert_eq!(config.upstreams[0].upstream.url.as_str(), "https://other.example/");
    assert_eq!(config.upstreams[0].keys.source, Source::Url("https://other.example/keys".parse().unwrap()));
    assert_eq!(client_credentials(&config).client_id, "id");
}

#[test]
fn a_variable_names_the_configuration_file() {
    let files = TestFiles::new();
    files.write("gateway.toml", SMALLEST.replace("SECRET", &files.path("secret")));
    let path = files.path("gateway.toml");
    let environment = Environment::from([("JWE_GATEWAY_CONFIG", path.as_str())]);
    assert_eq!(Loaded::read(&overrides(&[]), &environment).unwrap().config.upstreams.len(), 1);
}

#[test]
fn the_providers_own_variables_are_enough_to_start() {
    let files = TestFiles::new();
    let secret = files.path("secret");
    let environment = Environment::from([("FLANKS_CLIENT_ID", "id"), ("FLANKS_CLIENT_SECRET_FILE", secret.as_str())]);
    let config = Loaded::read(&overrides(&[]), &environment).unwrap().config;
    assert_eq!(config.upstreams[0].upstream.url.as_str(), "https://api.flanks.io/");
    assert_eq!(client_credentials(&config).client_id, "id");
    assert_eq!(client_credentials(&config).client_secret, SecretSource::File(secret.into()));
    let environment = Environment::from([("FLANKS_CLIENT_ID", "id"), ("FLANKS_CLIENT_SECRET", "value")]);
    let config = Loaded::read(&overrides(&[]), &environment).unwrap().config;
    assert_eq!(client_credentials(&config).client_secret, SecretSource::Value(Secret::new("value".into())));
}

#[test]
fn the_providers_own_variables_override_nothing_and_apply_to_client_credentials_only() {
    let files = TestFiles::new();
    let flanks = || Environment::from([("FLANKS_CLIENT_ID", "other"), ("FLANKS_CLIENT_SECRET", "other")]);
    let config = files.read(SMALLEST, &[], flanks()).unwrap().config;
    assert_eq!(client_credentials(&config).client_id, "id");
    assert_eq!(client_credentials(&config).client_secret, SecretSource::File(files.path("secret").into()));
    let none = "[[upstream]]\nurl = \"https://a.example\"\ncredentials.kind = \"none\"\n";
    let config = files.read(none, &[], flanks()).unwrap().config;
    assert_eq!(config.upstreams[0].credentials, credentials::Config::None);
}

#[test]
fn a_secret_in_a_variable_overrides_the_file_and_leads_to_a_warning() {
    let files = TestFiles::new();
    let environment = Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "canary")]);
    let loaded = files.read(SMALLEST, &[], environment).unwrap();
    let secret = &client_credentials(&loaded.config).client_secret;
    assert_eq!(*secret, SecretSource::Value(Secret::new("canary".into())));
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].starts_with("JWE_GATEWAY_CLIENT_SECRET: "), "{:?}", loaded.warnings);
    // A file named by a flag overrides a secret in a variable.
    let secret = files.path("secret");
    let environment = Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "canary")]);
    let loaded = files.read(SMALLEST, &["--client-secret-file", secret.as_str()], environment).unwrap();
    assert_eq!(client_credentials(&loaded.config).client_secret, SecretSource::File(secret.into()));
}

#[test]
fn the_credentials_directory_is_used_last() {
    let files = TestFiles::new();
    files.write("client_secret", "from-systemd");
    let directory = files.path("");
    let environment = || Environment::from([("CREDENTIALS_DIRECTORY", directory.as_str())]);
    let without = SMALLEST.replace("credentials.client_secret_file = \"SECRET\"\n", "");
    let config = files.read(&without, &[], environment()).unwrap().config;
    let found = SecretSource::File(std::path::Path::new(&directory).join("client_secret"));
    assert_eq!(client_credentials(&config).client_secret, found);
    let config = files.read(SMALLEST, &[], environment()).unwrap().config;
    assert_eq!(client_credentials(&config).client_secret, SecretSource::File(files.path("secret").into()));
}

#[test]
fn a_secret_of_the_credentials_directory_that_cannot_be_read_is_a_fault() {
    let files = TestFiles::new();
    let secret = files.path("client_secret");
    // A link to itself: it exists, and cannot be read.
    std::os::unix::fs::symlink(&secret, &secret).unwrap();
    let directory = files.path("");
    let environment = Environment::from([("CREDENTIALS_DIRECTORY", directory.as_str())]);
    let without = SMALLEST.replace("credentials.client_secret_file = \"SECRET\"\n", "");
    let faults = files.read(&without, &[], environment).unwrap_err().to_string();
    assert!(faults.contains(&secret) && !faults.contains("missing"), "{faults}");
}

#[test]
fn each_of_several_upstreams_has_its_own_tables() {
    let second = "[[upstream]]\nurl = \"https://b.example\"\nprefix = \"/b\"\ncredentials.kind = \"none\"\n";
    let config = config(&format!("{SMALLEST}{second}"));
    let names: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["api.flanks.io", "b.example"]);
    assert_eq!(config.upstreams[1].prefix.as_str(), "/b");
    assert_eq!(config.upstreams[1].credentials, credentials::Config::None);
}

#[test]
fn static_credentials_have_the_prefix_bearer_in_authorization_only() {
    let read = |lines: &str| {
        let head = "[[upstream]]\nurl = \"https://a.example\"\n[upstream.credentials]\nkind = \"static\"\n";
        let config = config(&format!("{head}secret_file = \"SECRET\"\n{lines}"));
        let credentials::Config::Static(credentials) = config.upstreams[0].credentials.clone() else { panic!() };
        (credentials.header.to_string(), credentials.prefix)
    };
    assert_eq!(read(""), ("authorization".into(), "Bearer ".into()));
    assert_eq!(read("header = \"x-api-key\""), ("x-api-key".into(), String::new()));
    assert_eq!(read("prefix = \"Token \""), ("authorization".into(), "Token ".into()));
}

#[test]
fn the_default_lifetime_is_moved_into_the_written_bounds() {
    let keys = |lines: &str| config(&format!("{SMALLEST}{lines}\n")).upstreams[0].keys.default_lifetime;
    assert_eq!(keys("keys.max_lifetime = \"1m\""), Duration::from_secs(60));
    assert_eq!(keys("keys.min_lifetime = \"10m\""), Duration::from_secs(600));
}

#[test]
fn extra_members_keep_the_order_of_the_file() {
    let config = config(&format!("{SMALLEST}credentials.extra = {{ scope = \"a b\", audience = \"c\" }}\n"));
    let extra = &client_credentials(&config).extra;
    assert_eq!(*extra, [("scope".to_owned(), "a b".to_owned()), ("audience".to_owned(), "c".to_owned())]);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let files = TestFiles::new();
    let config = files.read(SMALLEST, &[], Environment::from([("JWE_GATEWAY_LISTEN", "")])).unwrap().config;
    assert_eq!(config.gateway.listen, crate::gateway::Listen::default());
}

#[test]
fn a_misspelt_variable_leads_to_a_warning_with_a_suggestion() {
    let warnings = |variables: [(&str, &str); 1]| {
        TestFiles::new().read(SMALLEST, &[], Environment::from(variables)).unwrap().warnings
    };
    assert_eq!(
        warnings([("JWE_GATEWAY_LSTEN", "127.0.0.1:1")]),
        ["JWE_GATEWAY_LSTEN: unknown variable, ignored; did you mean JWE_GATEWAY_LISTEN?"]
    );
    assert_eq!(
        warnings([("JWE_GATEWAY_CLEINT_SECRET", "canary")]),
        ["JWE_GATEWAY_CLEINT_SECRET: unknown variable, ignored; did you mean JWE_GATEWAY_CLIENT_SECRET?"]
    );
    assert_eq!(
        warnings([("JWE_GATEWAY_COLOUR", "blue")]),
        ["JWE_GATEWAY_COLOUR: unknown variable, ignored; `jwe-gateway run --help` lists the known ones"]
    );
}

#[test]
fn a_warning_about_a_misspelt_variable_is_shown_beside_the_fault_that_it_causes() {
    let environment = Environment::from([("JWE_GATEWAY_UPSTRAEM", "https://api.test")]);
    let faults = TestFiles::new().read("", &[], environment).unwrap_err().to_string();
    assert!(faults.contains("upstream.url: missing"), "{faults}");
    let warning = "\nwarning: JWE_GATEWAY_UPSTRAEM: unknown variable, ignored; did you mean JWE_GATEWAY_UPSTREAM?";
    assert!(faults.ends_with(warning), "{faults}");
}

#[test]
fn the_variables_that_kubernetes_adds_for_a_service_lead_to_no_warning() {
    let environment = Environment::from([
        ("JWE_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("JWE_GATEWAY_SERVICE_PORT", "8080"),
        ("JWE_GATEWAY_SERVICE_PORT_HTTP", "8080"),
        ("JWE_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ("JWE_GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("JWE_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("JWE_GATEWAY_EGRESS_SERVICE_HOST", "10.0.0.2"),
        ("JWE_GATEWAY_EGRESS_PORT", "tcp://10.0.0.2:8080"),
        ("FLANKS_COLOUR", "blue"),
        ("JWE_GATEWAY_COLOUR", ""),
    ]);
    assert_eq!(TestFiles::new().read(SMALLEST, &[], environment).unwrap().warnings, [""; 0]);
}

#[test]
fn a_flag_can_turn_a_switch_of_the_file_off() {
    let toml = format!("listen.address = \"0.0.0.0:8080\"\nlisten.anonymous = true\n{SMALLEST}");
    let loaded = TestFiles::new().read(&toml, &[], nothing()).unwrap();
    assert!(loaded.warnings[0].contains("listen.address: any client that can connect"), "{:?}", loaded.warnings);
    let faults = TestFiles::new().faults(&toml, &["--anonymous=false"], nothing());
    assert!(faults[0].starts_with("gateway.toml:1:8: listen.address: not loopback"), "{faults:?}");
}

#[cfg(unix)]
#[test]
fn a_secret_file_that_every_user_can_read_leads_to_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let files = TestFiles::new();
    fs::set_permissions(files.path("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = files.read(SMALLEST, &[], nothing()).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("every user of this machine"), "{warnings:?}");
}

#[test]
fn no_output_contains_a_secret() {
    let files = TestFiles::new();
    let toml = format!("{SMALLEST}credentials.extra = {{ api_key = \"canary-extra\" }}\n");
    let environment =
        Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "canary-value"), ("FLANKS_CLIENT_SECRET", "canary-flanks")]);
    let shown = format!("{environment:?}");
    let loaded = files.read(&toml, &["--token-url", "https://a.example/token?key=canary-query"], environment).unwrap();
    let shown = format!("{shown} {} {:?}", loaded.summary, loaded.warnings);
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("client_secret_file = (hidden)  (JWE_GATEWAY_CLIENT_SECRET)"), "{shown}");
    let debug = format!("{:?} {:#?}", loaded.config, loaded);
    assert!(!debug.contains("canary-value") && !debug.contains("canary-s3cret"), "{debug}");
}
