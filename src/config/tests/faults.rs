//! Every fault, and what is said about it.

use super::*;
use crate::gateway::socket::Address;

#[test]
fn all_faults_are_reported_at_once_in_the_order_of_the_file() {
    let toml = r#"
[limits]
max_body = "big"
in_flght = 5
[deadlines]
head = 10
[[upstream]]
url = "ftp://api.flanks.io"
[upstream.credentials]
client_id = 7
"#;
    let faults = Files::new().faults(toml, &["--listen", "here"], Environment::from([("JWE_GATEWAY_ADMIN", "there")]));
    let expected = [
        "gateway.toml:3:1: limits.max_body: \"big\" is not a size: write a number of bytes, or one with KiB, MiB or GiB",
        "gateway.toml:4:1: limits.in_flght: unknown key; did you mean in_flight?",
        "gateway.toml:6:1: deadlines.head: 10 has no unit: write \"10s\" for seconds, or ms, m, h",
        "gateway.toml:8:1: upstream.url: a URL here begins with https:// (or http://)",
        "gateway.toml:9:11: upstream.credentials.client_secret_file: missing: write it under [upstream.credentials] or \
         give --client-secret-file",
        "gateway.toml:10:1: upstream.credentials.client_id: expected text in quotes, found a whole number",
        "--listen: \"here\" is not an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080",
        "JWE_GATEWAY_ADMIN: \"there\" is not an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_that_names_it() {
    let read = |path: &str| Loaded::read(&overrides(&["--config", path]), &nothing()).unwrap_err().to_string();
    assert_eq!(read("/nowhere/gateway.toml"), "/nowhere/gateway.toml: cannot be read: entity not found");
    let files = Files::new();
    files.write("binary", b"\xff");
    assert!(read(&files.path("binary")).ends_with("binary: is not UTF-8"));
}

#[test]
fn each_syntax_fault_has_its_place_and_nothing_is_guessed_from_the_rest() {
    let faults = faults("[limits\nmax_body = \"1MiB\"\n[log]\nformat = \n");
    assert!(faults.len() >= 2, "{faults:?}");
    assert!(faults[0].starts_with("gateway.toml:1:8: "), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("gateway.toml:4:")), "{faults:?}");
    assert!(faults.iter().all(|fault| !fault.contains("missing")), "{faults:?}");
}

#[test]
fn a_key_given_twice_is_a_fault_beside_the_others() {
    let faults = faults(&format!("[limits]\nin_flight = 1\nin_flight = 2\nmax_body = 0\n{SMALLEST}"));
    assert_eq!(
        faults,
        ["gateway.toml:3:1: in_flight: duplicate key", "gateway.toml:4:1: limits.max_body: must be above zero"]
    );
}

#[test]
fn unknown_keys_and_tables_are_faults_with_a_suggestion_where_one_is_close() {
    assert_eq!(fault("lsten.address = \"127.0.0.1:1\""), "gateway.toml:1:1: lsten: unknown key; did you mean listen?");
    assert_eq!(fault("log.level = \"debug\""), "gateway.toml:1:5: log.level: unknown key; known are format");
    assert!(upstream_fault("keys.pins = []").ends_with("upstream.keys.pins: unknown key; did you mean pin?"));
}

#[test]
fn a_secret_in_the_file_is_a_fault_that_does_not_repeat_it() {
    let fault = upstream_fault("credentials.client_secret = \"canary\"");
    assert!(fault.ends_with("credentials.client_secret: a secret is not written here: name a file that holds it"));
    assert!(!fault.contains("canary"), "{fault}");
    let environment = Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "other")]);
    let toml = format!("{SMALLEST}credentials.client_secret = \"canary\"\n");
    assert_eq!(Files::new().faults(&toml, &[], environment), [fault]);
}

