//! Requests are compared with the description of the API before their bodies are sealed.

use std::fmt::Write as _;

use jwe_gateway::app::Connector;
use jwe_gateway::config::{
    Config, Document, Encryption, IdentifiersInQuery, OwnDocument, Validate, ValidationConfig, ValidationErrors,
};
use jwe_gateway::sandbox::{Options, Sandbox};
use serde_json::{Value, json};

use crate::chain::sidecar_config;
use crate::harness::{Served, TestGateway, assert_refused};
use crate::process::{Running, command};

const ACCOUNTS: &str = "/v0/bank/credentials/account";
const LETTER: &str = "/letters/v1/create-signed";

/// Differs from the description in two places. The values must not appear anywhere.
const WRONG: &str = r#"{"credentials_token":["canary-1"],"query":{"currency":"canary-2","canary-3":7}}"#;

async fn spawn(validation: ValidationConfig) -> TestGateway {
    let gateway = TestGateway::spawn_with(|config| config.upstreams[0].validation = validation).await;
    gateway.ready().await;
    gateway
}

fn with(validate: Validate) -> ValidationConfig {
    ValidationConfig { validate, ..ValidationConfig::default() }
}

/// A description with one operation, whose body must have this member.
fn requiring(member: &str) -> Document {
    let text = json!({
        "openapi": "3.1.0",
        "paths": { ACCOUNTS: { "post": { "requestBody": { "required": true, "content": { "application/json": {
            "schema": { "type": "object", "required": [member], "properties": { member: { "type": "string" } } },
        } } } } } },
    });
    Document::File(OwnDocument::new("own.json".into(), &text.to_string()).unwrap())
}

fn errors(body: &Value) -> Vec<String> {
    let error = |error: &Value| {
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        format!("{}{} {}", text("in"), text("pointer"), text("rule"))
    };
    body["errors"].as_array().unwrap().iter().map(error).collect()
}

async fn refused(gateway: &Served, method: &str, target: &str, body: &str) -> Vec<String> {
    let reply = gateway.json(method, target, body.to_owned()).send().await.unwrap();
    errors(&assert_refused(reply, 422, "invalid_request").await)
}

