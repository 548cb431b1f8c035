//! Faults of `[[upstream]]` and its tables.

use super::*;

#[test]
fn an_upstream_written_with_one_bracket_is_a_fault() {
    let faults = faults(&SMALLEST.replace("[[upstream]]", "[upstream]"));
    assert_eq!(faults, ["gateway.toml:1:2: upstream: write [[upstream]] with two brackets"]);
}

#[test]
fn an_upstream_url_is_required() {
    let faults = Loaded::read(&overrides(&["--client-id", "id"]), &nothing()).unwrap_err().to_string();
    assert_eq!(
        faults.lines().collect::<Vec<_>>(),
        [
            "upstream.credentials.client_secret_file: missing: set it under [upstream.credentials] or by \
             --client-secret-file",
            "upstream.url: missing: set `url = \"https://...\"` under [[upstream]], or --upstream, or \
             JWE_GATEWAY_UPSTREAM",
        ]
    );
}

#[test]
fn credentials_are_required_unless_kind_is_none() {
    let faults = faults("[[upstream]]\nurl = \"https://a.example\"\n");
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("gateway.toml:1:1: upstream.credentials.client_id: missing: "), "{faults:?}");
    assert!(faults[0].contains("`kind = \"none\"`"), "{faults:?}");
}

#[test]
fn a_url_is_complete_and_has_no_part_that_is_never_sent() {
    for (url, message) in [
        ("api.flanks.io", "not a URL: it must begin with https://"),
        ("unix:/run/x", "must begin with https://"),
        ("https://", "not a URL: empty host"),
        ("https://user:canary@a.example", "must not contain a user or a password"),
        ("https://a.example/?key=canary", "must not have a query"),
        ("https://a.example/#canary", "must not have a fragment"),
        ("https://a.example/ canary", "must not contain spaces, line breaks or backslashes"),
    ] {
        let faults = faults(&SMALLEST.replace("https://api.flanks.io", url));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("gateway.toml:2:1: upstream.url: ") && faults[0].contains(message), "{faults:?}");
        assert!(!faults[0].contains("canary"), "{faults:?}");
    }
}

#[test]
fn http_to_another_machine_is_a_fault_without_consent() {
    let http = |url: &str, lines: &str| format!("{}{lines}\n", SMALLEST.replace("https://api.flanks.io", url));
    let faults = faults(&http("http://provider.internal", ""));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("gateway.toml:2:1: upstream.url: http to another machine"), "{faults:?}");
    assert!(faults[0].contains("`allow_http = true` under [[upstream]]"), "{faults:?}");
    config(&http("http://provider.internal", "allow_http = true"));
    for url in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"] {
        config(&http(url, ""));
    }
    for key in ["keys.url", "credentials.url"] {
        let fault = upstream_fault(&format!("{key} = \"http://provider.internal/x\""));
        assert!(fault.contains(&format!("upstream.{key}: http to another machine")), "{fault}");
    }
    let fault = TestFiles::new().faults(SMALLEST, &["--keys", "http://provider.internal/keys"], nothing());
    assert!(fault.len() == 1 && fault[0].starts_with("--keys: http to another machine"), "{fault:?}");
}

#[test]
fn settings_of_keys_are_faults_if_encryption_is_off() {
    assert!(upstream_fault("encryption = \"sael\"").ends_with("did you mean \"seal\"?"));
    for setting in ["keys.pin = []", "key_refusals = [400]", "extra_header_members = []"] {
        let fault = upstream_fault(&format!("encryption = \"off\"\n{setting}"));
        assert!(fault.ends_with("has no effect, because encryption is \"off\": remove it"), "{fault}");
    }
    let off = format!("{SMALLEST}encryption = \"off\"\n");
    let fault = TestFiles::new().faults(&off, &["--keys", "/nowhere"], nothing());
    assert!(fault.len() == 1 && fault[0].starts_with("--keys: has no effect, because encryption is"), "{fault:?}");
}

#[test]
fn extra_header_members_never_include_zip_and_crit() {
    for name in ["zip", "crit"] {
        let fault = upstream_fault(&format!("extra_header_members = [\"apu\", \"{name}\"]"));
        assert!(fault.ends_with(&format!("extra_header_members: {name} is never accepted: remove it")), "{fault}");
    }
    let config = config(&format!("{SMALLEST}extra_header_members = [\"apu\"]\n"));
    assert_eq!(config.upstreams[0].extra_header_members, ["apu"]);
}

