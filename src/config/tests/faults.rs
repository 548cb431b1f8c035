//! Faults of syntax, names and values, whichever the setting.

use super::*;

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
    let faults =
        TestFiles::new().faults(toml, &["--listen", "here"], Environment::from([("JWE_GATEWAY_ADMIN", "there")]));
    let expected = [
        "gateway.toml:3:1: limits.max_body: \"big\" is not a size: use bytes, KiB, MiB or GiB, such as \"32MiB\"",
        "gateway.toml:4:1: limits.in_flght: unknown key; did you mean in_flight?",
        "gateway.toml:6:1: deadlines.head: 10 has no unit: write \"10s\" for seconds, or ms, m, h",
        "gateway.toml:8:1: upstream.url: the URL must begin with https:// or http://",
        "gateway.toml:9:11: upstream.credentials.client_secret_file: missing: set it under [upstream.credentials] or \
         by --client-secret-file",
        "gateway.toml:10:1: upstream.credentials.client_id: expected text in quotes, found a whole number",
        "--listen: \"here\" is not an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080",
        "JWE_GATEWAY_ADMIN: \"there\" is not an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_that_names_it() {
    let read = |path: &str| Loaded::read(&overrides(&["--config", path]), &nothing()).unwrap_err().to_string();
    assert_eq!(read("/nowhere/gateway.toml"), "/nowhere/gateway.toml: cannot be read: no such file");
    let files = TestFiles::new();
    files.write("binary", b"\xff");
    assert!(read(&files.path("binary")).ends_with("binary: not UTF-8 text"));
}

#[test]
fn each_syntax_fault_has_its_position_and_the_rest_is_not_interpreted() {
    let faults = faults("[limits\nmax_body = \"1MiB\"\n[log]\nformat = \n");
    assert!(faults.len() >= 2, "{faults:?}");
    assert!(faults[0].starts_with("gateway.toml:1:8: "), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("gateway.toml:4:")), "{faults:?}");
    assert!(faults.iter().all(|fault| !fault.contains("missing")), "{faults:?}");
}

#[test]
fn a_key_that_occurs_twice_is_reported_with_the_other_faults() {
    let faults = faults(&format!("[limits]\nin_flight = 1\nin_flight = 2\nmax_body = 0\n{SMALLEST}"));
    assert_eq!(
        faults,
        ["gateway.toml:3:1: in_flight: duplicate key", "gateway.toml:4:1: limits.max_body: must be above zero"]
    );
}

#[test]
fn an_unknown_key_is_a_fault_with_a_suggestion_if_a_known_key_is_close() {
    assert_eq!(fault("lsten.address = \"127.0.0.1:1\""), "gateway.toml:1:1: lsten: unknown key; did you mean listen?");
    assert_eq!(
        fault("log.level = \"debug\""),
        "gateway.toml:1:5: log.level: unknown key; the known keys are format, schema, access, access_sample"
    );
    assert!(upstream_fault("keys.pins = []").ends_with("upstream.keys.pins: unknown key; did you mean pin?"));
}

#[test]
fn a_sample_is_a_number_above_0_and_at_most_1() {
    for written in ["0", "0.0", "1.1", "-1", "nan"] {
        let fault = fault(&format!("log.access_sample = {written}"));
        let message = format!("{written:?} is not a number above 0 and at most 1, such as 0.1");
        assert_eq!(fault, format!("gateway.toml:1:5: log.access_sample: {message}"));
    }
    let quoted = fault("log.access_sample = \"0.1\"");
    assert!(quoted.ends_with("expected a number such as 0.1, found text"), "{quoted}");
    for (written, ratio) in [("1", 1.0), ("0.1", 0.1), ("1e-3", 0.001)] {
        let config = config(&format!("log.access_sample = {written}\n{SMALLEST}"));
        assert_eq!(config.gateway.access_log.sample.value(), ratio);
    }
}

