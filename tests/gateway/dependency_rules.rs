//! The dependency rules: which module may use which. Code that breaks a rule fails these tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each module, and the modules it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("jose", &[]),
    ("rate_limit", &[]),
    ("retry_after", &[]),
    ("error_chain", &[]),
    ("failure_log", &[]),
    ("fetch_counters", &[]),
    ("fetch_history", &["fetch_counters"]),
    ("file_read", &[]),
    ("path_prefix", &[]),
    ("clock", &[]),
    ("secret", &["error_chain", "file_read"]),
    ("single_flight", &[]),
    ("socket", &[]),
    ("static_credential", &["secret"]),
    ("transport_error", &["error_chain"]),
    ("watched_files", &["clock", "error_chain", "file_read"]),
    ("pem", &["watched_files"]),
    ("telemetry", &[]),
    ("accept_errors", &[]),
    ("build_info", &[]),
    ("host_check", &[]),
    ("html", &[]),
    ("openapi", &[]),
    ("admin", &["accept_errors", "host_check", "secret", "socket"]),
    (
        "keys",
        &[
            "jose",
            "rate_limit",
            "retry_after",
            "error_chain",
            "failure_log",
            "fetch_counters",
            "fetch_history",
            "file_read",
            "clock",
            "single_flight",
            "static_credential",
            "transport_error",
        ],
    ),
    (
        "credentials",
        &[
            "rate_limit",
            "retry_after",
            "failure_log",
            "fetch_counters",
            "fetch_history",
            "clock",
            "secret",
            "single_flight",
            "static_credential",
            "transport_error",
        ],
    ),
    ("upstream", &["error_chain", "jose", "clock", "path_prefix", "pem", "secret", "transport_error", "watched_files"]),
    (
        "gateway",
        &[
            "accept_errors",
            "build_info",
            "fetch_counters",
            "rate_limit",
            "error_chain",
            "jose",
            "keys",
            "openapi",
            "credentials",
            "upstream",
            "clock",
            "path_prefix",
            "pem",
            "secret",
            "socket",
            "telemetry",
            "watched_files",
        ],
    ),
    ("status", &["clock", "credentials", "fetch_history", "gateway", "html", "keys"]),
    ("traces", &["clock", "failure_log", "fetch_counters", "gateway"]),
    ("sandbox", &["jose", "clock", "host_check", "openapi", "secret"]),
    (
        "config",
        &[
            "admin",
            "error_chain",
            "gateway",
            "keys",
            "path_prefix",
            "secret",
            "socket",
            "static_credential",
            "telemetry",
            "traces",
            "credentials",
            "upstream",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "clock",
            "config",
            "file_read",
            "fetch_counters",
            "fetch_history",
            "gateway",
            "keys",
            "secret",
            "socket",
            "status",
            "telemetry",
            "traces",
            "credentials",
            "upstream",
            "watched_files",
        ],
    ),
    (
        "drill",
        &[
            "admin",
            "app",
            "clock",
            "config",
            "gateway",
            "html",
            "jose",
            "keys",
            "openapi",
            "sandbox",
            "secret",
            "telemetry",
            "credentials",
            "upstream",
        ],
    ),
    (
        "cli",
        &[
            "admin",
            "app",
            "build_info",
            "error_chain",
            "clock",
            "config",
            "drill",
            "gateway",
            "jose",
            "keys",
            "openapi",
            "sandbox",
            "secret",
            "socket",
            "telemetry",
            "credentials",
            "upstream",
        ],
    ),
];

/// Crates and parts of the standard library that a module must not use.
const NEVER: [(&str, &[&str]); 2] = [
    ("jose", &["tokio", "http", "hyper", "hyper_util", "tracing", "reqwest", "std::time", "std::fs", "std::net"]),
    ("sandbox", &["reqwest", "moka"]),
];

#[test]
fn a_module_uses_only_the_modules_that_its_rule_allows() {
    for (module, allowed) in MAY_USE.iter().copied() {
        for (file, code) in code_of(module) {
            for used in uses(&code) {
                assert!(used == module || allowed.contains(&used.as_str()), "{file}: {module} uses {used}");
            }
        }
    }
}

#[test]
fn a_module_does_not_use_crates_that_its_rule_forbids() {
    for (module, forbidden) in NEVER {
        for (file, code) in code_of(module) {
            for line in code.lines() {
                for name in forbidden {
                    assert!(!line.contains(&format!("{name}::")), "{file}: {line}");
                }
            }
        }
    }
}

#[test]
fn every_module_has_a_rule_and_is_listed_in_lib_rs() {
    let documentation = fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared = declared_modules(&documentation);
    let known: BTreeSet<_> = MAY_USE.iter().map(|(module, _)| *module).collect();
    assert_eq!(declared, known);
    for module in known {
        assert!(documentation.contains(&format!("[`{module}`]")), "{module} is not listed in lib.rs");
    }
}

#[test]
fn only_upstream_builds_an_http_client() {
    for (module, _) in MAY_USE.iter().copied() {
        for (file, code) in code_of(module) {
            // A type such as `UpstreamClient` is not an HTTP client by its name alone.
            let calls = |call: &str| {
                code.match_indices(call).any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric()))
            };
            let builds = ["legacy::Client", "Client::builder", "Client::new"].into_iter().any(calls);
            assert!(!builds || file.ends_with("upstream/client.rs"), "{file} builds a client");
        }
    }
}

/// The modules that a `lib.rs` declares, without those that exist in tests only.
fn declared_modules(code: &str) -> BTreeSet<&str> {
    let mut modules = BTreeSet::new();
    let mut is_for_tests = false;
    for line in code.lines() {
        if line.starts_with("#[") {
            is_for_tests |= line.starts_with("#[cfg(") && line.contains("test");
            continue;
        }
        let declared = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ");
        modules.extend(declared.and_then(|name| name.strip_suffix(';')).filter(|_| !is_for_tests));
        is_for_tests = false;
    }
    modules
}

/// The modules that `code` names with `crate::`.
fn uses(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => modules.extend(first_segment(&std::mem::take(&mut name))),
                    _ if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            modules.extend(first_segment(&name));
        } else {
            modules.extend(first_segment(rest));
        }
    }
    modules
}

fn first_segment(path: &str) -> Option<String> {
    let name: String = path.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The files of a module with their code, without tests and comments.
fn code_of(module: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for path in [source().join(format!("{module}.rs")), source().join(module)] {
        if path.exists() {
            collect(&path, &mut files);
        }
    }
    assert!(!files.is_empty(), "{module} has no code");
    files
}

fn collect(path: &Path, files: &mut Vec<(String, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(path) {
        let code = fs::read_to_string(path).unwrap();
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        files.push((path.display().to_string(), code));
    }
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| ["tests", "tests.rs", "testing.rs", "fixtures.rs"].iter().any(|test| part.as_os_str() == *test))
}

fn source() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn imports_are_read_from_paths_and_from_lists() {
    let code = "use crate::jose::{a, b};\nuse crate::{keys, credentials::Credentials, clock::{Clock, Jitter}};\nlet x = crate::admin::ADDRESS;";
    let expected = ["admin", "clock", "jose", "keys", "credentials"].map(String::from);
    assert_eq!(uses(code), BTreeSet::from(expected));
}