#[test]
fn values_of_another_type_are_faults_that_say_what_was_expected() {
    assert!(fault("limits = 5").ends_with("limits: expected a table, found a whole number"));
    assert!(fault("limits.in_flight = \"5\"").ends_with("expected a whole number, found text"));
    assert!(fault("listen.anonymous = \"yes\"").ends_with("expected true or false without quotes, found text"));
    assert!(fault("limits.max_body = 1.5").ends_with("expected text in quotes, found a number with a fraction"));
    assert!(upstream_fault("keys.pin = \"a\"").ends_with("expected an array of texts, found text"));
    assert!(upstream_fault("keys.pin = [\"\"]").ends_with("must not be empty"));
    assert!(upstream_fault("credentials.extra = \"a\"").contains("expected a table of texts"));
    assert!(
        upstream_fault("credentials.extra = { scope = 1 }")
            .ends_with("scope: expected text in quotes, found a whole number")
    );
}

#[test]
fn an_upstream_written_with_one_bracket_is_a_fault() {
    let faults = faults(&SMALLEST.replace("[[upstream]]", "[upstream]"));
    assert_eq!(faults, ["gateway.toml:1:2: upstream: write [[upstream]], with two brackets"]);
}

#[test]
fn durations_have_units_are_not_negative_and_have_an_end() {
    for (written, message) in [
        ("\"10\"", "10 has no unit: write \"10s\""),
        ("\"-5s\"", "\"-5s\" is not a duration"),
        ("\"1d\"", "\"1d\" is not a duration: write hours"),
        ("\"\"", "\"\" is not a duration"),
        ("\"0s\"", "must be longer than zero"),
        ("\"9000h\"", "\"9000h\" is longer than a year"),
    ] {
        let fault = fault(&format!("deadlines.body = {written}"));
        assert!(fault.contains(message), "{written}: {fault}");
    }
    let config = config(&format!("deadlines.body = \"1m30s\"\ndeadlines.drain = \"0s\"\n{SMALLEST}"));
    assert_eq!(config.gateway.deadlines.body.as_secs(), 90);
    assert!(config.gateway.deadlines.drain.is_zero());
}

#[test]
fn sizes_are_bytes_or_have_a_binary_unit_and_counts_are_plain() {
    let size = |written: &str| config(&format!("limits.max_body = {written}\n{SMALLEST}")).gateway.limits.max_body;
    assert_eq!(size("4096"), 4096);
    assert_eq!(size("0x1000"), 4096);
    assert_eq!(size("\"512B\""), 512);
    assert_eq!(size("\"64KiB\""), 64 << 10);
    assert_eq!(size("\"8 MiB\""), 8 << 20);
    for (written, message) in [
        ("\"5MB\"", "is not a size"),
        ("\"MiB\"", "is not a size"),
        ("-1", "is not a size"),
        ("\"99999999999GiB\"", "is not a size"),
        ("0", "must be above zero"),
        ("\"2000GiB\"", "must not be above 1TiB"),
    ] {
        let fault = fault(&format!("limits.max_body = {written}"));
        assert!(fault.contains(message), "{written}: {fault}");
    }
    assert!(fault("limits.in_flight = 0").ends_with("must be above zero"));
    assert!(fault("limits.in_flight = -1").ends_with("not a whole number above zero"));
    assert!(fault("limits.in_flight = 1_000_001").ends_with("must not be above 1000000"));
}

#[test]
fn a_body_fits_into_the_budget_for_all_bodies() {
    let message = "limits.max_body: max_body is above buffered, so the largest bodies could never be taken";
    assert_eq!(fault("limits.max_body = \"1GiB\""), format!("gateway.toml:1:8: {message}"));
    assert!(fault("limits.buffered = \"1MiB\"").contains("gateway.toml:1:8: limits.buffered: max_body is above"));
    assert!(fault("limits = { max_body = \"4GiB\", buffered = \"8GiB\" }").contains("must be below 4GiB"));
    // A faulty one is not compared: it would be the default that is judged.
    assert!(fault("limits = { max_body = \"x\", buffered = \"1MiB\" }").contains("is not a size"));
}

