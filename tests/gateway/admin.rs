//! The admin listener under pressure, and towards web pages.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{RawAnswer, TestGateway};

async fn request(admin: SocketAddr, path: &str, headers: &str) -> RawAnswer {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
    RawAnswer::read(&mut stream).await
}

#[tokio::test]
async fn idle_connections_do_not_keep_probes_from_their_answers() {
    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(gateway.admin).await.unwrap());
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = request(gateway.admin, path, "Host: localhost\r\n").await;
        assert_eq!((answer.status, answer.headers["connection"].to_str().unwrap()), (200, "close"), "{path}");
        assert!(answer.closed);
    }
}

#[tokio::test]
async fn connections_that_pipeline_scrapes_and_read_nothing_do_not_keep_probes_from_their_answers() {
    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    let scrapes = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    let mut unread = Vec::new();
    for _ in 0..70 {
        let mut stream = TcpStream::connect(gateway.admin).await.unwrap();
        // The gateway closes the connection after the first answer, and may refuse the rest of this.
        let scrapes = scrapes.clone();
        unread.push(tokio::spawn(async move {
            let _ = stream.write_all(scrapes.as_bytes()).await;
            stream
        }));
    }
    let answer = request(gateway.admin, "/livez", "Host: localhost\r\n").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn web_pages_get_nothing_from_the_admin_listener() {
    let gateway = TestGateway::spawn().await;
    gateway.ready().await;
    for headers in [
        "Host: evil.example:8081\r\n",
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        let answer = request(gateway.admin, "/metrics", headers).await;
        assert_eq!(answer.status, 403, "{headers}");
        assert!(!answer.body.contains("jwe_gateway_"), "{}", answer.body);
    }
    let answer = request(gateway.admin, "/metrics", "Host: localhost\r\n").await;
    assert_eq!((answer.status, answer.headers["x-content-type-options"].to_str().unwrap()), (200, "nosniff"));
}

#[tokio::test]
async fn a_name_that_the_configuration_lists_may_be_the_host_of_a_scrape() {
    let gateway = TestGateway::spawn_with(|config| config.admin.hosts = vec!["metrics.example".to_owned()]).await;
    assert_eq!(request(gateway.admin, "/livez", "Host: metrics.example:8081\r\n").await.status, 200);
    assert_eq!(request(gateway.admin, "/livez", "Host: other.example\r\n").await.status, 403);
}
