//! Callers that hang up while their request is in service.

use std::sync::Arc;
use std::time::Duration;

use jwe_gateway::config::{Address, CallerConfig, Config};
use jwe_gateway::sandbox::{ApiFault, Fault};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::callers::caller;
use crate::certificates::{Authority, client, unix_client};
use crate::harness::{PATIENCE, RawAnswer, TestGateway, eventually};

const LIST: &str = "/v0/bank/credentials/list";

/// One request of the caller `a`, whole.
fn request() -> String {
    format!(
        "POST {LIST} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer key-of-a\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    )
}

/// A gateway whose caller `a` may have one request at a time. The provider does not answer its first request.
async fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    let gateway = TestGateway::spawn_with(|config| {
        config.gateway.callers = vec![CallerConfig { concurrent: Some(1), ..caller("a") }];
        change(config);
    })
    .await;
    gateway.ready().await;
    gateway.sandbox.arm_times(Fault::Api(ApiFault::SlowHead { delay_ms: 600_000 }), 1);
    gateway
}

/// Sends a request and waits until the provider has it.
async fn begin<S: AsyncWrite + Unpin>(gateway: &TestGateway, stream: &mut S, bytes: &str) {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    eventually("the provider has the request", async || gateway.sandbox.received_total() == 1).await;
}

/// Waits until the caller has its permit again.
async fn assert_permit_is_freed(client: &reqwest::Client, url: &str) {
    eventually("the caller's next request is served", async || {
        let request = client.post(format!("{url}{LIST}")).header("content-type", "application/json");
        request.header("authorization", "Bearer key-of-a").body("{}").send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_reset_frees_the_callers_permit_at_once() {
    // The second case: bytes of a next request do not hide the reset.
    for bytes in [request(), format!("{}\r\nPOST", request())] {
        let gateway = gateway(|_| {}).await;
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        begin(&gateway, &mut stream, &bytes).await;
        stream.set_zero_linger().unwrap();
        drop(stream);
        let client = client(Authority::new().caller(rustls::ALL_VERSIONS, &[], None));
        assert_permit_is_freed(&client, &format!("http://{}", gateway.address)).await;
    }
}

#[tokio::test]
async fn a_reset_of_a_tls_connection_frees_the_callers_permit_at_once() {
    let authority = Authority::new();
    let gateway = gateway(|config| authority.serve(config)).await;
    let caller = authority.caller(&[&TLS13], &[b"http/1.1"], None);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let name = ServerName::from(gateway.address.ip());
    let connector = tokio_rustls::TlsConnector::from(Arc::new(caller.clone()));
    let mut stream = connector.connect(name, stream).await.unwrap();
    begin(&gateway, &mut stream, &request()).await;
    stream.get_ref().0.set_zero_linger().unwrap();
    drop(stream);
    assert_permit_is_freed(&client(caller), &format!("https://{}", gateway.address)).await;
}

#[tokio::test]
async fn closing_a_unix_socket_frees_the_callers_permit_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    let address = Address::Unix { path: path.clone(), mode: 0o600 };
    let gateway = gateway(|config| config.gateway.listen.address = address).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    begin(&gateway, &mut stream, &request()).await;
    drop(stream);
    assert_permit_is_freed(&unix_client(&path), "http://localhost").await;
}

#[tokio::test]
async fn a_caller_that_half_closes_gets_its_response() {
    let gateway = gateway(|_| {}).await;
    gateway.sandbox.disarm_all();
    gateway.sandbox.arm_times(Fault::Api(ApiFault::SlowHead { delay_ms: 300 }), 1);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // Two requests at once: the second begins after the caller's FIN.
    stream.write_all(format!("{0}{0}", request()).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let received = read_to_end(&mut stream).await;
    assert_eq!(received.matches("HTTP/1.1 200 OK").count(), 2, "{received}");
}

#[tokio::test]
async fn a_request_is_cancelled_when_the_grace_of_a_half_closed_connection_ends() {
    let grace = Duration::from_millis(300);
    let gateway = gateway(|config| config.gateway.deadlines.half_close_grace = grace).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    begin(&gateway, &mut stream, &request()).await;
    let begun = tokio::time::Instant::now();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "", "there is no response");
    assert!(begun.elapsed() >= grace, "{:?}", begun.elapsed());
    let client = client(Authority::new().caller(rustls::ALL_VERSIONS, &[], None));
    assert_permit_is_freed(&client, &format!("http://{}", gateway.address)).await;
}

#[tokio::test]
async fn a_response_that_has_begun_is_delivered_to_a_half_closed_connection() {
    let gateway = gateway(|config| config.gateway.deadlines.half_close_grace = Duration::ZERO).await;
    gateway.sandbox.disarm_all();
    gateway.sandbox.arm_times(Fault::Api(ApiFault::SlowBody { pause_ms: 20 }), 1);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    begin(&gateway, &mut stream, &request()).await;
    // The response has begun when its first byte is here.
    stream.readable().await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = RawAnswer::read(&mut stream).await;
    assert_eq!(answer.status, 200);
    let length: usize = answer.headers["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(answer.body.len(), length);
}

async fn read_to_end<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut received = Vec::new();
    let reading = stream.read_to_end(&mut received);
    tokio::time::timeout(PATIENCE, reading).await.expect("the gateway ends the connection").unwrap();
    String::from_utf8(received).unwrap()
}