#[test]
fn a_listener_that_others_can_reach_does_not_start_without_consent() {
    for address in ["0.0.0.0:8080", "192.0.2.1:80", "[::]:8080"] {
        let fault = fault(&format!("listen.address = \"{address}\""));
        assert!(fault.starts_with("gateway.toml:1:8: listen.address: not loopback"), "{fault}");
        assert!(fault.contains("`anonymous = true` under [listen]"), "{fault}");
        config(&format!("listen.address = \"{address}\"\nlisten.anonymous = true\n{SMALLEST}"));
    }
    for address in ["127.9.9.9:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080"] {
        config(&format!("listen.address = \"{address}\"\n{SMALLEST}"));
    }
}

#[test]
fn addresses_are_ip_and_port_and_differ() {
    assert!(fault("admin.address = \"unix:/run/admin.sock\"").ends_with("give an IP address and a port"));
    assert!(fault("listen.address = \"localhost:8080\"").contains("is not an IP address and a port"));
    let same = "admin.address and listen.address are the same";
    assert!(fault("admin.address = \"127.0.0.1:8080\"").contains(same));
    assert!(fault("admin.address = \"0.0.0.0:8080\"").contains(same));
    assert!(
        fault("listen.address = \"127.0.0.1:8081\"").starts_with(&format!("gateway.toml:1:8: listen.address: {same}"))
    );
    config(&format!("listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n{SMALLEST}"));
}

#[test]
fn a_unix_socket_is_a_file_with_a_mode_and_needs_no_consent() {
    let listen = |lines: &str| config(&format!("{lines}\n{SMALLEST}")).gateway.listen.address;
    let unix = |path: &str, mode| Address::Unix { path: path.into(), mode };
    assert_eq!(listen("listen.address = \"unix:/run/g.sock\""), unix("/run/g.sock", 0o600));
    assert_eq!(listen("listen.address = \"unix:g.sock\"\nlisten.mode = \"666\""), unix("g.sock", 0o666));
    for path in ["", "/", "/run/", "/run/..", "/run/a\\u0000b"] {
        let fault = fault(&format!("listen.address = \"unix:{path}\""));
        assert!(fault.contains("is not a unix socket, such as"), "{fault}");
    }
    for mode in ["660", "\"0o660\"", "\"1660\"", "\"68\"", "\"0680\"", "\"\"", "\"+660\""] {
        let fault = fault(&format!("listen.address = \"unix:/run/g.sock\"\nlisten.mode = {mode}"));
        assert!(fault.starts_with("gateway.toml:2:8: listen.mode: not a mode"), "{mode}: {fault}");
    }
    assert!(fault("listen.mode = \"0660\"").contains("the address is none"));
}

#[test]
fn a_listener_that_others_can_reach_starts_when_they_show_certificates() {
    let files = Files::new();
    files.write("cert.pem", "-----BEGIN CERTIFICATE-----\n");
    let certificate = files.path("cert.pem");
    let tls = |rest: &str| {
        format!(
            "[listen]\naddress = \"0.0.0.0:8443\"\ntls = {{ certificate = \"{certificate}\", private_key = \"SECRET\"{rest} }}\n{SMALLEST}"
        )
    };
    let faults = files.faults(&tls(""), &[], nothing());
    assert!(faults.len() == 1 && faults[0].contains("listen.address: not loopback"), "{faults:?}");
    for advice in ["[[caller]]", "client_ca", "`anonymous = true` under [listen]"] {
        assert!(faults[0].contains(advice), "{faults:?}");
    }
    let loaded = files.read(&tls(&format!(", client_ca = \"{certificate}\"")), &[], nothing()).unwrap();
    let files = loaded.config.gateway.listen.tls.unwrap();
    assert_eq!((files.client_ca, files.require_client_certificate), (Some(certificate.into()), true));
    assert_eq!(loaded.warnings, [""; 0]);
}

