//! Tests of the findings for one request.

use serde_json::json;

use super::config::{flanks, flinks};
use super::finding::MAX_FINDINGS;
use super::*;

/// A description with each rule that is tested.
fn document() -> serde_json::Value {
    json!({
        "openapi": "3.1.0",
        "paths": {
            "/things": {
                "parameters": [{ "$ref": "#/components/parameters/Page" }],
                "get": {
                    "parameters": [
                        { "name": "sort", "in": "query", "required": true, "schema": { "enum": ["up", "down", 7] } },
                        { "name": "ids", "in": "query", "schema": { "type": "array", "items": { "type": "integer" } } },
                        { "name": "codes", "in": "query", "schema": { "type": "array", "items": { "type": "string" } } },
                        { "name": "exact", "in": "query", "schema": { "type": "boolean" } },
                        { "name": "trace", "in": "header", "required": true, "schema": { "type": "integer" } },
                    ],
                },
                "post": { "requestBody": { "$ref": "#/components/requestBodies/Thing" } },
            },
            "/things/{id}": { "put": { "requestBody": { "content": { "application/json": {
                "schema": { "type": "object" },
            } } } } },
            "/things/special": { "put": {} },
        },
        "components": {
            "parameters": { "Page": { "name": "page", "in": "query", "schema": { "type": "integer", "minimum": 1 } } },
            "requestBodies": { "Thing": { "required": true, "content": {
                "text/plain": { "schema": false },
                "*/*": { "schema": false },
                "application/*": { "schema": false },
                "application/merge-patch+json": { "schema": false },
                "application/json; charset=utf-8": { "schema": { "$ref": "#/components/schemas/Thing" } },
            } } },
            "schemas": {
                "Token": { "type": "string", "x-never-in-query": true },
                "Login": { "properties": { "LoginId": { "x-never-in-query": true } } },
                "Thing": {
                    "type": "object",
                    "required": ["token", "amount"],
                    "properties": {
                        "token": { "$ref": "#/components/schemas/Token" },
                        "amount": { "type": "number", "maximum": 100, "exclusiveMinimum": 0 },
                        "kind": { "enum": ["a", "b", null] },
                        "code": { "type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4 },
                        "parts": { "type": "array", "maxItems": 3, "uniqueItems": true, "items": {
                            "type": "object", "required": ["a/b"], "properties": { "a/b": { "type": "integer" } },
                        } },
                        "either": { "anyOf": [{ "type": "string" }, { "type": "object", "required": ["kind"] }] },
                        "many": { "additionalProperties": { "type": "string" } },
                        "open": { "required": ["only-required"] },
                        "more": { "$ref": "#/components/schemas/Thing" },
                    },
                },
            },
        },
    })
}

fn description() -> Description {
    Description::parse(&document().to_string()).unwrap()
}

/// The findings for one request, as the log has them.
fn findings_of(description: &Description, method: &str, target: &str, body: Option<&str>) -> Vec<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut findings = Findings::new(description);
    query::check_identifiers(description, query, &mut findings);
    match description.operation(&method.parse().unwrap(), path) {
        None => findings.add(Place::Path, Pointer::default(), Rule::Operation),
        Some(operation) => {
            let operation = description.get(operation);
            query::check_parameters(&operation.query, query, &mut findings);
            if let (Some(rules), Some(body)) = (&operation.body, body) {
                let body = Plaintext::json(bytes::Bytes::copy_from_slice(body.as_bytes())).unwrap();
                assert!(rules.check(&body, &mut findings));
            }
        }
    }
    findings.found.iter().map(Finding::to_string).collect()
}

fn in_body(body: &str) -> Vec<String> {
    findings_of(&description(), "POST", "/things", Some(body))
}

