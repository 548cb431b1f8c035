//! Compares the interface with its OpenAPI document. Every response that a unit test gets through
//! [`TestSandbox::manage`](crate::sandbox::testing::TestSandbox::manage) is validated.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use http::Method;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::{GROUPS, Verb};
use crate::openapi::SANDBOX_MANAGEMENT;
use crate::sandbox::testing::TestResponse;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(SANDBOX_MANAGEMENT).unwrap());

/// Asserts that the document describes this response to `target`.
pub(in crate::sandbox) fn assert_described(method: &Method, target: &str, reply: &TestResponse) {
    let path = target.split('?').next().unwrap();
    let (method, status) = (method.as_str().to_lowercase(), reply.status.as_str());
    let verb = GROUPS
        .iter()
        .copied()
        .flatten()
        .find(|verb| verb.method.eq_ignore_ascii_case(&method) && verb.match_path(path).is_some());
    let Some(verb) = verb else {
        assert_eq!(status, "404", "{method} {target} is no operation");
        return;
    };
    let mut response = &operation(verb)["responses"][status];
    if let Some(name) = response["$ref"].as_str() {
        response = DOCUMENT.pointer(name.trim_start_matches('#')).unwrap();
    }
    let kind = reply.headers[CONTENT_TYPE].to_str().unwrap();
    let content = &response["content"][kind];
    assert!(content.is_object(), "{method} {target}: the document has no response {status} with {kind}");
    if kind == "application/json" {
        assert_valid(&content["schema"], &reply.json(), &format!("{method} {target}: {status}"));
    }
}

fn operation(verb: &Verb) -> &'static Value {
    &DOCUMENT["paths"][verb.path][verb.method.to_lowercase()]
}

fn assert_valid(schema: &Value, instance: &Value, what: &str) {
    let mut schema = schema.clone();
    schema["components"] = DOCUMENT["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<_> =
        validator.iter_errors(instance).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{what} does not match the document: {faults:#?}\n{instance:#}");
}

#[test]
fn the_document_and_the_table_have_the_same_operations() {
    let methods =
        |item: &Value| item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect::<Vec<_>>();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| methods(item).into_iter().map(move |method| format!("{method} {path}")))
        .collect();
    let served: BTreeSet<_> =
        GROUPS.iter().copied().flatten().map(|verb| format!("{} {}", verb.method, verb.path)).collect();
    assert_eq!(described, served);
}

#[test]
fn the_document_and_the_table_have_the_same_query_parameters() {
    for verb in GROUPS.iter().copied().flatten() {
        let none = Vec::new();
        let parameters = operation(verb)["parameters"].as_array().unwrap_or(&none);
        let described: Vec<_> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let listed = verb.query.trim_start_matches('?').split('&').filter_map(|pair| pair.split('=').next());
        let listed: Vec<_> = listed.filter(|name| !name.is_empty()).collect();
        assert_eq!(described, listed, "{} {}", verb.method, verb.path);
    }
}

#[test]
fn the_reference_has_a_row_for_each_verb() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sandbox-reference.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows =
        text.lines().skip_while(|line| *line != "| verb | effect |").skip(2).take_while(|line| line.starts_with('|'));
    let documented: BTreeSet<_> = rows.map(|row| row.split('`').nth(1).unwrap().replace("\\|", "|")).collect();
    let served: BTreeSet<_> =
        GROUPS.iter().copied().flatten().map(|verb| format!("{} {}{}", verb.method, verb.path, verb.query)).collect();
    assert_eq!(documented, served);
}