#[test]
fn tls_names_files_that_exist() {
    let files = Files::new();
    let faults = faults("listen.tls = { certificate = \"/nowhere/cert.pem\", client_CA = \"x\" }\n[[upstream]]\n");
    let of_tls: Vec<_> = faults.iter().filter(|fault| fault.contains("listen.tls")).collect();
    assert_eq!(of_tls.len(), 3, "{faults:#?}");
    assert!(of_tls[0].contains("listen.tls.private_key: missing: "), "{faults:#?}");
    assert!(of_tls[1].contains("listen.tls.certificate: /nowhere/cert.pem cannot be read"), "{faults:#?}");
    assert!(of_tls[2].contains("listen.tls.client_CA: unknown key; did you mean client_ca?"), "{faults:#?}");

    files.write("key.pem", "");
    fs::set_permissions(files.path("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    files.write("cert.pem", "-----BEGIN CERTIFICATE-----\n");
    let tls = format!(
        "listen.tls = {{ certificate = \"{}\", private_key = \"{}\" }}\n{SMALLEST}",
        files.path("cert.pem"),
        files.path("key.pem")
    );
    let loaded = files.read(&tls, &[], nothing()).unwrap();
    assert!(loaded.warnings[0].contains("listen.tls.private_key: every user"), "{:?}", loaded.warnings);
}

#[test]
fn a_provider_is_needed() {
    let faults = Loaded::read(&overrides(&["--client-id", "id"]), &nothing()).unwrap_err().to_string();
    assert_eq!(
        faults.lines().collect::<Vec<_>>(),
        [
            "upstream.credentials.client_secret_file: missing: write it under [upstream.credentials] or give \
             --client-secret-file",
            "upstream.url: missing: write `url = \"https://...\"` under [[upstream]], or give --upstream or \
             JWE_GATEWAY_UPSTREAM",
        ]
    );
}

#[test]
fn credentials_are_needed_or_their_absence_is_said() {
    let faults = faults("[[upstream]]\nurl = \"https://a.example\"\n");
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("gateway.toml:1:1: upstream.credentials.client_id: missing: "), "{faults:?}");
    assert!(faults[0].contains("`kind = \"none\"`"), "{faults:?}");
}

#[test]
fn urls_are_whole_and_hold_nothing_that_is_not_sent() {
    for (url, message) in [
        ("api.flanks.io", "not a URL: it begins with https://"),
        ("unix:/run/x", "begins with https://"),
        ("https://", "not a URL: empty host"),
        ("https://user:canary@a.example", "holds no user and no password"),
        ("https://a.example/?key=canary", "has no query"),
        ("https://a.example/#canary", "has no fragment"),
        ("https://a.example/ canary", "no spaces, line breaks or backslashes"),
    ] {
        let faults = faults(&SMALLEST.replace("https://api.flanks.io", url));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("gateway.toml:2:1: upstream.url: ") && faults[0].contains(message), "{faults:?}");
        assert!(!faults[0].contains("canary"), "{faults:?}");
    }
}

#[test]
fn http_to_another_machine_does_not_start_without_consent() {
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
    let fault = Files::new().faults(SMALLEST, &["--keys", "http://provider.internal/keys"], nothing());
    assert!(fault.len() == 1 && fault[0].starts_with("--keys: http to another machine"), "{fault:?}");
}

#[test]
fn where_nothing_is_sealed_there_is_nothing_to_say_about_keys() {
    assert!(upstream_fault("encryption = \"sael\"").ends_with("did you mean \"seal\"?"));
    for setting in ["keys.pin = []", "key_refusals = [400]"] {
        let fault = upstream_fault(&format!("encryption = \"off\"\n{setting}"));
        assert!(fault.ends_with("encryption is \"off\" here, so there are no keys"), "{fault}");
    }
    let off = format!("{SMALLEST}encryption = \"off\"\n");
    let fault = Files::new().faults(&off, &["--keys", "/nowhere"], nothing());
    assert!(fault.len() == 1 && fault[0].starts_with("--keys: encryption is"), "{fault:?}");
}