#[tokio::test]
async fn enforce_refuses_a_request_that_differs_and_names_the_places() {
    let gateway = spawn(with(Validate::Enforce)).await;
    for (method, target, body, expected) in [
        ("POST", ACCOUNTS, "{}", &["body/credentials_token required"][..]),
        ("POST", ACCOUNTS, "", &["body required"]),
        ("POST", ACCOUNTS, "[]", &["body type"]),
        ("POST", ACCOUNTS, r#"{"credentials_token":7}"#, &["body/credentials_token type"]),
        ("PUT", "/v0/bank/credentials/status", r#"{"credentials_token":"t","force":"x"}"#, &["body/force enum"]),
        ("POST", LETTER, r#"{"connector_id":"c"}"#, &["body/data required"]),
        ("POST", "/v0/bank/credentials/accounts", "{}", &["path operation"]),
        ("GET", ACCOUNTS, "", &["path operation"]),
        (
            "POST",
            "/v0/bank/credentials/data?page=x&page_size=0",
            r#"{"credentials_token":"t"}"#,
            &["query/page type", "query/page_size minimum"],
        ),
    ] {
        let request = gateway.request(method, target);
        let request =
            if body.is_empty() { request } else { request.header("content-type", "application/json").body(body) };
        let answer = assert_refused(request.send().await.unwrap(), 422, "invalid_request").await;
        assert_eq!(errors(&answer), expected, "{method} {target} {body}");
    }
    assert_eq!(gateway.sandbox.received_total(), 0);
    let body = r#"{ "credentials_token" : "sandbox-credentials-1", "unknown": 1.10 }"#;
    assert_eq!(gateway.json("POST", ACCOUNTS, body).send().await.unwrap().status(), 200);
    assert_eq!(gateway.last().plaintext, body);
    assert_eq!(gateway.request("GET", "/v0/bank/available").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn report_forwards_byte_for_byte_and_counts() {
    let gateway = spawn(with(Validate::Report)).await;
    let body = r#"{ "connector_id" : 7, "a": 1, "a": 1e400 }"#;
    let reply = gateway.json("POST", LETTER, body).send().await.unwrap();
    assert_ne!(reply.status(), 422);
    assert_eq!(gateway.last().plaintext, body);
    let valid = r#"{"credentials_token":"sandbox-credentials-1"}"#;
    assert_eq!(gateway.json("POST", ACCOUNTS, valid).send().await.unwrap().status(), 200);
    let (_, metrics) = gateway.admin("/metrics").await;
    for (sample, value) in [
        ("validations_total{upstream=\"sandbox\",outcome=\"valid\"}", 1),
        ("validations_total{upstream=\"sandbox\",outcome=\"reported\"}", 1),
        ("validations_total{upstream=\"sandbox\",outcome=\"refused\"}", 0),
        ("validation_findings_total{upstream=\"sandbox\",rule=\"type\"}", 1),
        ("validation_findings_total{upstream=\"sandbox\",rule=\"required\"}", 1),
        ("validation_findings_total{upstream=\"sandbox\",rule=\"duplicate\"}", 1),
    ] {
        let line = format!("jwe_gateway_{sample} {value}");
        assert!(metrics.lines().any(|one| one == line || one == format!("{line}.0")), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_refusal_can_have_the_format_of_the_provider() {
    let config = ValidationConfig { validation_errors: ValidationErrors::Provider, ..with(Validate::Enforce) };
    let gateway = spawn(config.clone()).await;
    let answer = async |gateway: &TestGateway, target: &str| {
        let reply = gateway.json("POST", target, "{}").send().await.unwrap();
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["content-type"]),
            (422, &"application/json".parse().unwrap())
        );
        let proxy_status = reply.headers()["proxy-status"].to_str().unwrap().to_owned();
        assert_eq!(proxy_status, "jwe-gateway; error=http_request_error; details=\"invalid_request\"");
        serde_json::from_slice::<Value>(&reply.bytes().await.unwrap()).unwrap()
    };
    let letters = answer(&gateway, LETTER).await;
    let field =
        |field: &str| json!({ "field": field, "error_type": "RequiredField", "in": "body", "rule": "required" });
    let error = json!({ "code": "VALIDATION_ERROR", "details": [field("connector_id"), field("data")] });
    assert_eq!((&letters["success"], &letters["error"]), (&json!(false), &error));
    let v0 = answer(&gateway, ACCOUNTS).await;
    assert!(v0["error"].as_str().unwrap().ends_with(": body/credentials_token required"), "{v0}");
    let gateway = spawn(ValidationConfig { openapi: Document::Flinks, ..config }).await;
    let flinks = answer(&gateway, "/unknown").await;
    assert_eq!((&flinks["HttpStatusCode"], &flinks["FlinksCode"]), (&json!(422), &json!("INVALID_REQUEST")));
}

#[tokio::test]
async fn an_identifier_in_the_query_is_refused_also_if_nothing_else_is_checked() {
    for validate in [Validate::Off, Validate::Report, Validate::Enforce] {
        let gateway =
            spawn(ValidationConfig { identifiers_in_query: IdentifiersInQuery::Refuse, ..with(validate) }).await;
        let target = "/v0/bank/available?a=b&credentials_t%6Fken=canary";
        let reply = gateway.request("GET", target).send().await.unwrap();
        let answer = assert_refused(reply, 422, "invalid_request").await;
        assert_eq!(errors(&answer), ["query/credentials_token identifier"]);
        assert!(!answer.to_string().contains("canary"));
        assert_eq!(gateway.request("GET", "/v0/bank/available?a=b").send().await.unwrap().status(), 200);
        assert_eq!(gateway.sandbox.received_total(), 1);
    }
    let gateway = spawn(with(Validate::Enforce)).await;
    let reply = gateway.request("GET", "/v0/bank/available?credentials_token=x").send().await.unwrap();
    assert_eq!(reply.status(), 200, "unless it is configured");
}

#[tokio::test]
async fn a_prefix_that_is_stripped_is_not_compared() {
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].validation = with(Validate::Enforce);
        config.upstreams[0].prefix = "/flanks".parse().unwrap();
        config.upstreams[0].strip_prefix = true;
    })
    .await;
    gateway.ready().await;
    assert_eq!(
        refused(&gateway, "POST", &format!("/flanks{ACCOUNTS}"), "{}").await,
        ["body/credentials_token required"]
    );
    let valid = r#"{"credentials_token":"sandbox-credentials-1"}"#;
    let reply = gateway.json("POST", &format!("/flanks{ACCOUNTS}"), valid).send().await.unwrap();
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn bodies_in_clear_are_checked_and_sealed_ones_are_not() {
    let clear = TestGateway::spawn_with(|config| {
        config.upstreams[0].encryption = Encryption::Off;
        config.upstreams[0].validation = with(Validate::Enforce);
    })
    .await;
    assert_eq!(refused(&clear, "POST", ACCOUNTS, "{}").await, ["body/credentials_token required"]);
    for encryption in [Encryption::Seal, Encryption::RequireSealed] {
        let gateway = TestGateway::spawn_with(|config| {
            config.upstreams[0].encryption = encryption;
            config.upstreams[0].validation = with(Validate::Enforce);
        })
        .await;
        gateway.ready().await;
        let post = |target: &str| {
            let message = gateway.seal(r#"{"wrong":1}"#);
            gateway.request("POST", target).header("content-type", "application/jose").body(message)
        };
        assert_ne!(post(ACCOUNTS).send().await.unwrap().status(), 422);
        assert_eq!(gateway.last().plaintext, r#"{"wrong":1}"#);
        let answer = assert_refused(post("/v0/unknown").send().await.unwrap(), 422, "invalid_request").await;
        assert_eq!(errors(&answer), ["path operation"]);
        let (_, metrics) = gateway.admin("/metrics").await;
        assert!(metrics.contains("validations_total{upstream=\"sandbox\",outcome=\"partial\"} 1"), "{metrics}");
    }
}

#[tokio::test]
async fn a_sidecar_checks_the_body_that_the_egress_cannot_read() {
    let egress = TestGateway::spawn_with(|config| {
        config.upstreams[0].encryption = Encryption::RequireSealed;
        config.upstreams[0].validation = with(Validate::Enforce);
    })
    .await;
    let mut config: Config = sidecar_config(&egress, None);
    config.upstreams[0].validation = with(Validate::Enforce);
    let sidecar = Served::start(config).await;
    assert_eq!(refused(&sidecar, "POST", ACCOUNTS, "{}").await, ["body/credentials_token required"]);
    assert_eq!(egress.sandbox.received_total(), 0);
    let body = r#"{"credentials_token":"sandbox-credentials-1"}"#;
    assert_eq!(sidecar.json("POST", ACCOUNTS, body).send().await.unwrap().status(), 200);
    assert_eq!(egress.last().plaintext, body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_letter_is_checked_within_the_budget_and_sealed_unchanged() {
    let gateway = spawn(with(Validate::Enforce)).await;
    let document = "A".repeat(20 << 20);
    let letter = |connector: &str| format!(r#"{{"connector_id":{connector},"data":"{document}"}}"#);
    assert_eq!(refused(&gateway, "POST", LETTER, &letter("7")).await, ["body/connector_id type"]);
    let body = letter("\"sandbox-connector-1\"");
    let reply = gateway.json("POST", LETTER, body.clone()).send().await.unwrap();
    assert_ne!(reply.status(), 422);
    assert!(gateway.last().plaintext == body, "the letter has changed");
    // Too many values to check.
    let mut many = r#"{"credentials_token":7,"x":["#.to_owned();
    (0..60_000).for_each(|number| write!(many, "{number},").unwrap());
    many.push_str("1]}");
    assert_ne!(gateway.json("POST", ACCOUNTS, many.clone()).send().await.unwrap().status(), 422);
    assert!(gateway.last().plaintext == many, "the body has changed");
    let (_, metrics) = gateway.admin("/metrics").await;
    assert!(metrics.contains("validations_total{upstream=\"sandbox\",outcome=\"partial\"} 1"), "{metrics}");
}

#[tokio::test]
async fn without_memory_for_the_check_enforce_refuses_and_report_forwards() {
    // The first has many values, and the second has a string that must be copied.
    let values = format!(r#"{{"credentials_token":"t","x":[{}]}}"#, vec!["1"; 40_000].join(","));
    let copy = format!(r#"{{"credentials_token":"t","x":"\/{}"}}"#, "A".repeat(180 * 1024));
    for (validate, body) in [
        (Validate::Enforce, &values),
        (Validate::Enforce, &copy),
        (Validate::Report, &values),
        (Validate::Report, &copy),
    ] {
        let gateway = TestGateway::spawn_with(|config| {
            config.upstreams[0].validation = with(validate);
            config.gateway.limits.buffered = 300 * 1024;
            config.gateway.limits.max_body = 200 * 1024;
        })
        .await;
        gateway.ready().await;
        let reply = gateway.json("POST", ACCOUNTS, body.clone()).send().await.unwrap();
        if validate == Validate::Enforce {
            assert_refused(reply, 503, "overloaded").await;
        } else {
            assert!(gateway.last().plaintext == *body, "the body is not forwarded unchanged");
            let (_, metrics) = gateway.admin("/metrics").await;
            assert!(metrics.contains("validations_total{upstream=\"sandbox\",outcome=\"partial\"} 1"), "{metrics}");
        }
    }
}

#[tokio::test]
async fn a_changed_document_comes_into_use_with_a_reload() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut config = crate::harness::config(&sandbox);
    let own = |member: &str| ValidationConfig { openapi: requiring(member), ..with(Validate::Enforce) };
    config.upstreams[0].validation = own("one");
    let gateway = Served::start(config.clone()).await;
    gateway.ready().await;
    assert_eq!(refused(&gateway, "POST", ACCOUNTS, "{}").await, ["body/one required"]);
    assert!(gateway.reloader.apply(config.clone()).await.unwrap().changed.is_empty());
    config.upstreams[0].validation = own("two");
    assert_eq!(gateway.reloader.apply(config.clone()).await.unwrap().changed, ["upstream sandbox"]);
    assert_eq!(refused(&gateway, "POST", ACCOUNTS, r#"{"one":"x"}"#).await, ["body/two required"]);
    config.upstreams[0].validation = with(Validate::Off);
    gateway.reloader.apply(config).await.unwrap();
    assert_ne!(gateway.json("POST", ACCOUNTS, "{}").send().await.unwrap().status(), 422);
}

#[tokio::test]
async fn no_value_of_a_request_is_in_the_log_the_response_or_the_metrics() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    for validate in ["report", "enforce"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gateway.toml");
        let secret = directory.path().join("secret");
        std::fs::write(&secret, sandbox.client_secret()).unwrap();
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
             [[upstream]]\nname = \"sandbox\"\nurl = \"{}\"\nvalidate = \"{validate}\"\n\
             [upstream.credentials]\nclient_id = \"{}\"\nclient_secret_file = \"{}\"\n",
            sandbox.url(),
            sandbox.client_id(),
            secret.display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = command(&["run", "--config", file.to_str().unwrap()]);
        command.env("RUST_LOG", "trace,jwe_gateway=trace");
        let mut gateway = Running::start(command);
        let client = Connector::new(None).unwrap().control_client().unwrap();
        let post = client.post(format!("http://{}{ACCOUNTS}?page=canary-4", gateway.gateway));
        let reply = post.header("content-type", "application/json").body(WRONG).send().await.unwrap();
        assert_eq!(reply.status() == 422, validate == "enforce");
        let answer = if validate == "enforce" { reply.text().await.unwrap() } else { String::new() };
        let metrics = client.get(format!("http://{}/metrics", gateway.admin)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let record = gateway.line_with("\"findings\":3");
        assert!(record.contains(ACCOUNTS), "{record}");
        gateway.signal("TERM");
        let (_, log) = gateway.end();
        for finding in ["body/credentials_token", "body/query/currency type", "body/query/* "] {
            assert!(log.contains(finding), "{finding}: {log}");
        }
        for text in [&answer, &metrics, &log] {
            assert!(!text.contains("canary"), "{validate}: {text}");
        }
    }
}
