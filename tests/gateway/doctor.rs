//! `doctor` says where the way of a request ends, and what to do about it.

use std::process::Output;

use jwe_gateway::sandbox::{Fault, KeySetFault, Options, Sandbox};

use crate::certificates::Authority;
use crate::harness::TestGateway;
use crate::process;

/// What it prints about an upstream at `url`, and its exit code.
async fn examine(url: &str, secret: &str, more: &[&str]) -> (String, Option<i32>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let mut arguments = vec!["doctor", "--upstream", url, "--client-id", "sandbox-client", "--listen", "127.0.0.1:0"];
    arguments.extend(["--client-secret-file", file.to_str().unwrap()]);
    arguments.extend(more);
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let run = move || process::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), b"");
    let Output { stdout, status, .. } = tokio::task::spawn_blocking(run).await.unwrap();
    (String::from_utf8(stdout).unwrap(), status.code())
}

/// The verdict on a step, and the line after it.
fn step<'p>(printed: &'p str, name: &str) -> (&'p str, &'p str) {
    let mut lines = printed.lines().skip_while(|line| line.split_whitespace().nth(1) != Some(name));
    let line = lines.next().unwrap_or_else(|| panic!("no {name} in:\n{printed}"));
    (line.trim_start(), lines.next().unwrap_or_default().trim_start())
}

#[tokio::test]
async fn a_provider_that_is_well_is_found_well() {
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
async fn each_step_that_fails_says_what_to_do_and_the_others_are_taken_all_the_same() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (printed, code) = examine(&sandbox.url(), "wrong", &[]).await;
    let (verdict, advice) = step(&printed, "token");
    assert!(verdict.starts_with("FAIL  token") && advice.starts_with("-> compare client_id"), "{printed}");
    assert!(step(&printed, "seal").0.starts_with("ok") && !printed.contains("wrong"), "{printed}");
    assert_eq!(code, Some(1));

    sandbox.arm(Fault::KeySet(KeySetFault::Html));
    let (printed, code) = examine(&sandbox.url(), sandbox.client_secret(), &[]).await;
    let (verdict, advice) = step(&printed, "keys");
    assert!(verdict.starts_with("FAIL  keys    not JSON") && advice.contains("set `url` under"), "{printed}");
    assert!(step(&printed, "seal").0.starts_with("skip") && step(&printed, "token").0.starts_with("ok"), "{printed}");
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn where_nobody_listens_the_way_ends_at_tcp() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (printed, code) = examine(&format!("https://{nobody}"), "secret", &[]).await;
    assert!(step(&printed, "dns").0.starts_with("ok"), "{printed}");
    assert!(step(&printed, "tcp").0.starts_with("FAIL") && step(&printed, "tls").0.starts_with("skip"), "{printed}");
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_named_by_its_issuer() {
    let authority = Authority::new();
    // Another gateway stands for the provider: it speaks TLS.
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
async fn a_provider_that_wants_a_certificate_says_so_by_whichever_version_of_tls() {
    let authority = Authority::new();
    let provider = TestGateway::spawn_with(|config| authority.serve_mtls(config)).await;
    let url = format!("https://{}", provider.address);
    let ca = authority.path("ca.pem");
    let (printed, code) = examine(&url, "secret", &["--ca-file", ca.to_str().unwrap()]).await;
    let (verdict, advice) = step(&printed, "tls");
    assert!(verdict.starts_with("FAIL  tls     the provider refuses the handshake: CertificateRequired"), "{printed}");
    assert!(advice.contains("client_certificate"), "{printed}");
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn a_configuration_with_faults_is_not_examined() {
    let output = process::run(&["doctor", "--upstream", "nonsense", "--credentials", "none"], b"");
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
}