#[test]
fn a_fixed_credential_is_sent_with_a_key_fetch_to_the_same_origin_only() {
    let fixed = |more: &str| {
        let toml = format!(
            "[[upstream]]\nurl = \"https://egress.test\"\n{more}\ncredentials.kind = \"static\"\n\
             credentials.secret_file = \"SECRET\"\n"
        );
        config(&toml).upstreams.remove(0).keys.credential
    };
    let presented = fixed("").unwrap();
    assert_eq!((presented.header.as_str(), presented.prefix.as_str()), ("authorization", "Bearer "));
    assert_eq!(fixed("keys.url = \"https://provider.test/keys\""), None);
    assert_eq!(fixed("keys.file = \"SECRET\""), None);
    assert_eq!(config(SMALLEST).upstreams[0].keys.credential, None);
}

#[test]
fn an_emulated_token_endpoint_must_be_reachable_and_needs_a_caller_with_a_key() {
    let fault = upstream_fault("token_endpoint = \"emulated\"");
    assert!(fault.contains("did you mean \"emulate\"?"), "{fault}");
    let files = TestFiles::new();
    files.write("key", "0".repeat(64));
    let caller = format!("[[caller]]\nname = \"a\"\nkey_sha256_file = {:?}\n", files.path("key"));
    let with = |lines: &str| format!("{SMALLEST}token_endpoint = \"emulate\"\n{lines}\n{caller}");
    for lines in [
        "",
        "prefix = \"/v0\"",
        "prefix = \"/flanks\"\nstrip_prefix = true",
        "credentials.url = \"https://api.flanks.io:443/Token\"",
    ] {
        config(&with(lines));
    }
    config(&format!(
        "[[upstream]]\nurl = \"https://a.test\"\ntoken_endpoint = \"emulate\"\ncredentials.kind = \"none\"\n{caller}"
    ));
    let elsewhere = "upstream.token_endpoint: the token endpoint is not below";
    for (toml, message) in [
        (format!("{SMALLEST}token_endpoint = \"emulate\"\n"), "add a [[caller]] with `key_sha256_file`"),
        (with("prefix = \"/v\""), elsewhere),
        (with("prefix = \"/flanks\""), elsewhere),
        (with("credentials.url = \"https://login.flanks.io/v0/token\""), elsewhere),
        (with("credentials.url = \"https://api.flanks.io:8443/v0/token\""), elsewhere),
        (
            with("prefix = \"/p\"\nstrip_prefix = true\ncredentials.url = \"https://api.flanks.io/based/Token\"")
                .replace("https://api.flanks.io\"", "https://api.flanks.io/base\""),
            elsewhere,
        ),
        (
            with(&format!("{SMALLEST}prefix = \"/v0\"\nname = \"other\"")),
            "upstream[1].prefix: contains /v0/token, the token endpoint that another [[upstream]] emulates: use another prefix",
        ),
    ] {
        let faults = faults(&toml);
        assert!(faults.len() == 1 && faults[0].contains(message), "{message}: {faults:?}");
    }
}

#[test]
fn the_limits_of_all_upstreams_fit_into_the_limits_of_the_gateway() {
    let two = |limits: &str, first: &str| {
        format!("[limits]\n{limits}\n{SMALLEST}prefix = \"/a\"\nname = \"a\"\n{first}\n{SMALLEST}")
    };
    config(&two("in_flight = 10", "in_flight = 9\nbuffered = \"64MiB\""));
    for (limits, first, key) in [
        ("in_flight = 10", "in_flight = 10", "limits.in_flight"),
        ("in_flight = 10", "in_flight = 11", "limits.in_flight"),
        ("", "buffered = \"1GiB\"", "limits.buffered"),
        ("", "buffered = \"1MiB\"", "limits.buffered"),
        ("buffered = \"40MiB\"", "", "limits.buffered"),
        ("", "max_body = \"200MiB\"", "limits."),
        ("max_body = \"10MiB\"", "max_body = \"11MiB\"", "limits.max_body"),
    ] {
        let faults = faults(&two(limits, first));
        assert!(!faults.is_empty() && faults.iter().all(|fault| fault.contains(key)), "{first}: {faults:?}");
    }
}

