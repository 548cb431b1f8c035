//! The commands that ask a running gateway: `reload`, `health`, `wait`, `shutdown`.

use std::process::Output;

use jwe_gateway::config::{Address, KeysSource};
use tokio::net::TcpListener;

use crate::harness::TestGateway;
use crate::process;
use crate::reload_config::FromFile;

/// Runs a command. Returns the exit code, stdout and stderr.
async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let run = move || process::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), b"");
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn reload_prints_what_has_changed_or_all_faults() {
    let test = FromFile::start().await;
    let (admin, token) = (test.gateway.admin.to_string(), test.directory.path().join("token"));
    let arguments = ["reload", "--admin", &admin, "--token-file", token.to_str().unwrap()];
    test.write("max_body = \"60B\"");
    let (code, stdout, stderr) = run(&arguments).await;
    assert_eq!((code, stdout.as_str()), (Some(0), "reloaded; changed: limits.max_body; unchanged: 2\n"), "{stderr}");

    test.write("max_body = 0\nunknown = 1");
    let (code, stdout, stderr) = run(&arguments).await;
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    assert!(stderr.contains("limits.max_body: ") && stderr.contains("limits.unknown: "), "{stderr}");

    let (code, _, stderr) = run(&arguments[..3]).await;
    assert!(code == Some(1) && stderr.contains("refused the reload: 401"), "{stderr}");
}

#[tokio::test]
async fn health_and_wait_say_whether_the_gateway_is_ready_and_what_is_missing() {
    let test = FromFile::start().await;
    let admin = test.gateway.admin.to_string();
    assert_eq!(run(&["health", "--admin", &admin]).await.0, Some(0));
    assert_eq!(run(&["wait", "--admin", &admin]).await.0, Some(0));

    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].keys.source = KeysSource::Url(format!("http://{closed}/").parse().unwrap());
    })
    .await;
    let admin = gateway.admin.to_string();
    assert_eq!(run(&["health", "--live", "--admin", &admin]).await.0, Some(0));
    for arguments in [&["health", "--admin", &admin][..], &["wait", "--timeout", "300ms", "--admin", &admin]] {
        let (code, stdout, stderr) = run(arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(stderr.contains("sandbox: no key: "), "{stderr}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_reported_with_its_address() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().to_string();
    for (command, code) in [("reload", 69), ("shutdown", 69), ("health", 1)] {
        for address in [&closed, "unix:/nowhere/admin.sock"] {
            let (exit, _, stderr) = run(&[command, "--admin", address]).await;
            assert_eq!(exit, Some(code), "{command}");
            assert!(stderr.contains(&format!("no gateway answers at {address}")), "{stderr}");
        }
    }
    let (code, _, stderr) = run(&["wait", "--timeout", "200ms", "--admin", &closed]).await;
    assert!(code == Some(1) && stderr.contains("not ready within 0.2 s"), "{stderr}");
    assert_eq!(run(&["health", "--admin", "localhost:8081"]).await.0, Some(2));
}

#[tokio::test]
async fn an_address_that_is_not_an_admin_listener_is_reported_within_the_limit() {
    let other = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let closing = tokio::spawn(async move { drop(other.accept().await) });
    let (code, _, stderr) = run(&["health", "--admin", &address]).await;
    assert!(code == Some(1) && stderr.contains("does not answer as the admin listener"), "{stderr}");
    closing.await.unwrap();
}

#[tokio::test]
async fn shutdown_ends_a_gateway_at_a_unix_socket_without_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let mut gateway = TestGateway::spawn_with(|config| {
        config.admin.address = Address::Unix { path: path.clone(), mode: 0o600 };
    })
    .await;
    let address = format!("unix:{}", path.display());
    assert_eq!(run(&["wait", "--admin", &address]).await.0, Some(0));
    assert_eq!(run(&["shutdown", "--admin", &address]).await, (Some(0), "stopping\n".into(), String::new()));
    gateway.ended().await;
}
