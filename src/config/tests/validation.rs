//! The settings that compare requests with the description of the API.

use super::*;
use crate::gateway::validation::{Document, IdentifiersInQuery, Validate, ValidationErrors};

const VALID: &str = r#"{ "openapi": "3.1.0", "paths": { "/a": { "get": {} } } }"#;

fn with_document(lines: &str) -> String {
    format!("{SMALLEST}openapi = \"DOCUMENT\"\n{lines}\n")
}

#[test]
fn the_settings_are_read_and_a_changed_document_is_another_configuration() {
    let files = TestFiles::new();
    files.write("api.json", VALID);
    let toml = with_document("validate = \"enforce\"\nidentifiers_in_query = \"refuse\"");
    let toml = toml.replace("DOCUMENT", &files.path("api.json"));
    let read = || files.read(&toml, &[], nothing()).unwrap().config.upstreams.remove(0).validation;
    let one = read();
    assert_eq!((one.validate, one.identifiers_in_query), (Validate::Enforce, IdentifiersInQuery::Refuse));
    assert!(matches!(one.openapi, Document::File(_)) && one == read());
    files.write("api.json", VALID.replace("/a", "/b"));
    assert_ne!(one, read());
    let built_in = config(&format!("{SMALLEST}openapi = \"flinks\"\nvalidation_errors = \"provider\"\n"));
    let validation = &built_in.upstreams[0].validation;
    assert_eq!((&validation.openapi, validation.validation_errors), (&Document::Flinks, ValidationErrors::Provider));
    assert_eq!(validation.validate, Validate::Off);
}

#[test]
fn each_fault_of_a_document_is_reported_at_the_setting() {
    let files = TestFiles::new();
    let faults = |document: Option<&str>| {
        match document {
            Some(text) => files.write("api.json", text),
            None => fs::remove_file(files.path("api.json")).unwrap_or_default(),
        }
        files.faults(&with_document("").replace("DOCUMENT", &files.path("api.json")), &[], nothing())
    };
    let at = "gateway.toml:5:1: upstream.openapi: api.json";
    assert_eq!(faults(None), [format!("{at} cannot be read: no such file")]);
    assert_eq!(
        faults(Some("{}")),
        [format!("{at}: not an OpenAPI 3.1 document: the member `openapi` is not \"3.1\" or \"3.1.x\"")]
    );
    let endless = files.faults(&with_document("").replace("DOCUMENT", "/dev/zero"), &[], nothing());
    assert!(endless.len() == 1 && endless[0].contains("/dev/zero cannot be read: "), "{endless:?}");
    let not_json = faults(Some("canary"));
    assert!(not_json.len() == 1 && not_json[0].starts_with(&format!("{at}: not JSON: ")), "{not_json:?}");
    assert!(!not_json[0].contains("canary"), "{not_json:?}");
    let two = r##"{ "openapi": "3.1.0", "paths": {
        "a": {},
        "/b": { "post": { "requestBody": { "$ref": "#/nowhere" } } }
    } }"##;
    assert_eq!(
        faults(Some(two)),
        [
            format!("{at}: /paths/a: the path does not begin with /"),
            format!("{at}: /paths/~1b/post/requestBody: the reference \"#/nowhere\" leads to nothing in this document"),
        ]
    );
    let many: Vec<String> = (0..100).map(|index| format!("\"{index}\": {{}}")).collect();
    let many = faults(Some(&format!(r#"{{ "openapi": "3.1.0", "paths": {{ {} }} }}"#, many.join(","))));
    assert!(many.len() == 21 && many.iter().any(|fault| fault.ends_with("80 more faults")), "{many:#?}");
}

#[test]
fn the_format_of_a_provider_needs_a_built_in_document() {
    let files = TestFiles::new();
    files.write("api.json", VALID);
    let toml = with_document("validation_errors = \"provider\"").replace("DOCUMENT", &files.path("api.json"));
    let faults = files.faults(&toml, &[], nothing());
    assert!(faults.len() == 1 && faults[0].starts_with("gateway.toml:6:1: upstream.validation_errors: "), "{faults:?}");
    assert!(upstream_fault("validate = \"reprot\"").ends_with("did you mean \"report\"?"));
}