#[test]
fn a_fixed_credential_goes_with_the_fetch_of_a_key_set_from_the_same_place_only() {
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
    assert_eq!(fixed("keys.file = \"/nowhere\""), None);
    assert_eq!(config(SMALLEST).upstreams[0].keys.credential, None);
}

#[test]
fn a_token_endpoint_is_emulated_only_where_that_can_work() {
    let fault = upstream_fault("token_endpoint = \"emulated\"");
    assert!(fault.contains("did you mean \"emulate\"?"), "{fault}");
    let files = Files::new();
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
    let elsewhere = "upstream.token_endpoint: the token endpoint is not below";
    let static_kind =
        "[[upstream]]\nurl = \"https://a.test\"\ntoken_endpoint = \"emulate\"\ncredentials.kind = \"none\"\n";
    for (toml, message) in [
        (static_kind.to_owned(), "is there a token endpoint to emulate"),
        (format!("{SMALLEST}token_endpoint = \"emulate\"\n"), "write a [[caller]] with `key_sha256_file`"),
        (with("prefix = \"/v\""), elsewhere),
        (with("prefix = \"/flanks\""), elsewhere),
        (with("credentials.url = \"https://login.flanks.io/v0/token\""), elsewhere),
        (with("credentials.url = \"https://api.flanks.io:8443/v0/token\""), elsewhere),
    ] {
        let faults = faults(&toml);
        assert!(faults.len() == 1 && faults[0].contains(message), "{message}: {faults:?}");
    }
}

#[test]
fn upstreams_want_no_more_of_the_limits_than_there_is() {
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
        ("", "max_body = \"200MiB\"", "limits.buffered"),
    ] {
        let faults = faults(&two(limits, first));
        assert!(!faults.is_empty() && faults.iter().all(|fault| fault.contains(key)), "{first}: {faults:?}");
    }
}

#[test]
fn prefixes_have_one_spelling_and_names_are_plain() {
    for prefix in ["", "a", "/a/", "//", "/a//b", "/a/../b", "/.", "/a?b", "/%61", "/a b", "/é"] {
        let fault = upstream_fault(&format!("prefix = \"{prefix}\""));
        assert!(fault.contains("upstream.prefix: a prefix "), "{prefix}: {fault}");
    }
    config(&format!("{SMALLEST}prefix = \"/a/b.c\"\n"));
    assert!(upstream_fault("name = \"two words\"").contains("upstream.name: a name is made of"));
}

#[test]
fn two_upstreams_differ_in_prefix_and_name() {
    let faults = faults(&format!("{SMALLEST}{SMALLEST}"));
    assert_eq!(
        faults,
        [
            "gateway.toml:5:1: upstream[1].name: another [[upstream]] has the same name: set it",
            "gateway.toml:5:1: upstream[1].prefix: another [[upstream]] has the same prefix",
        ]
    );
}

#[test]
fn upstreams_without_a_usable_url_are_not_compared_by_its_host() {
    let table = "[[upstream]]\ncredentials.kind = \"none\"\n";
    let faults = faults(&format!("{table}{table}prefix = \"/b\"\n"));
    assert!(faults.len() == 2 && faults.iter().all(|fault| fault.contains("url: missing")), "{faults:?}");
}

#[test]
fn what_a_faulty_flag_replaces_is_not_judged() {
    let toml = format!("listen.address = \"0.0.0.0:8080\"\n{SMALLEST}");
    let faults = Files::new().faults(&toml, &["--listen", "here"], nothing());
    assert!(faults.len() == 1 && faults[0].starts_with("--listen: "), "{faults:?}");
}