#[test]
fn a_prefix_has_one_spelling_and_a_name_has_plain_characters() {
    for prefix in ["", "a", "/a/", "//", "/a//b", "/a/../b", "/.", "/a?b", "/%61", "/a b", "/é"] {
        let fault = upstream_fault(&format!("prefix = \"{prefix}\""));
        assert!(fault.contains("upstream.prefix: a prefix "), "{prefix}: {fault}");
    }
    config(&format!("{SMALLEST}prefix = \"/a/b.c\"\n"));
    assert!(upstream_fault("name = \"two words\"").contains("upstream.name: a name consists of"));
}

#[test]
fn two_upstreams_must_differ_in_prefix_and_name() {
    let faults = faults(&format!("{SMALLEST}{SMALLEST}"));
    assert_eq!(
        faults,
        [
            "gateway.toml:5:1: upstream[1].name: another [[upstream]] has the same name: set another `name`",
            "gateway.toml:5:1: upstream[1].prefix: another [[upstream]] has the same prefix",
        ]
    );
}

#[test]
fn names_derived_from_missing_urls_are_not_compared() {
    let table = "[[upstream]]\ncredentials.kind = \"none\"\n";
    let faults = faults(&format!("{table}{table}prefix = \"/b\"\n"));
    assert!(faults.len() == 2 && faults.iter().all(|fault| fault.contains("url: missing")), "{faults:?}");
}

#[test]
fn a_flag_for_one_of_several_upstreams_is_a_fault() {
    let toml = format!("{SMALLEST}{}", SMALLEST.replace("[[upstream]]", "[[upstream]]\nname = \"b\"\nprefix = \"/b\""));
    let environment = Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "canary"), ("JWE_GATEWAY_KEYS", "keys.json")]);
    let faults = TestFiles::new().faults(&toml, &["--client-id", "id"], environment);
    let tail = "but the file has several [[upstream]]: set it in the file";
    assert_eq!(
        faults,
        [
            format!("--client-id: sets upstream.credentials.client_id, {tail}"),
            format!("JWE_GATEWAY_CLIENT_SECRET: sets upstream.credentials.client_secret, {tail}"),
            format!("JWE_GATEWAY_KEYS: sets upstream.keys.source, {tail}"),
        ]
    );
}

#[test]
fn a_secret_outside_the_file_is_not_used_for_one_of_several_upstreams() {
    let files = TestFiles::new();
    files.write("client_secret", "from-systemd");
    let without = SMALLEST.replace("credentials.client_secret_file = \"SECRET\"\n", "");
    let other = "[[upstream]]\nurl = \"https://b.example\"\nprefix = \"/b\"\ncredentials.kind = \"none\"\n";
    let directory = files.path("");
    let environment =
        Environment::from([("CREDENTIALS_DIRECTORY", directory.as_str()), ("FLANKS_CLIENT_SECRET", "canary")]);
    let faults = files.faults(&format!("{without}{other}"), &[], environment);
    assert!(
        faults.len() == 1 && faults[0].contains("upstream[0].credentials.client_secret_file: missing"),
        "{faults:?}"
    );
}

#[test]
fn keys_have_one_source() {
    let fault = upstream_fault("keys.url = \"https://a.example/k\"\nkeys.file = \"k.json\"");
    assert!(fault.contains("upstream.keys.file: url and file are both set"), "{fault}");
}

#[test]
fn the_bounds_of_lifetime_and_backoff_are_in_order() {
    let fault = upstream_fault("keys.min_lifetime = \"2h\"");
    assert!(fault.contains("keys.min_lifetime: min_lifetime is longer than max_lifetime"), "{fault}");
    let fault = upstream_fault("keys.default_lifetime = \"2h\"");
    assert!(fault.contains("default_lifetime is not between"), "{fault}");
    let fault = upstream_fault("keys.default_lifetime = \"10s\"");
    assert!(fault.contains("default_lifetime is not between"), "{fault}");
    let fault = upstream_fault("keys.backoff_max = \"500ms\"");
    assert!(fault.contains("keys.backoff_max: backoff_min is longer than backoff_max"), "{fault}");
}

