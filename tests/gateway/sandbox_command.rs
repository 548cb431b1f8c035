//! The sandbox as other test suites use it: as a process with one line of JSON, over HTTPS, under another name, and with
//! a verdict on the client.

use std::path::Path;

use http::header::HOST;
use jwe_gateway::app::Connector;
use jwe_gateway::sandbox::{Options, Outcome, Rotation, Sandbox};
use serde_json::{Value, json};

use crate::harness::{Served, TestGateway, config, eventually};
use crate::process::{Running, command, run};

const STATUS: &str = "/v0/bank/credentials/status";
const BODY: &str = r#"{"credentials_token":"sandbox-credentials-1"}"#;

const FREE_PORTS: [&str; 5] = ["sandbox", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"];

/// Starts the command with `--json`, and returns the line.
fn start(arguments: &[&str]) -> (Running, Value) {
    let mut sandbox = Running::spawn(command(&[&FREE_PORTS[..], &["--json"], arguments].concat()));
    let line = sandbox.line_with("");
    (sandbox, serde_json::from_str(&line).unwrap())
}

async fn get(url: &str) -> Value {
    let client = Connector::new(None).unwrap().control_client().unwrap();
    let reply = client.get(url).send().await.unwrap();
    assert_eq!(reply.status(), 200, "{url}");
    serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
}

fn text<'a>(line: &'a Value, member: &str) -> &'a str {
    line[member].as_str().unwrap_or_else(|| panic!("{member} in {line}"))
}

#[tokio::test]
async fn the_line_of_json_has_everything_that_a_client_needs() {
    let (_sandbox, line) = start(&[
        "--client-id",
        "own-client",
        "--client-secret",
        "own-secret",
        "--seed",
        "7",
        "--max-age",
        "90s",
        "--token-life",
        "30m",
        "--require-sealed=false",
    ]);
    for (member, expected) in [
        ("client_id", json!("own-client")),
        ("client_secret", json!("own-secret")),
        ("seed", json!(7)),
        ("require_sealed", json!(false)),
        ("ca_file", Value::Null),
    ] {
        assert_eq!(line[member], expected, "{member}");
    }
    for secret in ["client_id", "client_secret", "bearer", "api_key", "auth_key"] {
        assert!(!text(&line["flinks"], secret).is_empty());
    }
    assert!(line["credentials_tokens"].as_array().unwrap().contains(&json!("sandbox-credentials-1")));
    assert!(line["link_codes"].as_array().unwrap().contains(&json!("sandbox-link-code-1")));
    assert_eq!(text(&line, "token_url"), format!("{}/v0/token", text(&line, "provider")));
    let key_set = get(text(&line, "jwks_url")).await;
    assert_eq!(key_set["keys"][0]["kid"], line["kids"][0]);
    assert_eq!(get(text(&line, "management")).await["provider"], line["provider"]);

    let client = Connector::new(None).unwrap().control_client().unwrap();
    let credentials =
        json!({ "client_id": "own-client", "client_secret": "own-secret", "grant_type": "client_credentials" });
    let request = client.post(text(&line, "token_url")).header("content-type", "application/json");
    let reply = request.body(credentials.to_string()).send().await.unwrap();
    let token: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
    assert_eq!(token["expires_in"], 1800);
    let reply = client.get(text(&line, "jwks_url")).send().await.unwrap();
    assert!(reply.headers()["cache-control"].to_str().unwrap().contains("max-age=90"));
}

#[tokio::test]
async fn the_ready_file_has_the_same_line_and_is_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ready.json");
    std::fs::write(&path, "of another run").unwrap();
    let (sandbox, line) = start(&["--ready-file", path.to_str().unwrap()]);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    eventually("the ready file", async || path.exists()).await;
    assert_eq!(serde_json::from_str::<Value>(&read(&path)).unwrap(), line);
    get(text(&line, "jwks_url")).await;
    sandbox.signal("TERM");
    let (code, printed) = sandbox.end();
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_sandbox_that_cannot_start_leaves_no_ready_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ready.json");
    std::fs::write(&path, "of another run").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["sandbox", "--listen", &address, "--management", "127.0.0.1:0", "--ready-file"];
    let output = run(&[&arguments[..], &[path.to_str().unwrap()]].concat(), b"");
    assert_eq!(output.status.code(), Some(69));
    assert!(!path.exists());
}

