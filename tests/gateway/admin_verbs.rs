//! The requests that change something at the admin listener: who may send them, and what they do.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use http::Response;
use jwe_gateway::config::Address;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, TestGateway};
use crate::reload_config::{FromFile, TOKEN};

/// Sends `METHOD PATH` with these header lines. Returns the status and the body.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str, headers: &str) -> Response<String> {
    stream.write_all(format!("{request} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse::<u16>().unwrap();
    Response::builder().status(status).body(body.to_owned()).unwrap()
}

async fn post(gateway: &crate::harness::Served, path: &str, headers: &str) -> (u16, String) {
    let stream = TcpStream::connect(gateway.admin).await.unwrap();
    let answer = exchange(stream, &format!("POST {path}"), headers).await;
    (answer.status().as_u16(), answer.into_body())
}

fn with_token() -> String {
    format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n")
}

#[tokio::test]
async fn a_reload_answers_with_what_has_changed_or_with_all_faults() {
    let test = FromFile::start().await;
    test.write("max_body = \"60B\"");
    let (status, body) = post(&test.gateway, "/reload", &with_token()).await;
    let expected = json!({
        "reloaded": true, "changed": ["limits.max_body"], "unchanged": 2, "needs_restart": [], "failed": [],
    });
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, expected));

    test.write("max_body = 0\nunknown = 1");
    let (status, body) = post(&test.gateway, "/reload", &with_token()).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["reloaded"]), (422, &false.into()));
    let faults = body["faults"].as_array().unwrap();
    assert!(faults.len() == 2 && faults[1].as_str().unwrap().contains("limits.unknown: unknown key"), "{faults:?}");
}

#[tokio::test]
async fn only_a_request_with_the_token_and_not_of_a_web_page_changes_anything() {
    let test = FromFile::start().await;
    test.write("max_body = \"60B\"");
    let token = with_token();
    for (headers, expected) in [
        ("Host: localhost\r\n".to_owned(), 401),
        ("Host: localhost\r\nAuthorization: Bearer wrong-token-of-someone\r\n".to_owned(), 401),
        // DNS rebinding, and requests across origins. The token does not help.
        (token.replace("localhost", "evil.example"), 403),
        (format!("{token}Origin: https://evil.example\r\n"), 403),
        (format!("{token}Origin: null\r\n"), 403),
        (format!("{token}Sec-Fetch-Site: cross-site\r\n"), 403),
        (format!("{token}Sec-Fetch-Site: same-site\r\n"), 403),
    ] {
        for path in ["/reload", "/shutdown"] {
            assert_eq!(post(&test.gateway, path, &headers).await.0, expected, "{path} {headers}");
        }
    }
    let stream = async || TcpStream::connect(test.gateway.admin).await.unwrap();
    assert_eq!(exchange(stream().await, "GET /reload", &token).await.status(), 405);
    assert_eq!(exchange(stream().await, "OPTIONS /shutdown", &token).await.status(), 405);
    assert_eq!(exchange(stream().await, "POST /livez", &token).await.status(), 405);
    assert_eq!(test.gateway.admin("/livez").await.0, 200, "no shutdown");
    let report = test.gateway.reloader.reload().await.unwrap();
    assert_eq!(report.changed, ["limits.max_body"], "no reload");
    // A new token needs no reload.
    std::fs::write(test.directory.path().join("token"), "another-token-of-an-operator").unwrap();
    assert_eq!(post(&test.gateway, "/reload", &token).await.0, 401);
}

#[tokio::test]
async fn without_a_token_file_the_requests_are_refused_with_what_to_do() {
    let gateway = TestGateway::spawn().await;
    let (status, body) = post(&gateway, "/reload", &with_token()).await;
    assert!(status == 403 && body.contains("token_file"), "{status} {body}");
    assert_eq!(post(&gateway, "/shutdown", &with_token()).await.0, 403);
}

#[tokio::test]
async fn a_shutdown_is_answered_before_the_gateway_ends() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let mut gateway = TestGateway::spawn_with(|config| config.admin.token_file = Some(file)).await;
    let answer = post(&gateway, "/shutdown", &with_token()).await;
    assert_eq!(answer, (202, "stopping\n".to_owned()));
    gateway.ended().await;
}

#[tokio::test]
async fn a_thousand_requests_without_the_token_do_not_keep_a_probe_or_a_reload_from_its_answer() {
    let test = FromFile::start().await;
    let mut storm = JoinSet::new();
    for number in 0..1000 {
        let admin = test.gateway.admin;
        storm.spawn(async move {
            let mut stream = TcpStream::connect(admin).await.unwrap();
            let head = if number % 2 == 0 { "POST /reload HTTP/1.1\r\nHost: localhost\r\n" } else { "" };
            let _ = stream.write_all(head.as_bytes()).await;
            stream
        });
    }
    let token = with_token();
    let (reload, probe) = tokio::join!(post(&test.gateway, "/reload", &token), test.gateway.admin("/livez"));
    assert_eq!((reload.0, probe.0), (200, 200));
    let _connections = storm.join_all().await;
    assert_eq!(test.gateway.admin("/livez").await.0, 200);
}

#[tokio::test]
async fn at_a_unix_socket_the_permissions_of_the_file_decide() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let mut gateway = TestGateway::spawn_with(|config| {
        config.admin.address = Address::Unix { path: path.clone(), mode: 0o660 };
    })
    .await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let stream = async || UnixStream::connect(&path).await.unwrap();
    // The idle connection does not keep others from their answers.
    let _idle = stream().await;
    let host = "Host: localhost\r\n";
    assert_eq!(exchange(stream().await, "GET /livez", host).await.status(), 200);
    assert_eq!(exchange(stream().await, "POST /reload", host).await.status(), 200);
    assert_eq!(exchange(stream().await, "POST /reload", "Host: evil.example\r\n").await.status(), 403);
    assert_eq!(exchange(stream().await, "POST /shutdown", host).await.status(), 202);
    gateway.ended().await;
    tokio::time::timeout(Duration::from_secs(1), async { while path.exists() {} }).await.expect("the file is removed");
}