#[test]
fn a_documented_body_has_no_finding_and_unknown_members_are_no_fault() {
    for body in [
        r#"{"token":"t","amount":1}"#,
        r#"{"token":"t","amount":1e1,"kind":null,"unknown":{"x":[1,2]},"code":"abc","many":{"x":"y"}}"#,
        r#"{"token":"\u0074","amount":100.0,"parts":[{"a/b":1},{"a/b":2}],"either":"x","more":{"token":"t","amount":2}}"#,
    ] {
        assert_eq!(in_body(body), [""; 0], "{body}");
    }
}

#[test]
fn each_rule_is_found_at_its_place() {
    for (member, finding) in [
        (r#""kind":"c""#, "body/kind enum"),
        (r#""code":"a""#, "body/code minLength"),
        (r#""code":"abcde""#, "body/code maxLength"),
        (r#""code":"AB""#, "body/code pattern"),
        (r#""code":7"#, "body/code type"),
        (r#""parts":[{"a/b":1},{}]"#, "body/parts/1/a~1b required"),
        (r#""parts":[{"a/b":"x"}]"#, "body/parts/0/a~1b type"),
        (r#""parts":[{"a/b":1},{"a/b":2},{"a/b":3},{"a/b":4}]"#, "body/parts maxItems"),
        (r#""parts":[{"a/b":1},{"a/b":1.0}]"#, "body/parts uniqueItems"),
        (r#""either":7"#, "body/either anyOf"),
        (r#""either":{}"#, "body/either/kind required"),
        (r#""more":{"token":"t"}"#, "body/more/amount required"),
        (r#""open":{}"#, "body/open/only-required required"),
        (r#""more":{"token":"t","amount":0}"#, "body/more/amount minimum"),
        (r#""more":{"token":"t","amount":1e400}"#, "body/more/amount maximum"),
        (r#""kind":"a","kind":"b""#, "body/kind duplicate"),
        (r#""more":{"token":"t","token":"t","amount":1}"#, "body/more/token duplicate"),
    ] {
        assert_eq!(in_body(&format!(r#"{{"token":"t","amount":1,{member}}}"#)), [finding], "{member}");
    }
    assert_eq!(in_body("[]"), ["body type"]);
    assert_eq!(in_body("{}"), ["body/token required", "body/amount required"]);
}

#[test]
fn a_name_that_the_caller_made_up_is_in_no_finding() {
    for name in ["canary", "4711", "", "a b\\n", "x/y"] {
        let body = format!(r#"{{"token":"t","amount":1,"many":{{"{name}":7}}}}"#);
        assert_eq!(in_body(&body), ["body/many/* type"], "{name}");
        let twice = format!(r#"{{"token":"t","amount":1,"{name}":7,"{name}":7}}"#);
        assert_eq!(in_body(&twice), ["body/* duplicate"], "{name}");
    }
}

#[test]
fn findings_and_pointers_are_bounded() {
    let items = vec![r#"{"a/b":"x"}"#; 1000].join(",");
    let body = format!(r#"{{"token":"t","amount":1,"parts":[{items}]}}"#);
    assert_eq!(in_body(&body).len(), MAX_FINDINGS);
    let deep = format!("{}{{}}{}", r#"{"token":"t","amount":1,"more":"#.repeat(100), "}".repeat(100));
    let found = in_body(&deep);
    assert!(found[0].ends_with("/more/... required") && found[0].len() < 250, "{found:?}");
}

#[test]
fn many_faults_below_a_long_name_are_found_with_the_place_of_the_name() {
    let body = format!(
        r#"{{"credentials_token":"t","query":{{"{}":[{}]}}}}"#,
        "canary".repeat(200_000),
        vec!["true"; 40_000].join(",")
    );
    let found = findings_of(&flanks(), "POST", "/v0/bank/credentials/data", Some(&body));
    assert_eq!((found.len(), &*found[0]), (MAX_FINDINGS, "body/query/*/0 anyOf"));
}

#[test]
fn the_method_and_the_path_must_be_known() {
    let description = description();
    let of = |method: &str, target: &str| findings_of(&description, method, target, None);
    let unknown = ["path operation"];
    assert_eq!(of("PUT", "/things/7"), [""; 0]);
    assert_eq!(of("PUT", "/things/special"), [""; 0]);
    assert_eq!(of("HEAD", "/things?sort=up"), [""; 0]);
    for (method, target) in [("PUT", "/things"), ("DELETE", "/things/7"), ("PUT", "/things/7/x"), ("PUT", "/Things/7")]
    {
        assert_eq!(of(method, target), unknown, "{method} {target}");
    }
    let special = description.operation(&Method::PUT, "/things/special").unwrap();
    assert!(description.get(special).body.is_none(), "the path without a parameter is meant");
}

#[test]
fn parameters_of_the_query_are_read_as_their_schemas_want() {
    for (query, findings) in [
        ("sort=up", &[][..]),
        ("sort=7&page=2&ids=1&exact=true&other=x", &[]),
        ("sort=up&ids=1,2,3", &[]),
        ("sort=up&ids=1&ids=2", &[]),
        ("sort=up&codes=7", &[]),
        ("sort=up&codes=7,true,x", &[]),
        ("sort=up&codes=7&codes=8", &[]),
        ("s%6Frt=d%6Fwn", &[]),
        (format!("{}sort=up", "other=x&".repeat(300)).as_str(), &[]),
        ("", &["query/sort required"]),
        ("sort=left", &["query/sort enum"]),
        ("sort=up&page=x", &["query/page type"]),
        ("sort=up&page=0", &["query/page minimum"]),
        ("sort=up&page=1&page=2", &["query/page type"]),
        ("sort=up&ids=1,x", &["query/ids type"]),
        ("sort=up&exact=yes", &["query/exact type"]),
    ] {
        assert_eq!(findings_of(&description(), "GET", &format!("/things?{query}"), None), findings, "{query}");
    }
}

#[test]
fn an_identifier_is_found_in_any_spelling_of_its_name() {
    for query in
        ["token=x", "a=b&t%6Fken=x", "Token=x", "token", "token[]=x", "token%5B0%5D=x", "a[token]=x", "a.token=x"]
    {
        let found = findings_of(&description(), "PUT", &format!("/things/special?{query}"), None);
        assert_eq!(found, ["query/token identifier"], "{query}");
    }
    assert_eq!(findings_of(&description(), "PUT", "/things/special?tokens=x&kind=token", None), [""; 0]);
    let found = findings_of(&description(), "PUT", "/things/special?loginid=x", None);
    assert_eq!(found, ["query/LoginId identifier"], "as the description writes it");
}

#[test]
fn all_faults_of_a_document_are_found_in_one_run() {
    let faults = |change: fn(&mut serde_json::Value)| {
        let mut document = document();
        change(&mut document);
        Description::parse(&document.to_string()).unwrap_err()
    };
    assert!(Description::parse("{").unwrap_err()[0].starts_with("not JSON: "));
    for version in [json!("3.0.3"), json!("3.10.0"), json!(3.1), json!(null)] {
        let text = json!({ "openapi": version, "paths": {} }).to_string();
        assert!(Description::parse(&text).unwrap_err()[0].starts_with("not an OpenAPI 3.1 document"), "{version}");
    }
    assert_eq!(Description::parse(r#"{"openapi":"3.1.0"}"#).unwrap_err().len(), 1);
    let found = faults(|document| {
        document["components"]["schemas"]["Thing"]["properties"]["kind"] = json!({ "type": "strin" });
        document["components"]["schemas"]["Thing"]["properties"]["code"]["pattern"] = json!("(?=x)");
        document["components"]["schemas"]["Bad"] = json!({ "minLength": -1 });
        document["paths"]["/things"]["get"]["parameters"][0]["schema"] = json!({ "$ref": "#/components/schemas/No" });
        document["paths"]["/things/{id}"]["put"]["requestBody"] = json!({ "$ref": "other.json#/x" });
        document["paths"]["things"] = json!({});
    });
    for part in [
        "/components/schemas/Thing/properties/kind",
        "/components/schemas/Bad",
        "/parameters/0/schema: ",
        "~1things~1{id}/put/requestBody: the reference \"other.json#/x\"",
        "/paths/things: the path does not begin with /",
    ] {
        assert!(found.iter().any(|fault| fault.contains(part)), "{part}: {found:#?}");
    }
    let found = faults(|document| {
        document["components"]["schemas"]["Token"] = json!({ "$ref": "https://elsewhere.test/schema.json" });
    });
    assert!(!found.is_empty(), "nothing is fetched");
    let found =
        faults(|document| document["components"]["schemas"]["Thing"]["properties"]["code"]["pattern"] = json!("(?=x)"));
    assert!(found[0].contains("does not compile"), "{found:?}");
}

#[test]
fn the_built_in_documents_compile() {
    let description = flanks();
    assert_eq!(
        findings_of(&description, "POST", "/v0/bank/credentials/account", Some("{}")),
        ["body/credentials_token required"]
    );
    assert!(description.never_in_query("credentials_token").is_some());
    // The provider does not say whether the first page is 0 or 1, so the gateway refuses neither.
    for (page, findings) in [("0", &[][..]), ("1", &[]), ("-1", &["query/page minimum"])] {
        let target = format!("/v0/bank/credentials/data?page={page}");
        let found = findings_of(&description, "POST", &target, Some(r#"{"credentials_token":"t"}"#));
        assert_eq!(found, findings, "{page}");
    }
    flinks();
}

#[test]
fn each_format_has_the_pointers_and_the_rules() {
    let findings = || {
        let finding = |place, pointer: &str, rule| Finding { place, pointer: pointer.to_owned(), rule };
        vec![finding(Place::Body, "/query/page", Rule::Required), finding(Place::Query, "/page", Rule::Type)]
    };
    let body = |dialect, path: &str| {
        let invalid = InvalidRequest::new(findings(), dialect, path);
        let (body, content_type) = invalid.in_dialect(422, "019aa3c4-6f0e-7c41-b0a7-0a7d6d6b9e1f")?;
        assert_eq!(content_type, "application/json");
        Some(serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    assert_eq!(body(None, "/"), None);
    let listed = "the request differs from the description of the API in 2 places: \
                  body/query/page required, query/page type";
    assert_eq!(body(Some(dialect::Dialect::Flanks), "/v0/x"), Some(json!({ "error": listed })));
    let details = json!([
        { "field": "query.page", "error_type": "RequiredField", "in": "body", "rule": "required" },
        { "field": "page", "error_type": "InvalidValue", "in": "query", "rule": "type" },
    ]);
    assert_eq!(
        body(Some(dialect::Dialect::Flanks), "/letters/v1/x"),
        Some(json!({
            "success": false,
            "error": { "code": "VALIDATION_ERROR", "details": details },
            "trace_id": "019aa3c46f0e7c41b0a70a7d6d6b9e1f",
        }))
    );
    let flinks = json!({ "HttpStatusCode": 422, "Message": listed, "FlinksCode": "INVALID_REQUEST" });
    assert_eq!(body(Some(dialect::Dialect::Flinks), "/v3/x"), Some(flinks));
}

#[test]
fn neither_a_schema_that_refers_to_itself_nor_a_deep_body_overflows_the_stack() {
    let itself = json!({ "$ref": "#/components/schemas/A" });
    for schema in [itself.clone(), json!({ "allOf": [itself] }), json!({ "anyOf": [itself, { "type": "object" }] })] {
        let body = json!({ "content": { "application/json": { "schema": itself } } });
        let document = json!({
            "openapi": "3.1.0",
            "paths": { "/a": { "post": { "requestBody": body } } },
            "components": { "schemas": { "A": schema } },
        });
        let description = Description::parse(&document.to_string()).unwrap();
        assert_eq!(findings_of(&description, "POST", "/a", Some("[1]")), [""; 0]);
    }
    let deep = format!("{}1{}", r#"{"token":"t","more":"#.repeat(126), "}".repeat(126));
    assert_eq!(in_body(&deep).len(), MAX_FINDINGS);
}