#[test]
fn the_files_that_settings_name_are_checked() {
    let missing = faults(&SMALLEST.replace("SECRET", "/nowhere/secret"));
    assert_eq!(
        missing,
        ["gateway.toml:4:13: upstream.credentials.client_secret_file: secret file /nowhere/secret: no such file"]
    );
    assert!(upstream_fault("ca_file = \"/nowhere/ca.pem\"").ends_with("/nowhere/ca.pem cannot be read: no such file"));
    assert!(upstream_fault("ca_file = \"SECRET\"").ends_with("contains no PEM certificate"));
    assert!(
        upstream_fault("keys.last_known_good = \"/nowhere/x/jwks.json\"")
            .ends_with("the directory of this file does not exist")
    );
}

#[test]
fn a_missing_key_set_file_is_reported_with_the_other_faults() {
    let message = "upstream.keys.file: /nowhere/jwks.json cannot be read: no such file";
    let faults = faults(&format!("{SMALLEST}keys.file = \"/nowhere/jwks.json\"\nkeys.max_stale = 1\n"));
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults.contains(&format!("gateway.toml:5:6: {message}")), "{faults:#?}");

    let files = TestFiles::new();
    let given = files.faults(SMALLEST, &["--keys", "/nowhere/jwks.json"], nothing());
    assert_eq!(given, ["--keys: /nowhere/jwks.json cannot be read: no such file"]);
    let directory = files.faults(&format!("{SMALLEST}keys.file = \"{}\"\n", files.path("")), &[], nothing());
    assert!(
        directory.len() == 1 && directory[0].ends_with("cannot be read: it is a directory, not a file"),
        "{directory:?}"
    );
}

#[test]
fn a_client_secret_of_more_than_one_line_is_a_fault() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "canary\nsecond\n").unwrap();
    let found = faults(&SMALLEST.replace("SECRET", file.path().to_str().unwrap()));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("client_secret_file: secret file ") && found[0].contains("more than one line"));
    assert!(!found[0].contains("canary"));
}

#[test]
fn settings_of_another_kind_of_credentials_are_faults() {
    let head = "[[upstream]]\nurl = \"https://a.example\"\n[upstream.credentials]\n";
    let fixed = faults(&format!("{head}kind = \"static\"\nsecret_file = \"SECRET\"\nclient_id = \"id\"\n"));
    assert_eq!(
        fixed,
        ["gateway.toml:6:1: upstream.credentials.client_id: only allowed with kind = \"client-credentials\""]
    );
    let none = faults(&format!("{head}kind = \"none\"\nheader = \"x\"\nwait = \"1s\"\n"));
    assert_eq!(none.len(), 2, "{none:?}");
    assert!(upstream_fault("credentials.header = \"x\"").ends_with("only allowed with kind = \"static\""));
    let unknown = faults(&format!("{head}kind = \"oauth\"\nclient_id = \"id\"\n"));
    assert!(unknown.len() == 1 && unknown[0].contains("\"oauth\" is not one of client-credentials, static, none"));
    let toml = format!("{head}kind = \"none\"\n");
    let given = TestFiles::new().faults(
        &toml,
        &["--client-id", "id"],
        Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "canary")]),
    );
    let message = "only allowed with kind = \"client-credentials\"";
    assert_eq!(given, [format!("--client-id: {message}"), format!("JWE_GATEWAY_CLIENT_SECRET: {message}")]);
}