#[test]
fn a_secret_in_the_file_is_a_fault_that_does_not_repeat_the_secret() {
    let fault = upstream_fault("credentials.client_secret = \"canary\"");
    assert!(fault.ends_with("credentials.client_secret: a secret must not be in this file: name a file that holds it"));
    assert!(!fault.contains("canary"), "{fault}");
    let environment = Environment::from([("JWE_GATEWAY_CLIENT_SECRET", "other")]);
    let toml = format!("{SMALLEST}credentials.client_secret = \"canary\"\n");
    assert_eq!(TestFiles::new().faults(&toml, &[], environment), [fault]);
}

#[test]
fn a_value_of_a_wrong_type_is_a_fault_that_names_the_expected_type() {
    assert!(fault("limits = 5").ends_with("limits: expected a table, found a whole number"));
    assert!(fault("limits.in_flight = \"5\"").ends_with("expected a whole number, found text"));
    assert!(fault("listen.anonymous = \"yes\"").ends_with("expected true or false without quotes, found text"));
    assert!(fault("limits.max_body = 1.5").ends_with("expected text in quotes, found a decimal number"));
    assert!(upstream_fault("keys.pin = \"a\"").ends_with("expected an array of texts in quotes, found text"));
    assert!(upstream_fault("keys.pin = [\"\"]").ends_with("must not be empty"));
    assert!(upstream_fault("credentials.extra = \"a\"").contains("expected a table of texts"));
    assert!(
        upstream_fault("credentials.extra = { scope = 1 }")
            .ends_with("scope: expected text in quotes, found a whole number")
    );
}

#[test]
fn durations_have_a_unit_and_bounds() {
    for (written, message) in [
        ("\"10\"", "10 has no unit: write \"10s\""),
        ("\"-5s\"", "\"-5s\" is not a duration"),
        ("\"1d\"", "\"1d\" is not a duration: use the units"),
        ("\"\"", "\"\" is not a duration"),
        ("\"0s\"", "must be longer than 0s"),
        ("\"9000h\"", "\"9000h\" is longer than the maximum of one year"),
    ] {
        let fault = fault(&format!("deadlines.body = {written}"));
        assert!(fault.contains(message), "{written}: {fault}");
    }
    let config = config(&format!("deadlines.body = \"1m30s\"\ndeadlines.drain = \"0s\"\n{SMALLEST}"));
    assert_eq!(config.gateway.deadlines.body.as_secs(), 90);
    assert!(config.gateway.deadlines.drain.is_zero());
}

#[test]
fn sizes_are_bytes_or_have_a_binary_unit_and_counts_have_no_unit() {
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
fn max_body_must_not_exceed_buffered() {
    let message = "limits.max_body: max_body is larger than buffered: a body of that size could never be accepted";
    assert_eq!(fault("limits.max_body = \"1GiB\""), format!("gateway.toml:1:8: {message}"));
    assert!(fault("limits.buffered = \"1MiB\"").contains("gateway.toml:1:8: limits.buffered: max_body is larger"));
    assert!(fault("limits = { max_body = \"4GiB\", buffered = \"8GiB\" }").contains("must be below 4GiB"));
    // A faulty value is not compared: the check would use the default.
    assert!(fault("limits = { max_body = \"x\", buffered = \"1MiB\" }").contains("is not a size"));
}

#[test]
fn a_value_that_a_faulty_flag_replaces_is_not_checked() {
    let toml = format!("listen.address = \"0.0.0.0:8080\"\n{SMALLEST}");
    let faults = TestFiles::new().faults(&toml, &["--listen", "here"], nothing());
    assert!(faults.len() == 1 && faults[0].starts_with("--listen: "), "{faults:?}");
}

#[test]
fn a_variable_that_is_not_utf_8_is_a_fault() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    for name in ["JWE_GATEWAY_LISTEN", "JWE_GATEWAY_CLIENT_SECRET"] {
        let environment =
            Environment::looked_up(move |asked| (asked == name).then(|| OsStr::from_bytes(b"\xff").to_owned()));
        assert_eq!(TestFiles::new().faults(SMALLEST, &[], environment), [format!("{name}: not UTF-8 text")]);
    }
}

#[test]
fn a_switch_is_true_or_false() {
    let faults = TestFiles::new().faults(SMALLEST, &["--anonymous=maybe"], nothing());
    assert_eq!(faults, ["--anonymous: must be true or false"]);
}
