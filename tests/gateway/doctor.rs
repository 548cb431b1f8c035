//! `doctor` says which step of a request fails, and how to correct it.

use std::process::Output;

use jwe_gateway::sandbox::{Fault, KeySetFault, Options, Sandbox};
use rcgen::{BasicConstraints, IsCa};

use crate::certificates::Authority;
use crate::harness::TestGateway;
use crate::process;

/// Returns the output of `doctor` for an upstream at `url`, and its exit code.
async fn examine(url: &str, secret: &str, more: &[&str]) -> (String, Option<i32>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let mut arguments = vec!["doctor", "--upstream", url, "--client-id", "sandbox-client"];
    if !more.contains(&"--listen") {
        arguments.extend(["--listen", "127.0.0.1:0"]);
    }
    arguments.extend(["--client-secret-file", file.to_str().unwrap()]);
    arguments.extend(more);
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let run = move || process::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), b"");
    let Output { stdout, status, .. } = tokio::task::spawn_blocking(run).await.unwrap();
    (String::from_utf8(stdout).unwrap(), status.code())
}

/// Returns the line of a step, and the line after it.
fn step<'p>(printed: &'p str, name: &str) -> (&'p str, &'p str) {
    let mut lines = printed.lines().skip_while(|line| line.split_whitespace().nth(1) != Some(name));
    let line = lines.next().unwrap_or_else(|| panic!("no {name} in:\n{printed}"));
    (line.trim_start(), lines.next().unwrap_or_default().trim_start())
}

#[tokio::test]
async fn every_step_succeeds_against_a_healthy_provider() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (printed, code) = examine(&sandbox.url(), sandbox.client_secret(), &[]).await;
    for name in ["bind", "dns", "tcp", "keys", "seal", "token"] {
        assert!(step(&printed, name).0.starts_with("ok "), "{name}:\n{printed}");
    }
    assert_eq!(code, Some(0));
    assert!(!printed.contains(sandbox.client_secret()));
    assert_eq!(sandbox.received_total(), 0, "nothing is sent to the API");
}

#[tokio::test]
async fn an_address_in_use_is_a_gateway_only_if_one_answers_at_the_admin_address() {
    let gateway = TestGateway::spawn().await;
    let (address, admin) = (gateway.address.to_string(), gateway.admin.to_string());
    let bind = async |admin: &str| {
        let more = ["--listen", &address, "--admin", admin];
        let (printed, _) = examine(&gateway.sandbox.url(), gateway.sandbox.client_secret(), &more).await;
        let (verdict, advice) = step(&printed, "bind");
        (verdict.to_owned(), advice.to_owned())
    };
    let (verdict, _) = bind(&admin).await;
    assert!(verdict.starts_with("skip") && verdict.ends_with(&format!("it answers at {admin}")), "{verdict}");
    // The management interface of the sandbox answers too, and is no gateway.
    let other = gateway.sandbox.management_url().replace("http://", "");
    let (verdict, advice) = bind(&other).await;
    assert!(verdict.starts_with("warn") && verdict.contains(&format!("no gateway answers at {other}")), "{verdict}");
    assert!(advice.contains("stop the process"), "{advice}");
}

