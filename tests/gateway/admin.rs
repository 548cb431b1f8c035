//! The admin listener under pressure.

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