#[test]
fn flags_and_variables_cannot_mean_one_of_several_upstreams() {
    let toml = format!("{SMALLEST}{}", SMALLEST.replace("[[upstream]]", "[[upstream]]\nname = \"b\"\nprefix = \"/b\""));
    let environment = Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "canary"), ("JWE_GATEWAY_KEYS", "keys.json")]);
    let faults = Files::new().faults(&toml, &["--client-id", "id"], environment);
    let tail = "and the file has several [[upstream]]: write it there";
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
fn a_secret_found_by_chance_is_not_given_to_one_of_several_upstreams() {
    let files = Files::new();
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
fn keys_come_from_one_place() {
    let fault = upstream_fault("keys.url = \"https://a.example/k\"\nkeys.file = \"k.json\"");
    assert!(fault.contains("upstream.keys.file: url and file are both given"), "{fault}");
}

#[test]
fn lifetimes_and_waits_of_keys_are_in_order() {
    let fault = upstream_fault("keys.min_lifetime = \"2h\"");
    assert!(fault.contains("keys.min_lifetime: min_lifetime is above max_lifetime"), "{fault}");
    let fault = upstream_fault("keys.default_lifetime = \"2h\"");
    assert!(fault.contains("default_lifetime is not between"), "{fault}");
    let fault = upstream_fault("keys.default_lifetime = \"10s\"");
    assert!(fault.contains("default_lifetime is not between"), "{fault}");
    let fault = upstream_fault("keys.backoff_max = \"500ms\"");
    assert!(fault.contains("keys.backoff_max: backoff_min is above backoff_max"), "{fault}");
}

#[test]
fn files_that_are_named_are_looked_at() {
    let missing = faults(&SMALLEST.replace("SECRET", "/nowhere/secret"));
    assert_eq!(
        missing,
        ["gateway.toml:4:13: upstream.credentials.client_secret_file: secret file /nowhere/secret: entity not found"]
    );
    assert!(
        upstream_fault("ca_file = \"/nowhere/ca.pem\"").ends_with("/nowhere/ca.pem cannot be read: entity not found")
    );
    assert!(upstream_fault("ca_file = \"SECRET\"").ends_with("holds no PEM certificate"));
    assert!(
        upstream_fault("keys.last_known_good = \"/nowhere/x/jwks.json\"").ends_with("its directory does not exist")
    );
}

#[test]
fn keys_of_another_kind_of_credentials_are_faults() {
    let head = "[[upstream]]\nurl = \"https://a.example\"\n[upstream.credentials]\n";
    let fixed = faults(&format!("{head}kind = \"static\"\nsecret_file = \"SECRET\"\nclient_id = \"id\"\n"));
    assert_eq!(fixed, ["gateway.toml:6:1: upstream.credentials.client_id: belongs to kind = \"client-credentials\""]);
    let none = faults(&format!("{head}kind = \"none\"\nheader = \"x\"\nwait = \"1s\"\n"));
    assert_eq!(none.len(), 2, "{none:?}");
    assert!(upstream_fault("credentials.header = \"x\"").ends_with("belongs to kind = \"static\""));
    let unknown = faults(&format!("{head}kind = \"oauth\"\nclient_id = \"id\"\n"));
    assert!(unknown.len() == 1 && unknown[0].contains("\"oauth\" is none of client-credentials, static, none"));
    let toml = format!("{head}kind = \"none\"\n");
    let given = Files::new().faults(
        &toml,
        &["--client-id", "id"],
        Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "canary")]),
    );
    let belongs = "belongs to kind = \"client-credentials\"";
    assert_eq!(given, [format!("--client-id: {belongs}"), format!("JWE_GATEWAY_CLIENT_SECRET: {belongs}")]);
}

