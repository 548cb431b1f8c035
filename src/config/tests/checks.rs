//! Checks of settings that are valid alone: a loop, statuses that disable the recovery, the filter of the log.

use super::*;

/// The only fault of a gateway to this URL, with `lines` before it.
fn loop_fault(url: &str, lines: &str) -> Option<String> {
    let toml = format!("{lines}\n{}", SMALLEST.replace("https://api.flanks.io", url));
    let faults = TestFiles::new().read(&toml, &[], nothing()).err()?;
    assert_eq!(faults.iter().count(), 1, "{faults}");
    faults.iter().next().map(|fault| format!("{}: {}", fault.key(), fault.message()))
}

#[test]
fn a_gateway_that_is_its_own_upstream_is_a_fault() {
    for (url, lines) in [
        ("http://127.0.0.1:8080", ""),
        ("http://localhost:8080/v0", ""),
        ("http://127.0.0.1:8081", ""),
        ("http://127.0.0.1:9000", "listen = { address = \"0.0.0.0:9000\", anonymous = true }"),
        ("http://[::1]:9000", "admin.address = \"[::1]:9000\""),
    ] {
        let fault = loop_fault(url, lines).unwrap_or_else(|| panic!("{url} {lines}"));
        assert!(fault.starts_with("upstream.url: an address of this gateway"), "{fault}");
    }
    for (url, lines) in [
        ("http://127.0.0.1:9000", ""),
        ("http://127.0.0.1:8080", "listen.address = \"unix:/run/gateway.sock\""),
        ("http://127.0.0.1:8080", "listen.address = \"127.0.0.1:0\""),
    ] {
        assert_eq!(loop_fault(url, lines), None, "{url} {lines}");
    }
}

#[test]
fn no_status_in_key_refusals_leads_to_a_warning() {
    let files = TestFiles::new();
    let read = |line: &str| files.read(&format!("{SMALLEST}{line}\n"), &[], nothing()).unwrap();
    let warnings = read("key_refusals = []").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("upstream.key_refusals: no status: a request that the provider refuses"),
        "{warnings:?}"
    );
    assert!(read("key_refusals = [400]").warnings.is_empty() && read("").warnings.is_empty());
}

#[test]
fn a_faulty_rust_log_is_reported_with_the_faults_of_the_file() {
    let files = TestFiles::new();
    let read = |toml: &str, filter: &str| files.read(toml, &[], Environment::from([("RUST_LOG", filter)]));
    let faults = read(&format!("limits.in_flight = 0\n{SMALLEST}"), "info,jwe_gateway=loud").unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[1].starts_with("RUST_LOG: not a list of directives such as info,jwe_gateway=debug: "), "{faults:?}");
    assert!(read(SMALLEST, "info,jwe_gateway::access=off").is_ok());
}