#[test]
fn a_static_credential_has_a_header_that_can_carry_it() {
    let head = "[[upstream]]\nurl = \"https://a.example\"\n[upstream.credentials]\nkind = \"static\"\n";
    let fault = |lines: &str| {
        let faults = faults(&format!("{head}{lines}\n"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.into_iter().next().unwrap()
    };
    assert!(fault("").contains("secret_file: missing"));
    assert!(fault("secret_file = \"SECRET\"\nheader = \"content-length\"").contains("cannot carry a credential"));
    assert!(fault("secret_file = \"SECRET\"\nheader = \"a b\"").ends_with("not a header name"));
    assert!(
        fault("secret_file = \"SECRET\"\nprefix = \"é\"").ends_with("must contain printable ASCII characters only")
    );
    let files = TestFiles::new();
    files.write("two-lines", "canary\ncanary\n");
    let toml = format!("{head}secret_file = \"{}\"\n", files.path("two-lines"));
    let faults = files.faults(&toml, &[], nothing());
    assert!(faults.len() == 1 && faults[0].ends_with("bytes that a header cannot carry"), "{faults:?}");
}

#[test]
fn a_member_that_is_always_sent_must_not_be_extra() {
    let fault = upstream_fault("credentials.extra = { grant_type = \"password\" }");
    assert!(fault.contains("upstream.credentials.extra: grant_type is always sent"), "{fault}");
}

#[cfg(unix)]
#[test]
fn a_client_certificate_needs_a_key_and_both_must_be_readable() {
    let files = TestFiles::new();
    files.write("file", "x");
    let file = files.path("file");
    let fault = |lines: String| {
        let faults = faults(&format!("{SMALLEST}{lines}\n"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].clone()
    };
    assert!(fault(format!("client_certificate = {file:?}")).contains("must be set together"));
    assert!(fault(format!("client_key = {file:?}")).contains("must be set together"));
    let nowhere = fault(format!("client_certificate = {file:?}\nclient_key = \"/nowhere/key\""));
    assert!(nowhere.contains("/nowhere/key cannot be read"), "{nowhere}");
}

#[test]
fn a_proxy_is_set_in_the_file_or_by_the_usual_variables() {
    let proxy = |lines: &str, environment| {
        let loaded = TestFiles::new().read(&format!("{SMALLEST}{lines}\n"), &[], environment).unwrap();
        loaded.config.upstreams[0].upstream.proxy.as_ref().map(ToString::to_string)
    };
    let set = || {
        Environment::from([
            ("HTTPS_PROXY", "http://user:canary@one.test:3128"),
            ("ALL_PROXY", "http://two.test"),
            ("HTTP_PROXY", "http://three.test"),
        ])
    };
    assert_eq!(proxy("", nothing()), None);
    assert_eq!(proxy("", set()).as_deref(), Some("http://one.test:3128 for https, http://two.test:80 for http"));
    let https = |url| proxy("", Environment::from([("https_proxy", url)]));
    assert_eq!(https("one.test:3128").as_deref(), Some("http://one.test:3128 for https"), "as curl takes it");
    assert_eq!(proxy("proxy = \"none\"", set()), None);
    assert_eq!(proxy("proxy = \"http://four.test:1\"", set()).as_deref(), Some("http://four.test:1"));
    // Keys for an upstream on this machine may come from another machine.
    let loaded =
        TestFiles::new().read(&SMALLEST.replace("https://api.flanks.io", "http://127.0.0.1:1"), &[], set()).unwrap();
    assert!(loaded.config.upstreams[0].upstream.proxy.is_some());
    let socks = Environment::from([("ALL_PROXY", "socks5h://one.test")]);
    let local =
        TestFiles::new().read(&SMALLEST.replace("https://api.flanks.io", "http://127.0.0.1:1"), &[], socks).unwrap();
    assert!(local.config.upstreams[0].upstream.proxy.is_none() && local.warnings[0].starts_with("ALL_PROXY: ignored"));
    assert!(!format!("{:?} {}", loaded.config, loaded.summary).contains("canary"));
}

#[test]
fn an_unsupported_proxy_is_a_fault_that_does_not_repeat_its_url() {
    let two = format!("{SMALLEST}name = \"other\"\nprefix = \"/other\"\n{SMALLEST}");
    let told = TestFiles::new().faults(&two, &[], Environment::from([("ALL_PROXY", "socks5://one.test")]));
    assert_eq!(told.len(), 1, "one variable, one fault: {told:?}");
    let environment = Environment::from([("ALL_PROXY", "socks5://user:canary@one.test")]);
    let faults = TestFiles::new().faults(SMALLEST, &[], environment);
    assert!(faults[0].starts_with("ALL_PROXY: a proxy has the form http://"), "{faults:?}");
    assert!(faults.len() == 1 && !faults[0].contains("canary"), "{faults:?}");
    assert!(upstream_fault("proxy = \"http://user:canary@one.test\"").contains("put them into HTTPS_PROXY"));
    assert!(upstream_fault("proxy = \"https://one.test\"").contains("upstream.proxy: a proxy has the form"));
}
