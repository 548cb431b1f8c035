//! Faults of `[listen]`, `[admin]` and `[[caller]]`.

use super::*;
use crate::socket::Address;

#[test]
fn an_open_listener_is_a_fault_without_consent() {
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
fn the_hosts_of_the_admin_listener_are_names() {
    for wrong in ["gateway:8081", "http://gateway"] {
        let fault = fault(&format!("admin.hosts = [\"{wrong}\"]"));
        assert!(fault.ends_with("leave out scheme, port and path"), "{fault}");
    }
    assert_eq!(config(&format!("admin.hosts = [\"gateway\"]\n{SMALLEST}")).admin.hosts, ["gateway"]);
}

#[test]
fn the_two_addresses_are_ip_and_port_and_differ() {
    assert!(fault("listen.address = \"localhost:8080\"").contains("is not an IP address and a port"));
    let same = "admin.address and listen.address are the same";
    assert!(fault("admin.address = \"127.0.0.1:8080\"").contains(same));
    assert!(fault("admin.address = \"0.0.0.0:8080\"").contains(same));
    assert!(
        fault("listen.address = \"127.0.0.1:8081\"").starts_with(&format!("gateway.toml:1:8: listen.address: {same}"))
    );
    config(&format!("listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n{SMALLEST}"));
    let both = "admin.address = \"unix:/run/g.sock\"\nlisten.address = \"unix:/run/g.sock\"";
    assert!(fault(both).contains(same));
    let admin = config(&format!("admin.address = \"unix:/run/g.sock\"\nadmin.mode = \"0660\"\n{SMALLEST}")).admin;
    assert_eq!(admin.address, Address::Unix { path: "/run/g.sock".into(), mode: 0o660 });
}

#[test]
fn the_token_of_the_admin_listener_is_checked_and_never_printed() {
    let files = TestFiles::new();
    let with = |content: &str| {
        files.write("token", content);
        files.read(&format!("admin.token_file = \"{}\"\n{SMALLEST}", files.path("token")), &[], nothing())
    };
    let fault = |content| with(content).unwrap_err().to_string();
    assert!(fault("canary").contains("admin.token_file: the token has fewer than 16 characters"));
    assert!(fault("").contains("admin.token_file") && !fault("canary").contains("canary"));
    let loaded = with("canary-canary-canary\n").unwrap();
    assert!(!format!("{:?} {}", loaded, loaded.summary).contains("canary-canary"));
}

#[test]
fn a_unix_socket_has_a_path_and_a_mode_and_needs_no_consent() {
    let listen = |lines: &str| config(&format!("{lines}\n{SMALLEST}")).gateway.listen.address;
    let unix = |path: &str, mode| Address::Unix { path: path.into(), mode };
    assert_eq!(listen("listen.address = \"unix:/run/g.sock\""), unix("/run/g.sock", 0o600));
    assert_eq!(listen("listen.address = \"unix:g.sock\"\nlisten.mode = \"666\""), unix("g.sock", 0o666));
    for path in ["", "/", "/run/", "/run/..", "/run/a\\u0000b"] {
        let fault = fault(&format!("listen.address = \"unix:{path}\""));
        assert!(fault.contains("is not the path of a unix socket, such as"), "{fault}");
    }
    for mode in ["660", "\"0o660\"", "\"1660\"", "\"68\"", "\"0680\"", "\"\"", "\"+660\""] {
        let fault = fault(&format!("listen.address = \"unix:/run/g.sock\"\nlisten.mode = {mode}"));
        assert!(fault.starts_with("gateway.toml:2:8: listen.mode: not a mode"), "{mode}: {fault}");
    }
    assert!(fault("listen.mode = \"0660\"").contains("applies to a unix socket"));
}

#[test]
fn an_open_listener_is_allowed_if_it_requires_client_certificates() {
    let files = TestFiles::new();
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
fn a_port_is_shared_only_if_the_file_says_so_and_a_unix_socket_never() {
    let listen = |lines: &str| config(&format!("{lines}\n{SMALLEST}")).gateway.listen;
    assert!(!listen("").reuse_port && listen("listen.reuse_port = true").reuse_port);
    let fault = fault("listen.address = \"unix:/run/g.sock\"\nlisten.reuse_port = true");
    assert!(fault.contains("listen.reuse_port: applies to a TCP address"), "{fault}");
}

#[test]
fn the_files_of_tls_must_exist() {
    let files = TestFiles::new();
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
fn a_caller_has_a_unique_name_and_a_key_or_a_certificate() {
    let files = TestFiles::new();
    files.write("a", "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed\n");
    files.write("b", "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3  -\n");
    files.write("broken", "canary");
    let caller = |name: &str, lines: &str| format!("[[caller]]\nname = \"{name}\"\n{lines}\n");
    let key = |name: &str| format!("key_sha256_file = {:?}", files.path(name));
    let read = |callers: &[String]| faults(&format!("{SMALLEST}{}", callers.concat()));
    for (callers, message) in [
        (vec![caller("a", "")], "caller.key_sha256_file: missing: a caller needs"),
        (vec![caller("a b", &key("a"))], "caller.name: a name consists of"),
        (vec![caller("a", &key("a")), caller("a", &key("b"))], "caller[1].name: another [[caller]] has the same name"),
        (vec![caller("a", &key("a")), caller("b", &key("a"))], "caller[1].name: another [[caller]] has the same key"),
        (vec![caller("a", &key("broken"))], "line 1 is not the SHA-256 of a key"),
        (vec![caller("a", &key("nothing"))], "cannot be read: no such file"),
        (vec![caller("a", "certificate = \"x\"")], "caller.certificate: callers cannot present a certificate"),
        (vec![caller("a", &format!("{}\nallow = [\"/v0\"]", key("a")))], "a rule is a method and a path, such as"),
        (vec![caller("a", &format!("{}\nallow = \"GET /\"", key("a")))], "caller.allow: expected an array"),
        (
            vec![caller("a", &format!("{}\nallow = [\"GET /\", \"GET a\", \"* /**/b\"]", key("a")))],
            "caller.allow: \"GET a\": the path must begin with /, and must not contain empty segments, dot \
             segments, escapes or a query; \"* /**/b\": * must be a whole segment",
        ),
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
fn a_client_certificate_is_required_unless_a_caller_has_a_key() {
    let files = TestFiles::new();
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
fn an_open_listener_is_allowed_with_callers_and_a_token_key_must_be_long() {
    let files = TestFiles::new();
    files.write("key", "0".repeat(64));
    files.write("short", "0123456789");
    let open = "[listen]\naddress = \"0.0.0.0:8443\"\n";
    let caller = format!("[[caller]]\nname = \"a\"\nkey_sha256_file = {:?}\n", files.path("key"));
    let warnings = |toml: &str| TestFiles::new().read(toml, &[], nothing()).unwrap().warnings;
    let told = warnings(&format!("{open}{caller}{SMALLEST}"));
    assert!(told.len() == 1 && told[0].contains("listen.address: not loopback, and no `tls`"), "{told:?}");
    assert!(warnings(&format!("{caller}{SMALLEST}")).is_empty());
    let alone = faults(&format!("{open}{SMALLEST}"));
    assert!(alone[0].contains("or write a [[caller]]"), "{alone:?}");
    let fault = fault(&format!("[listen]\ntoken_key_file = {:?}", files.path("short")));
    assert!(fault.contains("listen.token_key_file: the secret for tokens must have at least 16 bytes"), "{fault}");
}

#[test]
fn one_address_may_have_a_quarter_of_max_connections_unless_it_is_set() {
    let listen = |lines: &str| config(&format!("[listen]\n{lines}\n{SMALLEST}")).gateway.listen;
    assert_eq!(listen("max_connections = 100").connections_per_address, 25);
    assert_eq!(listen("max_connections = 2").connections_per_address, 1);
    assert_eq!(listen("max_connections = 2\nconnections_per_address = 2").connections_per_address, 2);
}