#[test]
fn a_fixed_header_can_carry_its_secret() {
    let head = "[[upstream]]\nurl = \"https://a.example\"\n[upstream.credentials]\nkind = \"static\"\n";
    let fault = |lines: &str| {
        let faults = faults(&format!("{head}{lines}\n"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.into_iter().next().unwrap()
    };
    assert!(fault("").contains("secret_file: missing"));
    assert!(fault("secret_file = \"SECRET\"\nheader = \"content-length\"").ends_with("cannot carry a credential"));
    assert!(fault("secret_file = \"SECRET\"\nheader = \"a b\"").ends_with("not the name of a header"));
    assert!(fault("secret_file = \"SECRET\"\nprefix = \"é\"").ends_with("must be printable ASCII"));
    let files = Files::new();
    files.write("two-lines", "canary\ncanary\n");
    let toml = format!("{head}secret_file = \"{}\"\n", files.path("two-lines"));
    let faults = files.faults(&toml, &[], nothing());
    assert!(faults.len() == 1 && faults[0].ends_with("bytes that cannot stand in a header"), "{faults:?}");
}

#[test]
fn members_that_are_sent_anyway_are_not_extra() {
    let fault = upstream_fault("credentials.extra = { grant_type = \"password\" }");
    assert!(fault.contains("upstream.credentials.extra: grant_type is sent by itself"), "{fault}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_fault() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    for name in ["JWE_GATEWAY_LISTEN", "JWE_GATEWAY_CLIENT_SECRET"] {
        let environment =
            Environment::looked_up(move |asked| (asked == name).then(|| OsStr::from_bytes(b"\xff").to_owned()));
        assert_eq!(Files::new().faults(SMALLEST, &[], environment), [format!("{name}: not UTF-8")]);
    }
}

#[test]
fn a_switch_says_true_or_false() {
    let faults = Files::new().faults(SMALLEST, &["--anonymous=maybe"], nothing());
    assert_eq!(faults, ["--anonymous: neither true nor false"]);
}

#[test]
fn a_client_certificate_has_a_key_and_both_can_be_read() {
    let files = Files::new();
    files.write("file", "x");
    let file = files.path("file");
    let fault = |lines: String| {
        let faults = faults(&format!("{SMALLEST}{lines}\n"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].clone()
    };
    assert!(fault(format!("client_certificate = {file:?}")).contains("belong together"));
    assert!(fault(format!("client_key = {file:?}")).contains("belong together"));
    let nowhere = fault(format!("client_certificate = {file:?}\nclient_key = \"/nowhere/key\""));
    assert!(nowhere.contains("/nowhere/key cannot be read"), "{nowhere}");
}

#[test]
fn a_proxy_comes_from_the_file_or_from_the_variables_that_others_know() {
    let proxy = |lines: &str, environment| {
        let loaded = Files::new().read(&format!("{SMALLEST}{lines}\n"), &[], environment).unwrap();
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
    assert_eq!(proxy("", set()).as_deref(), Some("http://one.test:3128"));
    assert_eq!(proxy("proxy = \"none\"", set()), None);
    assert_eq!(proxy("proxy = \"http://four.test:1\"", set()).as_deref(), Some("http://four.test:1"));
    let http = SMALLEST.replace("https://api.flanks.io", "http://provider.test") + "allow_http = true\n";
    let loaded = Files::new().read(&http, &[], set()).unwrap();
    assert_eq!(loaded.config.upstreams[0].upstream.proxy.as_ref().unwrap().to_string(), "http://two.test:80");
    assert!(!format!("{:?} {}", loaded.config, loaded.summary).contains("canary"));
}

#[test]
fn a_proxy_of_another_kind_is_a_fault_that_repeats_nothing() {
    let environment = Environment::from([("ALL_PROXY", "socks5://user:canary@one.test")]);
    let faults = Files::new().faults(SMALLEST, &[], environment);
    assert!(faults[0].starts_with("ALL_PROXY: a proxy is written http://host:port"), "{faults:?}");
    assert!(faults.len() == 1 && !faults[0].contains("canary"), "{faults:?}");
    assert!(upstream_fault("proxy = \"http://user:canary@one.test\"").contains("HTTPS_PROXY, not in the file"));
    assert!(upstream_fault("proxy = \"https://one.test\"").contains("upstream.proxy: a proxy is written"));
}

#[test]
fn a_caller_has_a_name_of_its_own_and_a_way_to_be_known() {
    let files = Files::new();
    files.write("a", "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed\n");
    files.write("b", "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3  -\n");
    files.write("broken", "canary");
    let caller = |name: &str, lines: &str| format!("[[caller]]\nname = \"{name}\"\n{lines}\n");
    let key = |name: &str| format!("key_sha256_file = {:?}", files.path(name));
    let read = |callers: &[String]| faults(&format!("{SMALLEST}{}", callers.concat()));
    for (callers, message) in [
        (vec![caller("a", "")], "caller.key_sha256_file: missing: a caller has one of"),
        (vec![caller("a b", &key("a"))], "caller.name: a name is made of"),
        (vec![caller("a", &key("a")), caller("a", &key("b"))], "caller[1].name: another [[caller]] has the same name"),
        (
            vec![caller("a", &key("a")), caller("b", &key("a"))],
            "caller[1].name: another [[caller]] has a key in common",
        ),
        (vec![caller("a", &key("broken"))], "line 1 is not the SHA-256 of a key"),
        (vec![caller("a", &key("nothing"))], "cannot be read: entity not found"),
        (vec![caller("a", "certificate = \"x\"")], "caller.certificate: no caller can show one"),
        (vec![caller("a", &format!("{}\nallow = [\"/v0\"]", key("a")))], "a rule is a method and a path, such as"),
        (vec![caller("a", &format!("{}\nallow = \"GET /\"", key("a")))], "caller.allow: expected an array"),
        (vec![caller("a", &format!("{}\nconcurrent = 0", key("a")))], "caller.concurrent: must be above zero"),
        (vec![caller("a", &format!("{}\nrate = 1", key("a")))], "caller.rate: unknown key"),
    ] {
        let faults = read(&callers);
        assert!(faults.len() == 1 && faults[0].contains(message), "{message}: {faults:?}");
        assert!(!faults[0].contains("canary"));
    }
    let rules = r#"allow = ["POST /v0/*", "* /x/**"]"#;
    let good = format!("{SMALLEST}{}{}", caller("a", &format!("{}\n{rules}", key("a"))), caller("b", &key("b")));
    let callers = config(&good).gateway.callers;
    assert_eq!(callers[0].allow.as_ref().unwrap()[1].to_string(), "* /x/**");
    assert!(callers[1].allow.is_none() && callers[1].enforce && callers[1].requests_per_second.is_none());
}

#[test]
fn a_certificate_is_asked_of_everyone_unless_some_caller_has_a_key() {
    let files = Files::new();
    files.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    files.write("key", "0".repeat(64));
    let ca = files.path("ca.pem");
    let required = |callers: &str| {
        let tls = format!("tls = {{ certificate = {ca:?}, private_key = {ca:?}, client_ca = {ca:?} }}");
        let toml = format!("[listen]\naddress = \"0.0.0.0:8443\"\n{tls}\n{callers}\n{SMALLEST}");
        config(&toml).gateway.listen.tls.unwrap().require_client_certificate
    };
    assert!(required(""));
    assert!(required("[[caller]]\nname = \"a\"\ncertificate = \"a.test\"\n"));
    let with_key = format!("[[caller]]\nname = \"b\"\nkey_sha256_file = {:?}\n", files.path("key"));
    assert!(!required(&format!("[[caller]]\nname = \"a\"\ncertificate = \"a.test\"\n{with_key}")));
}

#[test]
fn a_listener_for_others_starts_with_callers_and_a_key_for_tokens_is_no_word() {
    let files = Files::new();
    files.write("key", "0".repeat(64));
    files.write("short", "0123456789");
    let open = "[listen]\naddress = \"0.0.0.0:8443\"\n";
    let caller = format!("[[caller]]\nname = \"a\"\nkey_sha256_file = {:?}\n", files.path("key"));
    config(&format!("{open}{caller}{SMALLEST}"));
    let alone = faults(&format!("{open}{SMALLEST}"));
    assert!(alone[0].contains("or write a [[caller]]"), "{alone:?}");
    let fault = fault(&format!("[listen]\ntoken_key_file = {:?}", files.path("short")));
    assert!(fault.contains("listen.token_key_file: the key for tokens has less than 16 bytes"), "{fault}");
}
