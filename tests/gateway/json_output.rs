//! `check`, `doctor`, `keys` and `lint` print the documented JSON.

use std::collections::BTreeSet;

use jwe_gateway::sandbox::{Options, Sandbox};
use serde_json::{Value, json};

use crate::documents::document;
use crate::process::{command, run};

/// Runs a command, and returns its exit code and the object that it prints.
fn printed(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(arguments, b"");
    let document = serde_json::from_slice(&output.stdout);
    (output.status.code(), document.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

/// The members that the documentation lists for a command.
fn documented(verb: &str) -> BTreeSet<String> {
    let page = document("docs/commands.md");
    let (_, rest) = page.split_once(&format!("\n`{verb} --json`")).unwrap();
    let rows = rest.lines().skip_while(|line| !line.starts_with("| member |")).skip(2);
    let names = rows.take_while(|row| row.starts_with('|')).map(|row| row.split('`').nth(1).unwrap().to_owned());
    names.collect()
}

/// The paths of all members: `steps[].verdict`.
fn members(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                found.insert(path.clone());
                members(&path, value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(&format!("{path}[]"), item, found)),
        _ => {}
    }
}

/// Asserts that these documents together have exactly the documented members.
fn assert_documented(verb: &str, documents: &[&Value]) {
    let mut found = BTreeSet::new();
    documents.iter().for_each(|document| members("", document, &mut found));
    assert_eq!(found, documented(verb), "{verb}");
}

#[test]
fn check_prints_settings_or_faults_as_documented() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let upstream = "[[upstream]]\nurl = \"http://127.0.0.1:1\"\nkey_refusals = []\ncredentials.kind = \"none\"\n";
    std::fs::write(file.path(), format!("[limits]\nin_flight = 7\n{upstream}")).unwrap();
    let (code, good) = printed(&["check", "--json", "--config", path, "--max-body", "2MiB"]);
    assert_eq!((code, &good["version"], &good["ok"]), (Some(0), &json!(1), &json!(true)));
    let setting =
        |key: &str| good["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap();
    let expected = json!({ "key": "limits.in_flight", "value": "7", "origin": format!("{path}:2:1") });
    assert_eq!(*setting("limits.in_flight"), expected);
    assert_eq!(
        *setting("limits.max_body"),
        json!({ "key": "limits.max_body", "value": "2MiB", "origin": "--max-body" })
    );
    assert_eq!(setting("limits.buffered")["origin"], "default");
    assert!(good["warnings"][0].as_str().unwrap().contains("key_refusals"), "{good}");

    std::fs::write(file.path(), format!("[limits]\nin_flight = 0\ncolour = 1\n{upstream}")).unwrap();
    let (code, bad) = printed(&["check", "--json", "--config", path]);
    assert_eq!((code, &bad["ok"], bad["faults"].as_array().unwrap().len()), (Some(78), &json!(false), 2));
    let expected =
        json!({ "origin": format!("{path}:2:1"), "key": "limits.in_flight", "message": "must be above zero" });
    assert_eq!(bad["faults"][0], expected);
    assert_documented("check", &[&good, &bad]);
}

#[test]
fn check_reports_an_unusable_certificate_as_a_fault() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("ca.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let arguments =
        ["check", "--json", "--upstream", "http://127.0.0.1:1", "--credentials", "none", "--ca-file", &path("ca.pem")];
    let (code, document) = printed(&arguments);
    assert_eq!((code, &document["ok"]), (Some(78), &json!(false)));
    assert!(document["faults"][0]["message"].as_str().unwrap().contains("ca.pem"), "{document}");
}

#[test]
fn check_refuses_what_run_refuses_a_loop_and_a_faulty_rust_log() {
    let check = |upstream: &str, filter: &str| {
        let mut command = command(&["check", "--json", "--upstream", upstream, "--credentials", "none"]);
        let output = command.env("RUST_LOG", filter).output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), document["faults"][0].clone())
    };
    let (code, fault) = check("http://127.0.0.1:8080", "info");
    assert_eq!((code, &fault["key"]), (Some(78), &json!("upstream.url")));
    let (code, fault) = check("http://127.0.0.1:1", "jwe_gateway=loud");
    assert_eq!((code, &fault["origin"]), (Some(78), &json!("RUST_LOG")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_prints_its_steps_as_documented() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "wrong").unwrap();
    let url = sandbox.url();
    let common = ["doctor", "--json", "--upstream", &url, "--client-id", "a", "--listen", "127.0.0.1:0"];
    let secret_flag = ["--client-secret-file", secret.to_str().unwrap()];
    let (code, failed) = printed(&[&common[..], &secret_flag].concat());
    assert_eq!((code, &failed["ok"]), (Some(1), &json!(false)));
    let step = |name: &str| failed["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap();
    assert_eq!((&step("bind")["subject"], &step("bind")["name"]), (&json!("listener"), &json!("127.0.0.1:0")));
    assert_eq!((&step("keys")["subject"], &step("keys")["verdict"]), (&json!("upstream"), &json!("ok")));
    assert_eq!((&step("tls")["verdict"], &step("token")["verdict"]), (&json!("skip"), &json!("fail")));
    assert!(step("token")["advice"].as_str().unwrap().starts_with("compare client_id"), "{failed}");
    assert!(step("keys")["advice"].is_null());
    assert_documented("doctor", &[&failed]);

    let (code, faulty) = printed(&[&common[..], &["--max-body", "0"]].concat());
    assert_eq!((code, &faulty["ok"], &faulty["steps"]), (Some(78), &json!(false), &Value::Null));
    assert!(!faulty["faults"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_prints_the_set_as_documented() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let url = format!("{}/.well-known/jwks.json", sandbox.url());
    let (code, good) = printed(&["keys", "--json", "--keys", &url]);
    assert_eq!((code, &good["ok"], &good["reason"]), (Some(0), &json!(true), &Value::Null));
    let key = &good["keys"][0];
    assert_eq!(key["kid"], sandbox.private_jwks()["keys"][0]["kid"]);
    assert_eq!(
        (&key["bits"], &key["usable"], &key["state"], &key["chosen"]),
        (&json!(2048), &json!(true), &json!("usable"), &json!(true))
    );
    let (code, pinned) = printed(&["keys", "--json", "--keys", &url, "--pin", "nothere"]);
    assert_eq!((code, &pinned["ok"], &pinned["keys"][0]["chosen"]), (Some(1), &json!(false), &json!(false)));
    assert_eq!((&pinned["keys"][0]["usable"], &pinned["keys"][0]["state"]), (&json!(false), &json!("not pinned")));
    assert!(pinned["reason"].is_string());
    assert_documented("keys", &[&good]);
}

#[test]
fn lint_prints_its_findings_as_documented() {
    let (code, found) = printed(&["lint", "--json"]);
    assert_eq!((code, &found["findings"][0]["code"]), (Some(1), &json!("empty")));
    assert_documented("lint", &[&found]);
}
