//! The rooms' walls: who may use whom. A line of code that reaches through a wall fails here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each room, and the rooms it may use.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("jose", &[]),
    ("rate_limit", &[]),
    ("error_chain", &[]),
    ("path_prefix", &[]),
    ("clock", &[]),
    ("secret", &[]),
    ("watched_files", &["clock"]),
    ("pem", &["watched_files"]),
    ("telemetry", &[]),
    ("admin", &[]),
    ("keys", &["jose", "rate_limit", "error_chain", "clock", "secret"]),
    ("credentials", &["error_chain", "clock", "secret"]),
    ("upstream", &["error_chain", "jose", "clock", "path_prefix", "pem", "secret", "watched_files"]),
    (
        "gateway",
        &[
            "rate_limit",
            "error_chain",
            "jose",
            "keys",
            "credentials",
            "upstream",
            "clock",
            "path_prefix",
            "pem",
            "secret",
            "watched_files",
        ],
    ),
    ("sandbox", &["jose", "clock", "secret"]),
    ("config", &["admin", "gateway", "keys", "path_prefix", "secret", "telemetry", "credentials", "upstream"]),
    ("app", &["admin", "clock", "config", "gateway", "keys", "secret", "credentials", "upstream"]),
    (
        "drill",
        &[
            "admin",
            "app",
            "clock",
            "config",
            "gateway",
            "jose",
            "keys",
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
            "error_chain",
            "clock",
            "config",
            "drill",
            "gateway",
            "jose",
            "keys",
            "sandbox",
            "secret",
            "telemetry",
            "credentials",
            "upstream",
        ],
    ),
];

/// What a room must not take from outside either.
const NEVER: [(&str, &[&str]); 2] = [
    ("jose", &["tokio", "http", "hyper", "hyper_util", "tracing", "reqwest", "std::time", "std::fs", "std::net"]),
    ("sandbox", &["reqwest", "moka"]),
];

#[test]
fn no_room_reaches_through_a_wall() {
    for (room, allowed) in MAY_USE {
        for (file, code) in code_of(room) {
            for used in uses(&code) {
                assert!(used == room || allowed.contains(&used.as_str()), "{file}: {room} uses {used}");
            }
        }
    }
}

#[test]
fn pure_rooms_take_nothing_impure_from_outside() {
    for (room, never) in NEVER {
        for (file, code) in code_of(room) {
            for line in code.lines() {
                for taken in never {
                    assert!(!line.contains(&format!("{taken}::")), "{file}: {line}");
                }
            }
        }
    }
}

#[test]
fn every_room_is_in_the_table_and_on_the_map() {
    let map = fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared: BTreeSet<_> = map
        .lines()
        .filter_map(|line| line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let known: BTreeSet<_> = MAY_USE.iter().map(|(room, _)| *room).collect();
    assert_eq!(declared, known);
    for room in known {
        assert!(map.contains(&format!("[`{room}`]")), "{room} is not on the map of rooms");
    }
}

#[test]
fn an_http_client_is_built_in_one_place() {
    for (room, _) in MAY_USE {
        for (file, code) in code_of(room) {
            let builds = ["legacy::Client", "Client::builder", "Client::new"].iter().any(|way| code.contains(way));
            assert!(!builds || file.ends_with("upstream/client.rs"), "{file} builds a client");
        }
    }
}

/// The rooms that `code` names by `crate::`.
fn uses(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.extend(first_segment(&std::mem::take(&mut name))),
                    _ if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            rooms.extend(first_segment(&name));
        } else {
            rooms.extend(first_segment(rest));
        }
    }
    rooms
}

fn first_segment(path: &str) -> Option<String> {
    let name: String = path.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The code of a room, file by file, without its tests and comments.
fn code_of(room: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for path in [source().join(format!("{room}.rs")), source().join(room)] {
        if path.exists() {
            collect(&path, &mut files);
        }
    }
    assert!(!files.is_empty(), "{room} has no code");
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
fn the_reader_of_imports_sees_what_is_there() {
    let code = "use crate::jose::{a, b};\nuse crate::{keys, credentials::Credentials, clock::{Clock, Jitter}};\nlet x = crate::admin::ADDRESS;";
    let expected = ["admin", "clock", "jose", "keys", "credentials"].map(String::from);
    assert_eq!(uses(code), BTreeSet::from(expected));
}
