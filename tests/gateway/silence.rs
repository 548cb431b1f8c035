//! No log line contains a secret, a token or a body, at any level.

use std::io::Write;
use std::process::Command;

use jwe_gateway::app::Connector;
use jwe_gateway::config::KeyDigest;
use jwe_gateway::sandbox::{Options, Sandbox};
use serde_json::json;

use crate::certificates::{Authority, client};
use crate::harness::eventually;
use crate::process::{self, Running};

/// Text that is in every body, query and credential of the caller, and nowhere else.
const MARKER: &str = "marker-7c9e6679";

fn gateway_to(sandbox: &Sandbox, secret_file: &str) -> Command {
    let mut command = process::gateway(sandbox, "0s");
    command.args(["--client-secret-file", secret_file]);
    command.env("RUST_LOG", "trace");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_at_trace_contains_a_secret_a_token_or_a_body() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut secret_file = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret_file, "{}", sandbox.client_secret()).unwrap();
    let mut running = Running::start(gateway_to(&sandbox, secret_file.path().to_str().unwrap()));

    let client = Connector::new(None).unwrap().control_client().unwrap();
    let url = format!("http://{}", running.gateway);
    let good = format!(r#"{{"credentials_token":"{MARKER}"}}"#);
    let bad = format!(r#"{{"credentials_token":{MARKER}}}"#);
    let large = format!(r#"{{"credentials_token":"{MARKER}{}"}}"#, "x".repeat(300_000));
    for body in [&good, &bad, &large] {
        let request = client.post(format!("{url}/v0/bank/credentials/list?token={MARKER}"));
        let request =
            request.header("content-type", "application/json").header("authorization", format!("Bearer {MARKER}"));
        request.header("cookie", MARKER).body(body.clone()).send().await.unwrap();
        running.line_with("\"outcome\"");
    }
    // Both retries, with a newer token and a newer key, and then a provider that does not run.
    sandbox.revoke_tokens();
    sandbox.rotate(jwe_gateway::sandbox::Rotation::HardCut).await.unwrap();
    let request = client.post(format!("{url}/v0/bank/credentials/list")).header("content-type", "application/json");
    assert_eq!(request.body(good.clone()).send().await.unwrap().status(), 200);
    let tokens: Vec<String> = sandbox
        .received()
        .iter()
        .map(|call| call.headers["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned())
        .collect();
    let secret = sandbox.client_secret().to_owned();
    // Its connections end a moment later.
    drop(sandbox);
    eventually("the provider is unreachable", async || {
        let request = client.post(format!("{url}/v0/bank/credentials/list")).header("content-type", "application/json");
        request.body(good.clone()).send().await.unwrap().status() == 502
    })
    .await;

    running.signal("TERM");
    let (code, printed) = running.end();
    assert_eq!(code, Some(0));
    assert!(printed.contains("TRACE") || printed.contains("DEBUG"), "the log has every level:\n{printed}");
    assert!(tokens.len() >= 3);
    for hidden in tokens.iter().map(String::as_str).chain([MARKER, &secret]) {
        assert!(!printed.contains(hidden), "{hidden} was printed:\n{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_of_tls_or_http2_contains_a_secret_or_a_body() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let authority = Authority::new();
    let pair = authority.issue();
    authority.install(&pair);
    authority.put("secret", sandbox.client_secret());
    let path = |name: &str| authority.path(name).display().to_string();
    let tls = format!("certificate = \"{}\", private_key = \"{}\"", path("cert.pem"), path("key.pem"));
    authority.put("gateway.toml", &format!("listen.tls = {{ {tls}, client_ca = \"{}\" }}\n", path("ca.pem")));
    let mut command = gateway_to(&sandbox, &path("secret"));
    command.args(["--config", &path("gateway.toml")]);
    let mut running = Running::start(command);

    let client = client(authority.caller(rustls::ALL_VERSIONS, &[b"h2"], Some(&pair)));
    let url = format!("https://{}/v0/bank/credentials/list?token={MARKER}", running.gateway);
    let request = client.post(url).header("content-type", "application/json").header("cookie", MARKER);
    let request = request.header("authorization", format!("Bearer {MARKER}"));
    let reply = request.body(format!(r#"{{"credentials_token":"{MARKER}"}}"#)).send().await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.version()), (200, http::Version::HTTP_2));
    running.line_with("\"outcome\"");
    running.signal("TERM");
    let (code, printed) = running.end();
    assert_eq!(code, Some(0));
    assert!(printed.contains("rustls::"), "the log has lines of rustls:\n{printed}");
    let key = pair.key.lines().nth(1).unwrap();
    for hidden in [MARKER, key, sandbox.client_secret()] {
        assert!(!printed.contains(hidden), "{hidden} was printed:\n{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_contains_a_callers_key_or_an_emulated_token() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        std::fs::write(files.path().join(name), text).unwrap();
        files.path().join(name).display().to_string()
    };
    let key = "key-7c9e6679-of-the-caller";
    let digest = put("key.sha256", &KeyDigest::of(key).hex());
    let config = put(
        "gateway.toml",
        &format!(
            "[[caller]]\nname = \"a\"\nkey_sha256_file = \"{digest}\"\nallow = []\nenforce = false\n\
             [[upstream]]\nurl = \"{}\"\ntoken_endpoint = \"emulate\"\n",
            sandbox.url()
        ),
    );
    let mut command = gateway_to(&sandbox, &put("secret", sandbox.client_secret()));
    command.args(["--config", &config]);
    let running = Running::start(command);

    let client = Connector::new(None).unwrap().control_client().unwrap();
    let post = |path: &str, body: String| {
        let request = client.post(format!("http://{}{path}", running.gateway));
        request.header("content-type", "application/json").body(body)
    };
    let token_request = |secret: &str| {
        json!({ "client_id": "a", "client_secret": secret, "grant_type": "client_credentials" }).to_string()
    };
    let granted = post("/v0/token", token_request(key)).send().await.unwrap();
    let granted: serde_json::Value = serde_json::from_slice(&granted.bytes().await.unwrap()).unwrap();
    let token = granted["access_token"].as_str().unwrap().to_owned();
    assert_eq!(post("/v0/token", token_request(&format!("{key}-wrong"))).send().await.unwrap().status(), 401);
    assert_eq!(post("/v0/token", format!("{{{key}")).send().await.unwrap().status(), 400);
    for (presented, status) in
        [(key, 200), (&*token, 200), (&*format!("{key}-wrong"), 401), (&*format!("{token}x"), 401)]
    {
        let request = post("/v0/bank/credentials/list", "{}".to_owned());
        assert_eq!(request.bearer_auth(presented).send().await.unwrap().status(), status);
    }
    running.signal("TERM");
    let (code, printed) = running.end();
    assert_eq!(code, Some(0));
    assert!(printed.contains("dry run: enforce = true would refuse this request"), "{printed}");
    let records: Vec<&str> = printed.lines().filter(|line| line.contains("\"outcome\"")).collect();
    // One token request, one request with the key, and one with the token.
    assert_eq!(records.iter().filter(|line| line.contains("\"caller\":\"a\"")).count(), 3, "{records:?}");
    for hidden in [key, &token, &KeyDigest::of(key).hex()] {
        assert!(!printed.contains(hidden), "{hidden} was printed:\n{printed}");
    }
}
