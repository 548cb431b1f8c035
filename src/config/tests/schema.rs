//! The schema of the file agrees with the reader, the documentation and the committed copy. `.ci/schema` validates files
//! with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::config::schema::{Recorder, documented, schema};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The schema of the setting at this path.
fn at(path: &str) -> Value {
    let member = |table: Value, name: &str| {
        let table = if table["type"] == "array" { &table["items"] } else { &table };
        table["properties"][name].clone()
    };
    path.split('.').fold(schema(), member)
}

#[test]
fn the_committed_schema_is_the_present_one() {
    let committed = fs::read_to_string(root().join("docs/gateway.schema.json")).unwrap();
    assert!(committed == format!("{:#}\n", schema()), "run: jwe-gateway schema > docs/gateway.schema.json");
}

#[test]
fn the_documents_of_the_recording_lead_the_reader_to_every_key() {
    assert_eq!(Recorder::never_read(), Vec::<String>::new());
}

#[test]
fn the_schema_has_exactly_the_documented_settings_and_each_has_its_description() {
    let documented: BTreeSet<String> = documented().flat_map(|row| row.paths).collect();
    let mut described = BTreeSet::new();
    collect("", &schema(), &mut described);
    assert_eq!(described, documented);
}

/// The paths of all settings. A table that is one setting counts as one: `listen.tls`, `upstream.credentials.extra`.
fn collect(path: &str, schema: &Value, described: &mut BTreeSet<String>) {
    let table = if schema["type"] == "array" { &schema["items"] } else { schema };
    match table["properties"].as_object() {
        Some(members) if schema["description"].is_null() => {
            for (name, member) in members {
                collect(&format!("{path}.{name}"), member, described);
            }
        }
        _ => {
            let description = schema["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty() && !description.contains("]("), "{path}: {description:?}");
            described.insert(path.trim_start_matches('.').to_owned());
        }
    }
}

#[test]
fn a_setting_has_its_type_and_its_constant_default() {
    assert_eq!(at("limits.in_flight")["default"], 1024);
    assert_eq!(at("limits.max_body")["default"], "32MiB");
    assert_eq!(at("listen.anonymous")["default"], false);
    assert_eq!(at("listen.mode")["default"], "0600");
    assert_eq!(at("upstream.key_refusals")["default"], serde_json::json!([400]));
    assert_eq!(at("upstream.ordinary_refusals")["default"].as_array().unwrap().len(), 3);
    assert_eq!(at("upstream.encryption")["enum"], serde_json::json!(["seal", "require-sealed", "off"]));
    assert!(at("upstream.name")["default"].is_null(), "it depends on the URL");
}

#[test]
fn a_setting_is_required_only_if_no_flag_can_set_it() {
    assert_eq!(schema()["properties"]["caller"]["items"]["required"], serde_json::json!(["name"]));
    assert_eq!(at("listen.tls")["required"], serde_json::json!(["certificate", "private_key"]));
    assert!(schema()["properties"]["upstream"]["items"]["required"].is_null(), "--upstream sets `url`");
    assert!(at("upstream.credentials")["required"].is_null(), "secret_file is required for one kind only");
}

#[test]
fn each_example_names_the_schema_in_its_first_line() {
    let files = root().join("deploy").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        let text = fs::read_to_string(&example).unwrap();
        let schema = text.lines().next().unwrap().strip_prefix("#:schema ");
        let schema = schema.unwrap_or_else(|| panic!("{} has no #:schema line", example.display()));
        assert!(root().join("deploy").join(schema).exists(), "{}: {schema}", example.display());
    }
}