#[test]
fn a_wrong_flag_is_refused() {
    for wrong in [
        ["--max-age", "5"],
        ["--token-life", "soon"],
        ["--allowed-host", "sandbox:8091"],
        ["--client-secret", ""],
        ["--seed", "x"],
        ["--require-sealed=maybe", "--json"],
    ] {
        assert_eq!(run(&[&FREE_PORTS[..], &wrong].concat(), b"").status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn an_allowed_host_may_manage_and_no_other_name_may() {
    let (_sandbox, line) = start(&["--allowed-host", "sandbox", "--allowed-host", "sandbox.test.svc"]);
    let client = Connector::new(None).unwrap().control_client().unwrap();
    for (host, status) in [("sandbox:8091", 200), ("sandbox.test.svc", 200), ("localhost", 200), ("evil.example", 403)]
    {
        let reply = client.get(text(&line, "management")).header(HOST, host).send().await.unwrap();
        assert_eq!(reply.status(), status, "{host}");
    }
}

#[tokio::test]
async fn a_gateway_that_trusts_the_new_authority_seals_for_a_sandbox_with_https() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let (_sandbox, line) = start(&["--tls-ca-file", ca_file.to_str().unwrap(), "--allowed-host", "sandbox"]);
    assert!(text(&line, "provider").starts_with("https://127.0.0.1:"));
    assert_eq!(line["ca_file"], json!(ca_file));
    assert!(std::fs::read_to_string(&ca_file).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));

    // For a name, the certificate is valid too.
    let port = text(&line, "provider").rsplit(':').next().unwrap();
    for url in [text(&line, "jwks_url").to_owned(), format!("https://localhost:{port}/.well-known/jwks.json")] {
        let trusting = Connector::new(Some(&ca_file)).unwrap().control_client().unwrap();
        assert_eq!(trusting.get(&url).send().await.unwrap().status(), 200, "{url}");
        let other = Connector::new(None).unwrap().control_client().unwrap();
        assert!(other.get(&url).send().await.is_err(), "{url}");
    }
}

#[tokio::test]
async fn the_verdict_on_the_gateway_is_passed_also_over_https_and_after_rotations() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let sandbox = Sandbox::start(Options { tls: true, require_sealed: true, ..Options::default() }).await.unwrap();
    std::fs::write(&ca_file, sandbox.ca_pem().unwrap()).unwrap();
    let mut config = config(&sandbox);
    config.upstreams[0].upstream.ca_file = Some(ca_file);
    let gateway = Served::start(config).await;
    let send = async || gateway.json("POST", STATUS, BODY).send().await.unwrap().status();
    for step in 0..4 {
        match step {
            1 => drop(sandbox.rotate(Rotation::HardCut).await.unwrap()),
            2 => sandbox.revoke_tokens(),
            3 => drop(sandbox.rotate(Rotation::Overlap).await.unwrap()),
            _ => {}
        }
        assert_eq!(send().await, 200, "step {step}");
    }
    let verdict = sandbox.verdict(0);
    assert_eq!(verdict.verdict, Outcome::Passed, "{verdict:#?}");
    assert_eq!((verdict.bodies, sandbox.received().last().unwrap().number), (verdict.requests, verdict.last));
    assert_eq!(get(&format!("{}/verdict", sandbox.management_url())).await, serde_json::to_value(&verdict).unwrap());
}

#[tokio::test]
async fn a_gateway_that_forgets_to_seal_fails() {
    use jwe_gateway::config::Encryption;
    let options = Options { require_sealed: true, ..Options::default() };
    let gateway = TestGateway::spawn_in(options, |config| config.upstreams[0].encryption = Encryption::Off).await;
    gateway.json("POST", STATUS, BODY).send().await.unwrap();
    let verdict = gateway.sandbox.verdict(0);
    assert_eq!(verdict.verdict, Outcome::Failed);
    let sealed = &verdict.checks[0];
    assert_eq!((sealed.name, sealed.passed, sealed.first), ("sealed", false, Some(1)));
    assert!(sealed.detail.contains("plain JSON"), "{}", sealed.detail);
}
