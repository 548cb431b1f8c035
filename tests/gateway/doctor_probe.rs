//! `doctor --probe` sends one sealed request, and says whether the provider opened it.

use jwe_gateway::app::Connector;
use jwe_gateway::config::Encryption;
use jwe_gateway::sandbox::{Options, Sandbox};
use serde_json::Value;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::callers::caller;
use crate::harness::TestGateway;
use crate::process;

/// The step `probe`: its verdict, and its result with the advice.
#[derive(Debug)]
struct Probe {
    verdict: String,
    text: String,
    code: Option<i32>,
}

/// Runs `doctor --probe` with these flags and this secret.
async fn probe_with(flags: &[&str], secret: &str) -> Probe {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    let path = file.path().to_str().unwrap();
    let all =
        [&["doctor", "--probe", "--json", "--listen", "127.0.0.1:0", "--client-secret-file", path], flags].concat();
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    let run = move || process::run(&all.iter().map(String::as_str).collect::<Vec<_>>(), b"");
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(!String::from_utf8_lossy(&output.stdout).contains(secret));
    let step = printed["steps"].as_array().unwrap().iter().find(|step| step["step"] == "probe").unwrap().clone();
    let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
    Probe { verdict: text("verdict"), text: text("result") + " -> " + &text("advice"), code: output.status.code() }
}

/// Probes the sandbox with its own client.
async fn probe(sandbox: &Sandbox, flags: &[&str]) -> Probe {
    let url = sandbox.url();
    let common = ["--upstream", &url, "--client-id", sandbox.client_id()];
    probe_with(&[&common[..], flags].concat(), sandbox.client_secret()).await
}

#[track_caller]
fn assert_probe(probe: &Probe, verdict: &str, texts: &[&str]) {
    assert_eq!(probe.verdict, verdict, "{probe:?}");
    texts.iter().for_each(|text| assert!(probe.text.contains(text), "{text} in {probe:?}"));
    assert_eq!(probe.code, Some(if verdict == "fail" { 1 } else { 0 }), "{probe:?}");
}

#[tokio::test]
async fn a_provider_that_opens_the_message_is_reported_and_receives_one_sealed_request() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let answer = probe(&sandbox, &[]).await;
    assert_probe(
        &answer,
        "ok",
        &["POST /v0/bank/credentials/list", "the provider answered 200, so it opened the message"],
    );
    let received = sandbox.received();
    assert_eq!(received.len(), 1);
    assert_eq!((&received[0].plaintext[..], received[0].opened.is_some()), (&b"{}"[..], true));
}

#[tokio::test]
async fn an_ordinary_refusal_shows_that_the_provider_opened_the_message() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let request = ["--probe-path", "/letters/v1/search-letters", "--probe-body", "{}"];
    let answer = probe(&sandbox, &request).await;
    assert_probe(&answer, "ok", &["answered 400, one of `ordinary_refusals`, so it opened the message"]);
    assert!(sandbox.received()[0].opened.is_some());
}

#[tokio::test]
async fn a_message_for_a_key_that_the_provider_does_not_have_is_reported() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    // The key set of another provider.
    let other = Sandbox::start(Options::default()).await.unwrap();
    let keys = format!("{}/.well-known/jwks.json", other.url());
    let answer = probe(&sandbox, &["--keys", &keys]).await;
    assert_probe(
        &answer,
        "fail",
        &["answered 400, one of `key_refusals`", "could not open the message although", "key set's URL"],
    );
    assert!(sandbox.received()[0].unopened.is_some());
}

#[tokio::test]
async fn a_key_that_was_withdrawn_meanwhile_is_reported_as_such() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let other = Sandbox::start(Options::default()).await.unwrap();
    let client = Connector::new(None).unwrap().control_client().unwrap();
    let set_of = async |sandbox: &Sandbox| {
        let reply = client.get(format!("{}/.well-known/jwks.json", sandbox.url())).send().await.unwrap();
        ResponseTemplate::new(200).set_body_raw(reply.bytes().await.unwrap().to_vec(), "application/json")
    };
    // The first fetch brings a key that the provider no longer has, and the second one its present key.
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(set_of(&other).await).up_to_n_times(1).mount(&server).await;
    Mock::given(method("GET")).respond_with(set_of(&sandbox).await).mount(&server).await;
    let answer = probe(&sandbox, &["--keys", &format!("{}/keys", server.uri())]).await;
    assert_probe(&answer, "fail", &["the key was withdrawn a moment ago", "run doctor again"]);
}

#[tokio::test]
async fn a_wrong_secret_and_a_provider_that_is_down_lead_to_no_request() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let url = sandbox.url();
    let wrong = probe_with(&["--upstream", &url, "--client-id", sandbox.client_id()], "wrong-secret").await;
    assert_eq!((wrong.verdict.as_str(), wrong.code), ("skip", Some(1)), "{wrong:?}");
    assert_eq!(sandbox.received_total(), 0);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = probe_with(&["--upstream", &format!("http://{closed}"), "--client-id", "a"], "secret-of-a").await;
    assert_eq!((down.verdict.as_str(), down.code), ("skip", Some(1)), "{down:?}");
    assert!(down.text.contains("cannot be reached"), "{down:?}");
}

#[tokio::test]
async fn a_refused_token_is_a_fault_of_the_credential_and_an_unknown_path_shows_nothing() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let other = Sandbox::start(Options::default()).await.unwrap();
    // A token of another provider.
    let token = format!("{}/v0/token", other.url());
    let (url, id) = (sandbox.url(), other.client_id());
    let flags = ["--upstream", &url, "--client-id", id, "--token-url", &token];
    let refused = probe_with(&flags, other.client_secret()).await;
    assert_probe(&refused, "fail", &["answered 401: it refused the credential"]);
    let unknown = probe(&sandbox, &["--probe-path", "/v9/nothing"]).await;
    assert_probe(&unknown, "warn", &["answered 404", "--probe-path"]);
}

#[tokio::test]
async fn a_sidecar_probes_through_its_egress_and_tells_its_refusal_from_the_providers() {
    let egress = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![caller("a")];
        config.upstreams[0].encryption = Encryption::RequireSealed;
    })
    .await;
    egress.ready().await;
    let directory = tempfile::tempdir().unwrap();
    let (file, key) = (directory.path().join("sidecar.toml"), directory.path().join("key"));
    let sidecar = format!(
        "[[upstream]]\nurl = \"http://{}\"\n[upstream.credentials]\nkind = \"static\"\nsecret_file = {key:?}\n",
        egress.address
    );
    std::fs::write(&file, sidecar).unwrap();
    std::fs::write(&key, "key-of-a\n").unwrap();
    let examine = |flags: &[&str]| {
        let path = file.to_str().unwrap();
        let all = [&["doctor", "--probe", "--json", "--listen", "127.0.0.1:0", "--config", path], flags].concat();
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || process::run(&all.iter().map(String::as_str).collect::<Vec<_>>(), b""))
    };
    let opened = examine(&[]).await.unwrap();
    let printed = String::from_utf8_lossy(&opened.stdout).into_owned();
    assert!(printed.contains("the provider behind the egress answered 200, so it opened the message"), "{printed}");
    assert_eq!(opened.status.code(), Some(0));
    let refused = examine(&["--probe-path", "/v0/token"]).await.unwrap();
    let printed = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(printed.contains("the egress refused it with 403 caller_forbidden"), "{printed}");
    assert_eq!(refused.status.code(), Some(1));
}
