//! When the gateway keeps, replaces and repeats connections to the provider.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jwe_gateway::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{TestGateway, assert_refused};

const LIST: &str = "/v0/bank/available";

/// An HTTP/1.1 API that answers each request with the same bytes and keeps its connections.
struct Http1Provider {
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Http1Provider {
    fn serve(listener: TcpListener, reply: &'static [u8]) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let serving = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let connections = Arc::clone(&connections);
                    tokio::spawn(async move {
                        let mut bytes = Vec::new();
                        let mut answered = 0;
                        while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                            while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                                bytes.drain(..end + 4);
                                // A connection without a request lost the race against another one.
                                connections.fetch_add(usize::from(answered == 0), Ordering::SeqCst);
                                answered += 1;
                                stream.write_all(reply).await.unwrap();
                            }
                        }
                    });
                }
            }
        });
        Self { connections, serving }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Http1Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn gateway_to(address: SocketAddr, change: impl FnOnce(&mut Config)) -> TestGateway {
    let gateway = TestGateway::spawn_with(|config| {
        config.upstreams[0].upstream.url = format!("http://{address}").parse().unwrap();
        change(config);
    })
    .await;
    gateway.ready().await;
    gateway
}

async fn status(gateway: &TestGateway) -> u16 {
    gateway.request("GET", LIST).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_provider_that_restarts_loses_no_request() {
    // The port is taken, and connections are refused until the socket listens.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let gateway = gateway_to(socket.local_addr().unwrap(), |_| {}).await;
    let restart = async {
        // The duration of the restart.
        tokio::time::sleep(Duration::from_millis(400)).await;
        Http1Provider::serve(socket.listen(64).unwrap(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    };
    let (status, provider) = tokio::join!(status(&gateway), restart);
    assert_eq!((status, provider.connections()), (200, 1));
}

#[tokio::test]
async fn a_provider_that_stays_down_delays_only_its_first_requests() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let gateway = gateway_to(socket.local_addr().unwrap(), |_| {}).await;
    let took = async || {
        let begun = Instant::now();
        let reply = gateway.request("GET", LIST).send().await.unwrap();
        assert_refused(reply, 502, "upstream_unreachable").await;
        begun.elapsed()
    };
    let wait = Duration::from_secs(2);
    assert!(took().await >= wait, "the provider may come back");
    assert!(took().await < wait);
}

#[tokio::test]
async fn the_wait_for_a_provider_that_restarts_ends_with_the_deadline() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let short = Duration::from_millis(300);
    let gateway = gateway_to(socket.local_addr().unwrap(), |config| config.upstreams[0].upstream.reply = short).await;
    assert_refused(gateway.request("GET", LIST).send().await.unwrap(), 502, "upstream_unreachable").await;
}