#[tokio::test]
async fn a_failed_step_prints_advice_and_independent_steps_still_run() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (printed, code) = examine(&sandbox.url(), "wrong", &[]).await;
    let (verdict, advice) = step(&printed, "token");
    assert!(verdict.starts_with("FAIL  token") && advice.starts_with("-> compare client_id"), "{printed}");
    assert!(step(&printed, "seal").0.starts_with("ok") && !printed.contains("wrong"), "{printed}");
    assert_eq!(code, Some(1));

    sandbox.arm(Fault::KeySet(KeySetFault::Html));
    let (printed, code) = examine(&sandbox.url(), sandbox.client_secret(), &[]).await;
    let (verdict, advice) = step(&printed, "keys");
    assert!(
        verdict.starts_with("FAIL  keys    ") && verdict.contains("not JSON") && advice.contains("set `url` under"),
        "{printed}"
    );
    assert!(step(&printed, "seal").0.starts_with("skip") && step(&printed, "token").0.starts_with("ok"), "{printed}");
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn one_cause_is_one_failure_and_the_steps_that_depend_on_it_are_skipped() {
    let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (printed, code) = examine(&format!("https://{closed_port}"), "secret", &[]).await;
    assert!(step(&printed, "dns").0.starts_with("ok"), "{printed}");
    assert!(step(&printed, "tcp").0.starts_with("FAIL"), "{printed}");
    for name in ["tls", "keys", "seal", "token"] {
        assert!(step(&printed, name).0.starts_with("skip"), "{name}:\n{printed}");
    }
    assert_eq!((printed.matches("FAIL").count(), code), (1, Some(1)), "{printed}");

    // A key set and a token endpoint on another host are still tried.
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (keys, token) = (format!("{}/.well-known/jwks.json", sandbox.url()), format!("{}/v0/token", sandbox.url()));
    let elsewhere = ["--keys", keys.as_str(), "--token-url", token.as_str()];
    let (printed, _) = examine(&format!("https://{closed_port}"), sandbox.client_secret(), &elsewhere).await;
    for name in ["keys", "seal", "token"] {
        assert!(step(&printed, name).0.starts_with("ok"), "{name}:\n{printed}");
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_reported_with_its_issuer() {
    let authority = Authority::new();
    // Another gateway plays the provider, because it speaks TLS.
    let provider = TestGateway::spawn_with(|config| authority.serve(config)).await;
    let url = format!("https://{}", provider.address);
    let (printed, code) = examine(&url, "secret", &[]).await;
    let (verdict, advice) = step(&printed, "tls");
    assert!(verdict.contains("issued by CN=rcgen self signed cert, which is not trusted"), "{printed}");
    assert!(advice.contains("ca_file"), "{printed}");
    assert_eq!(code, Some(1));

    let ca = authority.path("ca.pem");
    let (printed, _) = examine(&url, "secret", &["--ca-file", ca.to_str().unwrap()]).await;
    assert!(step(&printed, "tls").0.starts_with("ok    tls     TLSv1_3, certificate issued by"), "{printed}");
    assert!(step(&printed, "keys").0.starts_with("ok"), "{printed}");

    authority.install(&authority.issue_with(|params| params.subject_alt_names.clear()));
    let unnamed = TestGateway::spawn_with(|config| authority.serve(config)).await;
    let url = format!("https://{}", unnamed.address);
    let (printed, _) = examine(&url, "secret", &["--ca-file", ca.to_str().unwrap()]).await;
    assert!(step(&printed, "tls").0.contains("not for this host name"), "{printed}");
}

#[tokio::test]
async fn a_self_signed_ca_certificate_is_reported_as_not_trusted() {
    let authority = Authority::new();
    let is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.install(&authority.issue_with(|params| params.is_ca = is_ca));
    let provider = TestGateway::spawn_with(|config| authority.serve(config)).await;
    let (printed, _) = examine(&format!("https://{}", provider.address), "secret", &[]).await;
    let (verdict, advice) = step(&printed, "tls");
    assert!(verdict.contains("is not trusted: it is the certificate of a CA"), "{printed}");
    assert!(advice.contains("ca_file") && !printed.contains("check that the port"), "{printed}");

    // The message of a fetch names the URL and the remedy too.
    let keys = format!("https://{}/.well-known/jwks.json", provider.address);
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (printed, _) = examine(&sandbox.url(), sandbox.client_secret(), &["--keys", &keys]).await;
    let verdict = step(&printed, "keys").0;
    assert!(verdict.contains(&format!("{keys}: the server's certificate is not trusted")), "{printed}");
    assert!(verdict.contains("`ca_file`"), "{printed}");
}

#[tokio::test]
async fn a_provider_that_requires_a_client_certificate_fails_the_tls_step() {
    let authority = Authority::new();
    let provider = TestGateway::spawn_with(|config| authority.serve_mtls(config)).await;
    let url = format!("https://{}", provider.address);
    let ca = authority.path("ca.pem");
    let (printed, code) = examine(&url, "secret", &["--ca-file", ca.to_str().unwrap()]).await;
    let (verdict, advice) = step(&printed, "tls");
    assert!(verdict.starts_with("FAIL  tls     the provider refused the handshake: CertificateRequired"), "{printed}");
    assert!(advice.contains("client_certificate"), "{printed}");
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn no_step_runs_with_a_faulty_configuration() {
    let output = process::run(&["doctor", "--upstream", "nonsense", "--credentials", "none"], b"");
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
}
